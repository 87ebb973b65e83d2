//! `GET /v1/screening/rule-sets/{version}/trial`: shows the results of a trial.

use axum::Json;
use axum::extract::State as Shared;

use crate::app::screening::rule_sets::{self, Trial};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Path;
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::identity::{Authorized, scope};

/// Shows what a rule set would have decided about the orders of its trial, beside the decisions of
/// the active one.
///
/// The results are based on the facts at that time: an order that the rule set would have declined
/// continued, and counts for the orders after it.
#[utoipa::path(
    get, path = "/v1/screening/rule-sets/{version}/trial", tag = "operators",
    security(("bearer" = ["orders:review"])),
    params(("version" = String, Path, description = "The set's version")),
    responses(
        (status = 200, description = "What it would have decided", body = Trial),
        (status = 404, description = "There is no such set", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        ReadProblems,
    ),
)]
pub(crate) async fn trial(
    _allowed: Authorized<scope::ReviewOrders>,
    Shared(state): Shared<State>,
    Path(version): Path<String>,
) -> Result<Json<Trial>, Problem> {
    rule_sets::trial(&state.app, &version).await.map(Json)
}
