//! `GET /v1/screening/rule-sets/{version}/trial`: what a set of rules would have decided.

use axum::Json;
use axum::extract::State as Shared;

use crate::app::screening::rule_sets::{self, Trial};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Path;
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::identity::{Authorized, scope};

/// Shows what a set of rules would have made of the orders that it was tried out on, beside what
/// the active one has made of them.
///
/// It is about the facts as they were: an order that the set would have declined went on, and
/// counts for those that came after it.
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
