//! An order as it moves: a stream of its events.
//!
//! The stream polls the record a few times a second instead of having Postgres notify it. Every
//! `NOTIFY` takes one lock of the whole server at its commit, which would serialise all orders for
//! the sake of the few that somebody watches. The cost of polling is bounded by the number of open
//! streams.

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

/// How soon a stream polls again after an event.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// How often a stream polls an order that waits: in its cancel window, or for a party.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How long a stream may stay open, so that callers spread over all copies of the starter again.
const OPEN_FOR: Duration = Duration::from_mins(10);

/// The most events read at once.
const EVENTS_MAX: i64 = 100;

/// An order being watched.
pub(crate) struct Watch {
    app: Arc<App>,
    order_id: OrderId,
    /// The number of the last event that was sent.
    seen: i32,
    pause: Duration,
    closes: Instant,
    /// Held for as long as the stream is open.
    _place: Place,
}

impl Watch {
    /// Watches an order whose events up to number `seen` the caller has. `None` when nothing more
    /// will happen.
    ///
    /// **Errors.** 503 while all streams are open, or all that this caller may have.
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
                Full::Caller => "This caller has as many open event streams as one may have.",
                Full::All => "This process has as many open event streams as it allows.",
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

    /// The events, each once, until the order is over, the caller's token expires, the stream has
    /// been open for too long, or the process is about to end.
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

    /// Waits before the next poll; whether there is to be one.
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
