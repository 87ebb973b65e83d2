//! `GET /v1/queues`: lists the task queues.

use axum::Json;
use axum::extract::State as Shared;

use crate::app::queues::{self, QueueState};
use crate::error::Problem;
use crate::http::State;
use crate::http::problem::{AuthResponses, ReadProblems};
use crate::identity::{Authorized, scope};

/// Lists the task queues, and who paused one and why.
#[utoipa::path(
    get, path = "/v1/queues", tag = "operators", security(("bearer" = ["queues:operate"])),
    responses((status = 200, description = "Every queue", body = Vec<QueueState>),
              AuthResponses, ReadProblems),
)]
pub(crate) async fn list(
    _allowed: Authorized<scope::OperateQueues>,
    Shared(state): Shared<State>,
) -> Result<Json<Vec<QueueState>>, Problem> {
    queues::list::list(&state.app).await.map(Json)
}
