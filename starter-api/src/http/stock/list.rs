//! `GET /v1/stock`: lists the stock.

use axum::extract::State as Shared;
use axum::response::Response;
use domain::Sku;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::app::input::number;
use crate::app::paging::{Page, PageSize};
use crate::app::stock::{self, Stock};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Query;
use crate::http::page;
use crate::http::problem::{AuthResponses, ReadProblems};
use crate::identity::{Authorized, scope};

/// Query parameters.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Only articles with fewer available pieces than this.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "Option::is_none")]
    #[param(minimum = 0, example = 10)]
    available_below: Option<u32>,
    /// The page size.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 100, default = 20)]
    limit: PageSize,
    /// The `next_cursor` of the previous page.
    #[serde(skip_serializing_if = "Option::is_some")]
    #[param(value_type = Option<String>)]
    cursor: Option<Sku>,
}

/// Lists the stock by SKU; with `available_below`, only articles that are running low.
#[utoipa::path(
    get, path = "/v1/stock", tag = "stock", security(("bearer" = ["stock:read"])),
    params(ListQuery),
    responses((status = 200, description = "A page of articles", body = Page<Stock>,
               headers(("Link" = String, description = "The next page, as rel=\"next\""))),
              AuthResponses, ReadProblems),
)]
pub(crate) async fn list(
    _allowed: Authorized<scope::ReadStock>,
    Shared(state): Shared<State>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let (below, after) = (query.available_below, query.cursor.as_ref());
    let page = stock::list::list(&state.app, below, after, query.limit).await?;
    page::respond(page, "/v1/stock", &query)
}
