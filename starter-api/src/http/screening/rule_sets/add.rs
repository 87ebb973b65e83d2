//! `POST /v1/screening/rule-sets`: adds a rule set.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use domain::screening::RuleSet;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::screening::rule_sets::{self, RuleSetResource};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Body;
use crate::http::problem::{AuthResponses, WriteProblems};
use crate::identity::{Authorized, scope};

/// A rule set, and why it is added.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewRuleSet)]
pub(crate) struct RuleSetRequest {
    /// The rules.
    pub rules: RuleSet,
    /// The reason. It is kept permanently, so do not name persons.
    #[schema(min_length = 1, max_length = 200, example = "a limit for networks")]
    pub why: String,
}

/// Adds a rule set on trial: it evaluates every order that is screened from now on, and its
/// decisions are recorded. They have no effect until it is activated.
///
/// One rule set is on trial at a time: the newest.
#[utoipa::path(
    post, path = "/v1/screening/rule-sets", tag = "operators",
    security(("bearer" = ["screening:write"])),
    request_body(content = RuleSetRequest, description = "The rules, and why"),
    responses(
        (status = 201, description = "The rule set, on trial", body = RuleSetResource),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn add_rule_set(
    Authorized { caller, .. }: Authorized<scope::WriteScreening>,
    Shared(state): Shared<State>,
    Body(request): Body<RuleSetRequest>,
) -> Result<(StatusCode, Json<RuleSetResource>), Problem> {
    let added = rule_sets::add(&state.app, &caller, &request.rules, &request.why).await?;
    Ok((StatusCode::CREATED, Json(added)))
}
