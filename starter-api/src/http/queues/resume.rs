//! `POST /v1/queues/{queue}/resume`: resumes a task queue.

use axum::Json;
use axum::extract::State as Shared;

use crate::app::queues::{self, QueueState};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Path;
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::identity::{Authorized, scope};

/// Resumes a task queue. Workers poll it again within some seconds, oldest tasks first.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/resume", tag = "operators",
    security(("bearer" = ["queues:operate"])),
    params(("queue" = String, Path, description = "The queue", example = "orders")),
    responses(
        (status = 200, description = "It is served, within some seconds", body = QueueState),
        (status = 404, description = "There is no such queue", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        ReadProblems,
    ),
)]
pub(crate) async fn resume(
    Authorized { caller, .. }: Authorized<scope::OperateQueues>,
    Shared(state): Shared<State>,
    Path(queue): Path<String>,
) -> Result<Json<QueueState>, Problem> {
    queues::resume::resume(&state.app, &caller, &queue).await.map(Json)
}
