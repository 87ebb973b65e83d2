//! `POST /v1/relay/sinks/{sink}/pause`: pauses a sink.

use axum::Json;
use axum::extract::State as Shared;

use crate::app::relay::{self, SinkStanding};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, Path};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::http::relay::WhyRequest;
use crate::identity::{Authorized, scope};

/// Pauses a sink: no more messages are delivered to it.
///
/// Deliveries in progress are finished. Messages are kept until they can be delivered. Pausing a
/// paused sink changes nothing.
#[utoipa::path(
    post, path = "/v1/relay/sinks/{sink}/pause", tag = "operators",
    security(("bearer" = ["queues:operate"])),
    params(("sink" = String, Path, description = "The sink", example = "kafka")),
    request_body(content = WhyRequest, description = "Why"),
    responses(
        (status = 200, description = "The sink is paused", body = SinkStanding),
        (status = 404, description = "There is no such sink", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn pause_sink(
    Authorized { caller, .. }: Authorized<scope::OperateQueues>,
    Shared(state): Shared<State>,
    Path(sink): Path<String>,
    Body(request): Body<WhyRequest>,
) -> Result<Json<SinkStanding>, Problem> {
    relay::pause(&state.app, &caller, &sink, true, &request.why).await.map(Json)
}
