//! Resumes a task queue.

use crate::app::App;
use crate::app::queues::{QueueState, parse_queue};
use crate::error::{OrProblem, Problem};
use crate::identity::Caller;

/// Resumes the queue: workers poll it again within some seconds.
pub(crate) async fn resume(app: &App, caller: &Caller, queue: &str) -> Result<QueueState, Problem> {
    let queue = parse_queue(queue)?.name();
    sqlx::query!("delete from operations.paused_queues where queue = $1", queue)
        .execute(&app.database)
        .await
        .or_problem("resuming a queue")?;
    tracing::warn!(queue, by = caller.name(), "a queue is served again");
    Ok(QueueState { queue, paused: None })
}
