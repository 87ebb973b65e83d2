//! `POST /v1/parties/{party}/resume`: resumes a party.

use axum::Json;
use axum::extract::State as Shared;

use crate::app::parties::{self, PartyStanding};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Path;
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::identity::{Authorized, scope};

/// Resumes a party. Workers call it again within some seconds, unless it does not answer them.
#[utoipa::path(
    post, path = "/v1/parties/{party}/resume", tag = "operators",
    security(("bearer" = ["queues:operate"])),
    params(("party" = String, Path, description = "The party", example = "carrier")),
    responses(
        (status = 200, description = "It is called, within some seconds", body = PartyStanding),
        (status = 404, description = "There is no such party", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        ReadProblems,
    ),
)]
pub(crate) async fn resume_party(
    Authorized { caller, .. }: Authorized<scope::OperateQueues>,
    Shared(state): Shared<State>,
    Path(party): Path<String>,
) -> Result<Json<PartyStanding>, Problem> {
    parties::resume::resume(&state.app, &caller, &party).await.map(Json)
}
