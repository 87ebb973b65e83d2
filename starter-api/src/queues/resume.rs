//! `POST /v1/queues/{queue}/resume`: let the line go on.

use axum::Json;
use axum::extract::State as Shared;

use crate::extract::Path;
use crate::identity::access::{May, scope};
use crate::problem::{Document, Guarded, OrProblem, Problem, ReadProblems};
use crate::queues::{self, QueueStanding};
use crate::state::State;

/// Lets the line go on, within some seconds; what has waited longest is taken first.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/resume", tag = "operators",
    security(("bearer" = ["queues:operate"])),
    params(("queue" = String, Path, description = "The queue", example = "orders")),
    responses(
        (status = 200, description = "It is served, within some seconds", body = QueueStanding),
        (status = 404, description = "There is no such queue", body = Document,
         content_type = "application/problem+json"),
        Guarded,
        ReadProblems,
    ),
)]
pub(crate) async fn resume(
    May { caller, .. }: May<scope::OperateQueues>,
    Shared(state): Shared<State>,
    Path(queue): Path<String>,
) -> Result<Json<QueueStanding>, Problem> {
    let queue = queues::queue(&queue)?.name();
    sqlx::query!("delete from operations.paused_queues where queue = $1", queue)
        .execute(&state.database)
        .await
        .or_problem("resuming a queue")?;
    tracing::warn!(queue, by = caller.name(), "a queue is served again");
    Ok(Json(QueueStanding { queue, paused: None }))
}
