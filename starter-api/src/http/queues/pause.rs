//! `POST /v1/queues/{queue}/pause`: pauses a task queue.

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

/// Why the queue is paused.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StopTheLine)]
pub(crate) struct PauseRequest {
    /// The reason, shown to other operators.
    #[schema(min_length = 1, max_length = 200, example = "the warehouse counts its stock")]
    pub why: String,
}

/// Pauses a task queue: within some seconds, workers start no more tasks from it.
///
/// While `orders` is paused, no order is launched: orders are accepted, and wait in the order of
/// placing. Orders launched before continue to their end, so their quick attempts at `payments` and
/// `fulfilment`, which run on `orders`, are still made. Pausing `payments` or `fulfilment` only
/// delays steps whose quick attempts have failed; their time limit keeps running, and an order that
/// exceeds it is unwound. To stop all calls to the payment provider or the carrier, stop that party
/// instead. Reservations still expire. Pausing a paused queue changes nothing.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/pause", tag = "operators",
    security(("bearer" = ["queues:operate"])),
    params(("queue" = String, Path, description = "The queue", example = "orders")),
    request_body(content = PauseRequest, description = "Why the queue is paused"),
    responses(
        (status = 200, description = "The queue is paused, within some seconds", body = QueueState),
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
