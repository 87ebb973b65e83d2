//! `POST /v1/queues/{queue}/pause`: stop the line.

use axum::Json;
use axum::extract::State as Shared;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::queues::{self, QueueState};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, Path};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// Why the line stops.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StopTheLine)]
pub(crate) struct PauseRequest {
    /// For those who find the line standing.
    #[schema(min_length = 1, max_length = 200, example = "the warehouse counts its stock")]
    pub why: String,
}

/// Stops the line: workers take nothing more from the queue, within some seconds.
///
/// Orders are taken in as before, and wait. Of `orders`, nothing is lost by waiting: no order's
/// time limit runs there. On `payments`, `fulfilment` and `notifications` a step's patience runs
/// on while it waits, and an order whose patience ends is unwound. A queue that is paused stays
/// so, by whoever paused it first.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/pause", tag = "operators",
    security(("bearer" = ["queues:operate"])),
    params(("queue" = String, Path, description = "The queue", example = "orders")),
    request_body(content = PauseRequest, description = "Why it is to stand still"),
    responses(
        (status = 200, description = "It stands still, within some seconds", body = QueueState),
        (status = 404, description = "There is no such queue", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn pause(
    Authorized { caller, .. }: Authorized<scope::OperateQueues>,
    Shared(state): Shared<State>,
    Path(queue): Path<String>,
    Body(request): Body<PauseRequest>,
) -> Result<Json<QueueState>, Problem> {
    queues::pause::pause(&state.app, &caller, &queue, &request.why).await.map(Json)
}
