//! The task queues that orders go through. Each can be paused and resumed.
//!
//! A worker whose queue is paused takes no more tasks from it, and finishes those it has. While
//! `orders` is paused, no order is launched, either: orders are accepted, and wait in the order of
//! their placing. An order that waits there has not begun, or is between two steps, and no step's
//! time limit runs. A patient step that is in progress on another queue continues. Pausing
//! `payments` or `fulfilment` is different: the time limit of a patient step keeps running, so an
//! order whose step waits there for longer than its patience is unwound. Undos have no limit, and
//! wait.

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
