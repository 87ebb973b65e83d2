//! Streams an order's events.
//!
//! The stream polls the database a few times a second instead of using `LISTEN`/`NOTIFY`: every
//! `NOTIFY` takes a server-wide lock at commit, which would serialise all orders for the sake of
//! the few that are being watched. The cost of polling is bounded by the number of open streams.

use std::sync::Arc;
use std::time::Duration;

use domain::OrderId;
use futures::{Stream, TryStreamExt, stream as streams};
use tokio::time::{Instant, sleep, sleep_until};

use crate::app::App;
use crate::app::orders::OrderEvent;
use crate::app::orders::{read, store};
use crate::app::turn::Turn;
use crate::error::Problem;
use crate::identity::Caller;
use crate::shares::{Full, Place};

/// The polling interval right after an event.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The polling interval of an order without news: in its cancel window, or waiting for a party.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The maximum lifetime of a stream, so that clients rebalance over all instances of the starter.
const OPEN_FOR: Duration = Duration::from_mins(10);

/// The most events read at once.
const EVENTS_MAX: i64 = 100;

/// An open event stream.
pub(crate) struct Watch {
    app: Arc<App>,
    order_id: OrderId,
    /// The number of the last event sent.
    seen: i32,
    pause: Duration,
    closes: Instant,
    /// Occupies a slot for as long as the stream is open.
    _place: Place,
}

impl Watch {
    /// Opens a stream for a caller who has the events up to number `seen`. `None` if no more events
    /// will follow.
    ///
    /// **Errors.** 503 if the limit of open streams is reached, in total or for this caller.
    pub(crate) async fn open(
        app: &Arc<App>,
        caller: &Caller,
        turn: &Turn,
        order_id: OrderId,
        seen: i32,
    ) -> Result<Option<Self>, Problem> {
        read::read(app, caller, order_id).await?;
        let place = app.streams.take(turn.callers(caller)).map_err(|full| {
            Problem::overloaded(match full {
                Full::Caller => "This caller has reached the limit of open event streams.",
                Full::All => "This process has reached its limit of open event streams.",
            })
        })?;
        let watch = Self {
            app: Arc::clone(app),
            order_id,
            seen,
            pause: PAUSE_MIN,
            closes: Instant::now()
                .checked_add(caller.time_left().min(OPEN_FOR))
                .unwrap_or_else(Instant::now),
            _place: place,
        };
        let progress = store::progress(&app.database, order_id).await?;
        Ok(if progress.is_over && progress.version <= seen { None } else { Some(watch) })
    }

    /// Each event once, until the order has ended, the caller's token expires, the stream reaches
    /// its maximum lifetime, or the process stops.
    pub(crate) fn events(self) -> impl Stream<Item = Result<OrderEvent, Problem>> + Send {
        streams::try_unfold(self, async |mut watch: Self| {
            let events = watch.next().await?;
            let events = events.map(|events| streams::iter(events.into_iter().map(Ok)));
            Ok::<_, Problem>(events.map(|events| (events, watch)))
        })
        .try_flatten()
    }

    async fn next(&mut self) -> Result<Option<Vec<OrderEvent>>, Problem> {
        loop {
            let progress = store::progress(&self.app.database, self.order_id).await?;
            if progress.version > self.seen {
                let (database, id) = (&self.app.database, self.order_id);
                let events = store::events_after(database, id, self.seen, EVENTS_MAX).await?;
                self.seen = events.last().map_or(progress.version, |event| event.sequence);
                self.pause = PAUSE_MIN;
                return Ok(Some(events));
            }
            if progress.is_over || !self.wait().await {
                return Ok(None);
            }
        }
    }

    /// Waits before the next poll; returns whether to poll again.
    async fn wait(&mut self) -> bool {
        let pause = self.pause;
        self.pause = pause.saturating_mul(2).min(PAUSE_MAX);
        tokio::select! {
            () = sleep(pause) => true,
            () = sleep_until(self.closes) => false,
            () = self.app.leaving.cancelled() => false,
        }
    }
}
