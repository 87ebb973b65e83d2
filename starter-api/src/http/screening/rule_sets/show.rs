//! `GET /v1/screening/rule-sets/{version}`: shows a rule set.

use axum::Json;
use axum::extract::State as Shared;

use crate::app::screening::rule_sets::{self, RuleSetResource};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Path;
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::identity::{Authorized, scope};

/// Shows a rule set, with who added it and who activated it.
#[utoipa::path(
    get, path = "/v1/screening/rule-sets/{version}", tag = "operators",
    security(("bearer" = ["orders:review"])),
    params(("version" = String, Path, description = "The set's version")),
    responses(
        (status = 200, description = "The set", body = RuleSetResource),
        (status = 404, description = "There is no such set", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        ReadProblems,
    ),
)]
pub(crate) async fn rule_set(
    _allowed: Authorized<scope::ReviewOrders>,
    Shared(state): Shared<State>,
    Path(version): Path<String>,
) -> Result<Json<RuleSetResource>, Problem> {
    rule_sets::show(&state.app, &version).await.map(Json)
}
