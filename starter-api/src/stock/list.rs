//! `GET /v1/stock`: what is there, and what runs low?

use axum::extract::State as Shared;
use axum::response::Response;
use domain::Sku;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::extract::Query;
use crate::identity::access::{May, scope};
use crate::paging::{Page, PageSize};
use crate::problem::{Guarded, OrProblem, Problem, ReadProblems};
use crate::state::State;
use crate::stock::{Row, Stock};

/// Which articles to list.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// Only articles of which fewer pieces than this are free to be ordered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 0, example = 10)]
    available_below: Option<u32>,
    /// How many to a page.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 100, default = 20)]
    limit: PageSize,
    /// Where the page before this one ended: its `next_cursor`.
    #[serde(skip_serializing_if = "Option::is_some")]
    #[param(value_type = Option<String>)]
    cursor: Option<Sku>,
}

/// Lists the stock in the order of the articles' numbers; with `available_below`, what runs low.
#[utoipa::path(
    get, path = "/v1/stock", tag = "stock", security(("bearer" = ["stock:read"])),
    params(Listing),
    responses((status = 200, description = "A page of articles", body = Page<Stock>,
               headers(("Link" = String, description = "The next page, as rel=\"next\""))),
              Guarded, ReadProblems),
)]
pub(crate) async fn list(
    _allowed: May<scope::ReadStock>,
    Shared(state): Shared<State>,
    Query(listing): Query<Listing>,
) -> Result<Response, Problem> {
    let rows = sqlx::query_as!(
        Row,
        r#"select sku, coalesce(on_hand, 0) as "on_hand!", coalesce(reserved, 0) as "reserved!",
               coalesce(on_hand - reserved, 0) as "available!", coalesce(sold, 0) as "sold!"
           from catalog.products left join inventory.stock using (sku)
           where sku > coalesce($1, '')
             and ($2::bigint is null or coalesce(on_hand - reserved, 0) < $2)
           order by sku limit $3"#,
        listing.cursor.as_ref().map(Sku::as_str),
        listing.available_below.map(i64::from),
        listing.limit.to_read(),
    )
    .fetch_all(&state.database)
    .await
    .or_problem("listing stock")?;
    let stock = rows.into_iter().map(Stock::try_from).collect::<Result<Vec<_>, _>>()?;
    Page::of(stock, listing.limit, |stock| stock.sku.to_string()).answer("/v1/stock", &listing)
}
