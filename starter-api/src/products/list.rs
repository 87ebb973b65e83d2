//! `GET /v1/products`: what does the shop sell?

use axum::extract::State as Shared;
use axum::response::Response;
use domain::Sku;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::extract::Query;
use crate::paging::{Page, PageSize};
use crate::problem::{OrProblem, Problem, ReadProblems};
use crate::products::{Product, Row};
use crate::rules::Wanted;
use crate::state::State;

/// Which articles to list.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// A part of the article's name or number, whatever its case.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, min_length = 1, max_length = 100, example = "heart")]
    q: Option<Wanted>,
    /// How many to a page.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 100, default = 20)]
    limit: PageSize,
    /// Where the page before this one ended: its `next_cursor`.
    #[serde(skip_serializing_if = "Option::is_some")]
    #[param(value_type = Option<String>)]
    cursor: Option<Sku>,
}

/// Lists articles in the order of their numbers.
#[utoipa::path(
    get, path = "/v1/products", tag = "products",
    params(Listing),
    responses((status = 200, description = "A page of articles", body = Page<Product>,
               headers(("Link" = String, description = "The next page, as rel=\"next\""))),
              ReadProblems),
)]
pub(crate) async fn list(
    Shared(state): Shared<State>,
    Query(listing): Query<Listing>,
) -> Result<Response, Problem> {
    let rows = sqlx::query_as!(
        Row,
        r#"select sku, name, unit_price, currency,
               coalesce(on_hand - reserved, 0) as "available!"
           from catalog.products left join inventory.stock using (sku)
           where sku > coalesce($1, '')
             and ($2::text is null
                  or position(lower($2) in lower(name)) > 0
                  or position(lower($2) in lower(sku)) > 0)
           order by sku limit $3"#,
        listing.cursor.as_ref().map(Sku::as_str),
        listing.q.as_ref().map(Wanted::as_str),
        listing.limit.to_read(),
    )
    .fetch_all(&state.database)
    .await
    .or_problem("listing products")?;
    let products = rows.into_iter().map(Product::try_from).collect::<Result<Vec<_>, _>>()?;
    Page::of(products, listing.limit, |product| product.sku.to_string())
        .answer("/v1/products", &listing)
}
