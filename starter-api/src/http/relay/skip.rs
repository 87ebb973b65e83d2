//! `POST /v1/relay/sinks/{sink}/skip`: gives up a refused message.

use axum::Json;
use axum::extract::State as Shared;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::relay::{self, Decided, Decision};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, Path};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// What to give up, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SkipTheMessage)]
pub(crate) struct SkipRequest {
    /// The order.
    #[schema(example = "5bf1521d-9bb2-5baa-a74d-5f3bb0902d38")]
    pub order_id: Uuid,
    /// The reason, for the record. Do not name persons.
    #[schema(min_length = 1, max_length = 200, example = "the warehouse has it by hand")]
    pub why: String,
}

/// Gives up an order's refused message, and delivers those that wait behind it.
///
/// The receiver never gets that message, so later messages of the order may not fit its state.
#[utoipa::path(
    post, path = "/v1/relay/sinks/{sink}/skip", tag = "operators",
    security(("bearer" = ["queues:operate"])),
    params(("sink" = String, Path, description = "The sink", example = "kafka")),
    request_body(content = SkipRequest, description = "What, and why"),
    responses(
        (status = 200, description = "How many messages were decided about", body = Decided),
        (status = 404, description = "There is no such sink", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn skip_parked(
    Authorized { caller, .. }: Authorized<scope::OperateQueues>,
    Shared(state): Shared<State>,
    Path(sink): Path<String>,
    Body(request): Body<SkipRequest>,
) -> Result<Json<Decided>, Problem> {
    let SkipRequest { order_id, why } = request;
    let decided = relay::decide(&state.app, &caller, &sink, Some(order_id), Decision::Skip, &why);
    decided.await.map(Json)
}
