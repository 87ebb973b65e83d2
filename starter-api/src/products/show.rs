//! `GET /v1/products/{sku}`: what does it cost, and is it there?

use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::response::Response;
use domain::Sku;

use crate::conditional;
use crate::extract::Path;
use crate::problem::{Document, OrProblem, Problem, ReadProblems};
use crate::products::{Product, Row, not_sold};
use crate::state::State;

/// Shows an article with its price and what is left of it.
#[utoipa::path(
    get, path = "/v1/products/{sku}", tag = "products",
    params(("sku" = Sku, Path, description = "The article's number", example = "85123A"),
           ("If-None-Match" = Option<String>, Header,
            description = "The `ETag` of the answer that the caller has")),
    responses(
        (status = 200, description = "The article", body = Product,
         headers(("ETag" = String, description = "Names this very answer"))),
        (status = 304, description = "The caller has the answer already"),
        (status = 404, description = "The shop does not sell it", body = Document,
         content_type = "application/problem+json"),
        ReadProblems,
    ),
)]
pub(crate) async fn show(
    Shared(state): Shared<State>,
    Path(sku): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let sku = Sku::parse(sku).map_err(|_no_sku| not_sold())?;
    let row = sqlx::query_as!(
        Row,
        r#"select sku, name, unit_price, currency,
               coalesce(on_hand - reserved, 0) as "available!"
           from catalog.products left join inventory.stock using (sku)
           where sku = $1"#,
        sku.as_str(),
    )
    .fetch_optional(&state.database)
    .await
    .or_problem("reading a product")?;
    let product = Product::try_from(row.ok_or_else(not_sold)?)?;
    conditional::answer(&headers, &product)
}
