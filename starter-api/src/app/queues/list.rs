//! Lists the task queues.

use workflows::Queue;

use crate::app::App;
use crate::app::queues::{Pause, QueueState};
use crate::error::{OrProblem, Problem};

/// Every task queue.
pub(crate) async fn list(app: &App) -> Result<Vec<QueueState>, Problem> {
    let mut paused =
        sqlx::query!("select queue, paused_by, why, paused_at from operations.paused_queues")
            .fetch_all(&app.database)
            .await
            .or_problem("reading which queues are paused")?;
    let states = Queue::all().map(|queue| {
        let place = paused.iter().position(|row| row.queue == queue.name());
        let paused = place.map(|place| paused.swap_remove(place));
        let paused = paused.map(|row| {
            let (paused_by, why, paused_at) = (row.paused_by, row.why, row.paused_at);
            Pause { paused_by, why, paused_at }
        });
        QueueState { queue: queue.name(), paused }
    });
    Ok(states.collect())
}
