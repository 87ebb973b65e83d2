//! `POST /v1/relay/sinks/{sink}/remove`: removes a sink.

use axum::Json;
use axum::extract::State as Shared;

use crate::app::relay::{self, Removed};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, Path};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::http::relay::WhyRequest;
use crate::identity::{Authorized, scope};

/// Removes a sink that no process serves, with its position and its parked messages.
///
/// No more messages are kept for it. If a sink of this name is configured later, it starts from
/// scratch. The sink of a webhook endpoint can only be removed by removing the endpoint.
#[utoipa::path(
    post, path = "/v1/relay/sinks/{sink}/remove", tag = "operators",
    security(("bearer" = ["queues:operate"])),
    params(("sink" = String, Path, description = "The sink", example = "kafka")),
    request_body(content = WhyRequest, description = "Why"),
    responses(
        (status = 200, description = "The sink is removed", body = Removed),
        (status = 404, description = "There is no such sink", body = Document,
         content_type = "application/problem+json"),
        (status = 409, description = "A process serves it, or it belongs to a webhook endpoint", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn remove_sink(
    Authorized { caller, .. }: Authorized<scope::OperateQueues>,
    Shared(state): Shared<State>,
    Path(sink): Path<String>,
    Body(request): Body<WhyRequest>,
) -> Result<Json<Removed>, Problem> {
    relay::remove(&state.app, &caller, &sink, &request.why).await.map(Json)
}
