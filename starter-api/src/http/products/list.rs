//! `GET /v1/products`: lists the articles.

use axum::extract::State as Shared;
use axum::response::Response;
use domain::Sku;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::app::input::SearchText;
use crate::app::paging::{Page, PageSize};
use crate::app::products::{self, Product};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Query;
use crate::http::page;
use crate::http::problem::ReadProblems;

/// Query parameters.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// A part of the article's name or number; case is ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, min_length = 1, max_length = 100, example = "heart")]
    q: Option<SearchText>,
    /// The page size.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 100, default = 20)]
    limit: PageSize,
    /// The `next_cursor` of the previous page.
    #[serde(skip_serializing_if = "Option::is_some")]
    #[param(value_type = Option<String>)]
    cursor: Option<Sku>,
}

/// Lists articles by number.
#[utoipa::path(
    get, path = "/v1/products", tag = "products",
    params(ListQuery),
    responses((status = 200, description = "A page of articles", body = Page<Product>,
               headers(("Link" = String, description = "The next page, as rel=\"next\""))),
              ReadProblems),
)]
pub(crate) async fn list(
    Shared(state): Shared<State>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let (text, after) = (query.q.as_ref(), query.cursor.as_ref());
    let page = products::list::list(&state.app, text, after, query.limit).await?;
    page::respond(page, "/v1/products", &query)
}
