//! `POST /v1/relay/sinks/{sink}/resume`: resumes a paused sink.

use axum::Json;
use axum::extract::State as Shared;

use crate::app::relay::{self, SinkStanding};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, Path};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::http::relay::WhyRequest;
use crate::identity::{Authorized, scope};

/// Resumes a paused sink, from its position. A sink that is not paused stays as it is.
#[utoipa::path(
    post, path = "/v1/relay/sinks/{sink}/resume", tag = "operators",
    security(("bearer" = ["queues:operate"])),
    params(("sink" = String, Path, description = "The sink", example = "kafka")),
    request_body(content = WhyRequest, description = "Why"),
    responses(
        (status = 200, description = "The sink goes on, within a second", body = SinkStanding),
        (status = 404, description = "There is no such sink", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn resume_sink(
    Authorized { caller, .. }: Authorized<scope::OperateQueues>,
    Shared(state): Shared<State>,
    Path(sink): Path<String>,
    Body(request): Body<WhyRequest>,
) -> Result<Json<SinkStanding>, Problem> {
    relay::pause(&state.app, &caller, &sink, false, &request.why).await.map(Json)
}
