//! The task queues, each of which can be paused and resumed.
//!
//! While `orders` is paused, no order is launched: orders are accepted, and wait for their launch
//! in the order of placing. Orders launched before continue to their end. While `payments` or
//! `fulfilment` is paused, workers start no more patient attempts from it, and finish those in
//! progress. The quick attempts of a step run on `orders`, so they are still made: to stop all
//! calls to a party, use `parties`. The time limit of a step keeps running while it waits on a
//! paused queue, so an order whose step exceeds its patience is unwound. Undos have no time limit,
//! and wait.

pub(crate) mod list;
pub(crate) mod pause;
pub(crate) mod resume;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use workflows::Queue;

use crate::error::{Kind, Problem};

/// A task queue, with whether it is paused.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueueStanding)]
pub(crate) struct QueueState {
    /// The queue.
    #[schema(example = "orders")]
    queue: &'static str,
    /// Who paused it and why; absent while it is not paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<Pause>,
}

/// Who paused a queue, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Pause {
    /// Who paused it, as named by their token.
    #[schema(example = "eve")]
    paused_by: String,
    /// Why.
    #[schema(example = "the warehouse counts its stock")]
    why: String,
    /// Since when.
    paused_at: DateTime<Utc>,
}

/// Parses a queue's name.
fn parse_queue(name: &str) -> Result<Queue, Problem> {
    name.parse().map_err(|_unknown| {
        let queues = Queue::all().map(Queue::name).collect::<Vec<_>>().join(", ");
        Problem::new(Kind::QueueNotFound, format!("The queues are {queues}."))
    })
}
