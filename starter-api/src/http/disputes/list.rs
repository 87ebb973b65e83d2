//! `GET /v1/disputes`: lists the disputes of customers' banks.

use axum::extract::State as Shared;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::app::disputes::{self, DisputeResource};
use crate::app::input::number;
use crate::app::paging::{Page, PageSize};
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
    /// `true`: only disputes that the bank has not decided; `false`: only decided ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    open: Option<bool>,
    /// The page size.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 100, default = 20)]
    limit: PageSize,
    /// The `next_cursor` of the previous page.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "Option::is_some")]
    #[param(value_type = Option<String>)]
    cursor: Option<i64>,
}

/// Lists the disputes of customers' banks, newest first.
///
/// A dispute is answered at the payment provider, by `evidence_due`. One that waits for an answer
/// is in `GET /v1/attention` too, with what to do.
#[utoipa::path(
    get, path = "/v1/disputes", tag = "disputes", security(("bearer" = ["disputes:read"])),
    params(ListQuery),
    responses((status = 200, description = "A page of disputes", body = Page<DisputeResource>,
               headers(("Link" = String, description = "The next page, as rel=\"next\""))),
              AuthResponses, ReadProblems),
)]
pub(crate) async fn list(
    _allowed: Authorized<scope::ReadDisputes>,
    Shared(state): Shared<State>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let page = disputes::list(&state.app, query.open, query.cursor, query.limit).await?;
    page::respond(page, "/v1/disputes", &query)
}
