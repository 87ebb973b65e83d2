//! `POST /v1/screening/rule-sets/{version}/activate`: activates a rule set.

use axum::Json;
use axum::extract::State as Shared;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::screening::rule_sets::{self, RuleSetResource};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, Path};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// Why the rule set is activated.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ActivateTheRuleSet)]
pub(crate) struct ActivateRequest {
    /// The reason. It is kept permanently, so do not name persons.
    #[schema(min_length = 1, max_length = 200, example = "it stops nobody who is known")]
    pub why: String,
}

/// Activates a rule set for orders that are screened from now on: the one on trial, or one that was
/// active before.
#[utoipa::path(
    post, path = "/v1/screening/rule-sets/{version}/activate", tag = "operators",
    security(("bearer" = ["screening:write"])),
    params(("version" = String, Path, description = "The set's version")),
    request_body(content = ActivateRequest, description = "Why it is activated"),
    responses(
        (status = 200, description = "The set, which counts", body = RuleSetResource),
        (status = 404, description = "There is no such set", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn activate_rule_set(
    Authorized { caller, .. }: Authorized<scope::WriteScreening>,
    Shared(state): Shared<State>,
    Path(version): Path<String>,
    Body(request): Body<ActivateRequest>,
) -> Result<Json<RuleSetResource>, Problem> {
    rule_sets::activate(&state.app, &caller, &version, &request.why).await.map(Json)
}
