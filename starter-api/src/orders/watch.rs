//! An order as it moves: server-sent events, one for each event of the order.
//!
//! The stream looks into the record a few times a second instead of having Postgres notify:
//! every `NOTIFY` takes one lock of the whole server at its commit, which would line up all
//! orders behind each other for the sake of the few that somebody watches. What looking costs
//! is bounded by the number of open streams.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use domain::OrderId;
use futures::{Stream, StreamExt, TryStreamExt, stream as streams};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until};

use crate::identity::access::Caller;
use crate::orders;
use crate::orders::events::{OrderEvent, events_after};
use crate::problem::{Kind, OrProblem, Problem};
use crate::state::State;

/// How soon a stream looks again after something has happened.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// How often a stream looks at an order that waits: for second thoughts, or for a party.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How long a stream may be, so that callers spread over all copies of the starter again.
const OPEN_FOR: Duration = Duration::from_mins(10);

/// The most events read at one look.
const EVENTS_AT_ONCE: i64 = 100;

/// An order being watched.
pub(crate) struct Watch {
    state: State,
    order_id: OrderId,
    /// The number of the last event that was told.
    seen: i32,
    pause: Duration,
    closes: Instant,
    /// Kept for as long as the stream is open.
    _place: OwnedSemaphorePermit,
}

/// What one look at the record finds.
struct Look {
    /// The number of the last event.
    version: i32,
    /// Whether nothing more will happen.
    is_over: bool,
}

/// The order's events from after the one that the caller has seen, as they happen.
pub(crate) async fn stream(
    state: &State,
    caller: &Caller,
    order_id: OrderId,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let seen = last_seen(headers)?;
    let Some(watch) = Watch::open(state, caller, order_id, seen).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let events = watch.events().map(|event| event.and_then(|event| written(&event)));
    // Whoever is cut off by a fault asks again, and gets its status then; it has been logged.
    let events = events.map_err(|_problem| "the stream broke off");
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

fn last_seen(headers: &HeaderMap) -> Result<i32, Problem> {
    let Some(header) = headers.get("last-event-id") else { return Ok(0) };
    let number = header.to_str().ok().and_then(|text| text.parse().ok());
    number.filter(|number| *number >= 0).ok_or_else(|| {
        let detail = "Last-Event-ID is the `id` of an event of this stream.";
        Problem::new(Kind::MalformedRequest, detail)
    })
}

fn written(event: &OrderEvent) -> Result<Event, Problem> {
    Event::default()
        .id(event.sequence.to_string())
        .event(&event.kind)
        .json_data(event)
        .map_err(|error| Problem::internal("writing an event down", &error))
}

impl Watch {
    /// Begins to watch an order, whose events up to this one were seen. Nothing, when there is
    /// nothing more to see.
    pub(crate) async fn open(
        state: &State,
        caller: &Caller,
        order_id: OrderId,
        seen: i32,
    ) -> Result<Option<Self>, Problem> {
        orders::visible(state, caller, order_id).await?;
        let place = state.streams.clone().try_acquire_owned().map_err(|_full| {
            Problem::overloaded("As many orders are being watched as this copy of the shop can.")
        })?;
        let watch = Self {
            state: state.clone(),
            order_id,
            seen,
            pause: PAUSE_MIN,
            closes: Instant::now()
                .checked_add(caller.time_left().min(OPEN_FOR))
                .unwrap_or_else(Instant::now),
            _place: place,
        };
        let look = watch.look().await?;
        Ok(if look.is_over && look.version <= seen { None } else { Some(watch) })
    }

    /// The events, each once, until the order is over, the caller's token is, the stream has been
    /// open for long, or the process is about to end.
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
            let look = self.look().await?;
            if look.version > self.seen {
                let (id, seen) = (self.order_id, self.seen);
                let events = events_after(&self.state, id, seen, EVENTS_AT_ONCE).await?;
                self.seen = events.last().map_or(look.version, |event| event.sequence);
                self.pause = PAUSE_MIN;
                return Ok(Some(events));
            }
            if look.is_over || !self.waited().await {
                return Ok(None);
            }
        }
    }

    /// Waits before the next look; whether there is to be one.
    async fn waited(&mut self) -> bool {
        let pause = self.pause;
        self.pause = pause.saturating_mul(2).min(PAUSE_MAX);
        tokio::select! {
            () = sleep(pause) => true,
            () = sleep_until(self.closes) => false,
            () = self.state.leaving.cancelled() => false,
        }
    }

    /// One row by its key. A parcel that is handed over has its revenue booked next, or an
    /// operator decides to go on without, so `shipped` alone is not the end.
    async fn look(&self) -> Result<Look, Problem> {
        let look = sqlx::query_as!(
            Look,
            r#"select version, status in ('cancelled', 'rejected', 'failed')
                   or status = 'shipped' and exists (
                       select from orders.order_events as event
                       where event.order_id = known.order_id
                         and (type = 'ledger.revenue-recognised'
                              or type = 'order.resumed' and data ->> 'remark' like 'skip,%')
                   ) as "is_over!"
               from orders.orders as known where order_id = $1"#,
            self.order_id.uuid(),
        )
        .fetch_optional(&self.state.database)
        .await
        .or_problem("watching an order")?;
        Ok(look.unwrap_or(Look { version: 0, is_over: false }))
    }
}
