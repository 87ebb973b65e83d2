//! `GET /v1/screening/entries`: lists the block and allow lists.

use axum::extract::State as Shared;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::app::input::number;
use crate::app::paging::{Page, PageSize};
use crate::app::screening::entries::{self, ListEntry};
use crate::error::Problem;
use crate::http::extract::Query;
use crate::http::problem::{AuthResponses, ReadProblems};
use crate::http::{State, page};
use crate::identity::{Authorized, scope};

/// Query parameters.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EntriesQuery {
    /// The page size.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 100, default = 20)]
    limit: PageSize,
    /// The `next_cursor` of the previous page.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "Option::is_some")]
    #[param(value_type = Option<String>)]
    cursor: Option<i64>,
}

/// Lists the entries of the block and allow lists, newest first.
#[utoipa::path(
    get, path = "/v1/screening/entries", tag = "operators", security(("bearer" = ["orders:review"])),
    params(EntriesQuery),
    responses((status = 200, description = "A page of the entries", body = Page<ListEntry>,
               headers(("Link" = String, description = "The next page, as rel=\"next\""))),
              AuthResponses, ReadProblems),
)]
pub(crate) async fn entries(
    _allowed: Authorized<scope::ReviewOrders>,
    Shared(state): Shared<State>,
    Query(query): Query<EntriesQuery>,
) -> Result<Response, Problem> {
    let page = entries::list(&state.app, query.cursor, query.limit).await?;
    page::respond(page, "/v1/screening/entries", &query)
}
