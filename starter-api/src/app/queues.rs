//! The task queues that orders go through. Each can be paused and resumed.
//!
//! While `orders` is paused, no order is launched: orders are accepted, and wait in the order of
//! their placing. Those that were launched before come to their end. A worker whose `payments` or
//! `fulfilment` is paused takes no more patient attempts from it, and finishes those it has. A
//! step's first attempts run on `orders`, so they are still made: a party that nobody must call is
//! stopped by `parties`. The time limit of a step keeps running while it waits on a paused queue,
//! so an order whose step waits there for longer than its patience is unwound. Undos have no limit,
//! and wait.

pub(crate) mod list;
pub(crate) mod pause;
pub(crate) mod resume;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use workflows::Queue;

use crate::error::{Kind, Problem};

/// A task queue, and whether it is served.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueueStanding)]
pub(crate) struct QueueState {
    /// Which.
    #[schema(example = "orders")]
    queue: &'static str,
    /// Who paused it and why; absent while it is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<Pause>,
}

/// Who paused a queue, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Pause {
    /// Who paused it, as the token names them.
    #[schema(example = "eve")]
    paused_by: String,
    /// Why.
    #[schema(example = "the warehouse counts its stock")]
    why: String,
    /// Since when.
    paused_at: DateTime<Utc>,
}

/// The queue with this name.
fn parse_queue(name: &str) -> Result<Queue, Problem> {
    name.parse().map_err(|_unknown| {
        let queues = Queue::all().map(Queue::name).collect::<Vec<_>>().join(", ");
        Problem::new(Kind::QueueNotFound, format!("The queues are {queues}."))
    })
}
