//! The task queues that orders go through: stopped and let go on, each by itself.
//!
//! A worker whose queue is paused takes nothing more from it, and finishes what it has. Pausing
//! `orders` costs no order anything: one that waits there has not begun, or stands between two
//! steps, and no step's patience runs. A patient step that is under way on another queue goes on
//! by itself. Pausing `payments`, `fulfilment` or `notifications` is another matter: Temporal
//! counts a patient step's time on, so an order whose step waits there longer than its patience
//! is unwound; undos have no limit, and wait.

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
    /// By whose decision it stands still; absent while it is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<Pause>,
}

/// Why a queue stands still.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Pause {
    /// Who decided, as the token names them.
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
    Queue::ALL.into_iter().find(|queue| queue.name() == name).ok_or_else(|| {
        let queues = Queue::ALL.map(Queue::name).join(", ");
        Problem::new(Kind::QueueNotFound, format!("The queues are {queues}."))
    })
}
