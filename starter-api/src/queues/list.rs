//! `GET /v1/queues`: what is served, and what stands still?

use axum::Json;
use axum::extract::State as Shared;
use workflows::Queue;

use crate::identity::access::{May, scope};
use crate::problem::{Guarded, OrProblem, Problem, ReadProblems};
use crate::queues::{Pause, QueueStanding};
use crate::state::State;

/// Lists the task queues, and by whose decision one stands still.
#[utoipa::path(
    get, path = "/v1/queues", tag = "operators", security(("bearer" = ["queues:operate"])),
    responses((status = 200, description = "Every queue", body = Vec<QueueStanding>),
              Guarded, ReadProblems),
)]
pub(crate) async fn list(
    _allowed: May<scope::OperateQueues>,
    Shared(state): Shared<State>,
) -> Result<Json<Vec<QueueStanding>>, Problem> {
    let mut paused =
        sqlx::query!("select queue, paused_by, why, paused_at from operations.paused_queues")
            .fetch_all(&state.database)
            .await
            .or_problem("reading which queues are paused")?;
    let standing = Queue::ALL.map(|queue| {
        let place = paused.iter().position(|row| row.queue == queue.name());
        let paused = place.map(|place| paused.swap_remove(place));
        let paused = paused.map(|row| {
            let (paused_by, why, paused_at) = (row.paused_by, row.why, row.paused_at);
            Pause { paused_by, why, paused_at }
        });
        QueueStanding { queue: queue.name(), paused }
    });
    Ok(Json(standing.into()))
}
