//! `GET /v1/reconciliation`: lists differences between the payment provider and the shop.

use axum::extract::State as Shared;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::app::input::number;
use crate::app::paging::{Page, PageSize};
use crate::app::reconciliation::{self, Difference};
use crate::error::Problem;
use crate::http::extract::Query;
use crate::http::problem::{AuthResponses, ReadProblems};
use crate::http::{State, page};
use crate::identity::{Authorized, scope};

/// Query parameters.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Whether to list settled differences instead of open ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    settled: Option<bool>,
    /// The page size.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 100, default = 20)]
    limit: PageSize,
    /// The `next_cursor` of the previous page.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "Option::is_some")]
    #[param(value_type = Option<String>)]
    cursor: Option<i64>,
}

/// Lists the open differences between the payment provider and the shop, oldest first, with the
/// amounts on both sides, what to do, and what closes each.
///
/// `ordersaga reconcile` opens them, and closes those that no longer exist. A settled one is listed
/// with `settled=true` for as long as it exists.
#[utoipa::path(
    get, path = "/v1/reconciliation", tag = "ledger",
    security(("bearer" = ["reconciliation:read"])),
    params(ListQuery),
    responses((status = 200, description = "A page of the differences", body = Page<Difference>,
               headers(("Link" = String, description = "The next page, as rel=\"next\""))),
              AuthResponses, ReadProblems),
)]
pub(crate) async fn differences(
    _allowed: Authorized<scope::ReadReconciliation>,
    Shared(state): Shared<State>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let is_settled = query.settled.unwrap_or_default();
    let page = reconciliation::list(&state.app, is_settled, query.cursor, query.limit).await?;
    page::respond(page, "/v1/reconciliation", &query)
}
