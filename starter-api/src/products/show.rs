//! `GET /v1/products/{sku}`: what does it cost, and is it there?

use axum::Json;
use axum::extract::State as Shared;
use domain::Sku;

use crate::extract::Path;
use crate::problem::{Document, Kind, OrProblem, Problem, ReadProblems};
use crate::products::{Product, Row};
use crate::state::State;

/// Shows an article with its price and what is left of it.
#[utoipa::path(
    get, path = "/v1/products/{sku}", tag = "products",
    params(("sku" = String, Path, description = "The article's number", example = "85123A")),
    responses(
        (status = 200, description = "The article", body = Product),
        (status = 404, description = "The shop does not sell it", body = Document,
         content_type = "application/problem+json"),
        ReadProblems,
    ),
)]
pub(crate) async fn show(
    Shared(state): Shared<State>,
    Path(sku): Path<String>,
) -> Result<Json<Product>, Problem> {
    let not_sold = || Problem::new(Kind::ProductNotFound, "The shop sells nothing by this number.");
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
    row.ok_or_else(not_sold)?.try_into().map(Json)
}
