//! `POST /v1/parties/{party}/stop`: stops a party.

use axum::Json;
use axum::extract::State as Shared;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::parties::{self, PartyStanding};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, Path};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// Why the party is stopped.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StopTheParty)]
pub(crate) struct StopRequest {
    /// The reason, shown to other operators.
    #[schema(min_length = 1, max_length = 200, example = "the carrier is on strike")]
    pub why: String,
}

/// Stops a party: within some seconds, workers no longer call it.
///
/// Orders are still accepted. A step that needs the party waits as for a party that does not
/// answer: its time limit keeps running, and an order that exceeds it is unwound; undos have no
/// time limit, and wait. Calls in progress are not interrupted. Stopping a stopped party changes
/// nothing.
#[utoipa::path(
    post, path = "/v1/parties/{party}/stop", tag = "operators",
    security(("bearer" = ["queues:operate"])),
    params(("party" = String, Path, description = "The party", example = "carrier")),
    request_body(content = StopRequest, description = "Why the party is stopped"),
    responses(
        (status = 200, description = "The party is stopped, within some seconds",
         body = PartyStanding),
        (status = 404, description = "There is no such party", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn stop_party(
    Authorized { caller, .. }: Authorized<scope::OperateQueues>,
    Shared(state): Shared<State>,
    Path(party): Path<String>,
    Body(request): Body<StopRequest>,
) -> Result<Json<PartyStanding>, Problem> {
    parties::stop::stop(&state.app, &caller, &party, &request.why).await.map(Json)
}
