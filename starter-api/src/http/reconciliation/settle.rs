//! `POST /v1/reconciliation/{difference_id}/settle`: settles a difference.

use axum::Json;
use axum::extract::State as Shared;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::reconciliation::{self, Difference};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, Path};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// Why the difference needs no more attention.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SettleTheDifference)]
pub(crate) struct SettleRequest {
    /// How it was settled, for the record. It is kept permanently, so do not name persons.
    #[schema(min_length = 1, max_length = 200, example = "given back by bank transfer")]
    pub why: String,
}

/// Takes a difference off the list, because a person has settled it outside of provider and shop.
///
/// Nothing is booked or changed. A later comparison that finds the same difference leaves it
/// settled; one that finds another amount reopens it, and one that no longer finds it closes it.
#[utoipa::path(
    post, path = "/v1/reconciliation/{difference_id}/settle", tag = "ledger",
    security(("bearer" = ["reconciliation:settle"])),
    params(("difference_id" = String, Path, description = "Its number, as listed")),
    request_body(content = SettleRequest, description = "How it was settled"),
    responses(
        (status = 200, description = "The difference, with who has settled it", body = Difference),
        (status = 404, description = "There is no open difference with this number", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn settle_difference(
    Authorized { caller, .. }: Authorized<scope::SettleDifferences>,
    Shared(state): Shared<State>,
    Path(difference_id): Path<String>,
    Body(request): Body<SettleRequest>,
) -> Result<Json<Difference>, Problem> {
    let settled = reconciliation::settle(&state.app, &caller, &difference_id, &request.why);
    settled.await.map(Json)
}
