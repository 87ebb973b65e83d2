//! `GET /v1/screening/rule-sets`: lists the rule sets.

use axum::extract::State as Shared;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::app::input::number;
use crate::app::paging::{Page, PageSize};
use crate::app::screening::rule_sets::{self, RuleSetResource};
use crate::error::Problem;
use crate::http::extract::Query;
use crate::http::problem::{AuthResponses, ReadProblems};
use crate::http::{State, page};
use crate::identity::{Authorized, scope};

/// Query parameters.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RuleSetsQuery {
    /// The page size.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 100, default = 20)]
    limit: PageSize,
    /// The `next_cursor` of the previous page.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "Option::is_some")]
    #[param(value_type = Option<String>)]
    cursor: Option<i32>,
}

/// Lists the rule sets, newest first, with their states.
///
/// One is `active`: it decides. The newest is in `shadow`, unless it was ever active: it is tried
/// out beside the active one.
#[utoipa::path(
    get, path = "/v1/screening/rule-sets", tag = "operators",
    security(("bearer" = ["orders:review"])),
    params(RuleSetsQuery),
    responses((status = 200, description = "A page of the sets", body = Page<RuleSetResource>,
               headers(("Link" = String, description = "The next page, as rel=\"next\""))),
              AuthResponses, ReadProblems),
)]
pub(crate) async fn rule_sets(
    _allowed: Authorized<scope::ReviewOrders>,
    Shared(state): Shared<State>,
    Query(query): Query<RuleSetsQuery>,
) -> Result<Response, Problem> {
    let page = rule_sets::list(&state.app, query.cursor, query.limit).await?;
    page::respond(page, "/v1/screening/rule-sets", &query)
}
