//! `PUT /v1/products/{sku}`: what an article is and costs from now on.

use axum::Json;
use axum::extract::State as Shared;
use domain::Sku;

use crate::extract::{Body, Path};
use crate::identity::access::{May, scope};
use crate::problem::{Document, Guarded, OrProblem, Problem, WriteProblems};
use crate::products::{Product, Row, Terms, not_sold};
use crate::rules::Rules;
use crate::state::State;

/// Changes what an article is and costs.
///
/// An order keeps the price it was placed at. Other copies of the starter honour the old price
/// for some seconds more.
#[utoipa::path(
    put, path = "/v1/products/{sku}", tag = "products", security(("bearer" = ["products:write"])),
    params(("sku" = Sku, Path, description = "The article's number", example = "85123A")),
    request_body(content = Terms, description = "What it is called and costs from now on"),
    responses(
        (status = 200, description = "The article as it is now", body = Product),
        (status = 404, description = "The shop does not sell it", body = Document,
         content_type = "application/problem+json"),
        Guarded,
        WriteProblems,
    ),
)]
pub(crate) async fn update(
    _allowed: May<scope::WriteProducts>,
    Shared(state): Shared<State>,
    Path(sku): Path<String>,
    Body(written): Body<Terms>,
) -> Result<Json<Product>, Problem> {
    let sku = Sku::parse(sku).map_err(|_no_sku| not_sold())?;
    let mut rules = Rules::default();
    let terms = written.checked(&mut rules);
    let terms = rules.kept(terms)?;
    let row = sqlx::query_as!(
        Row,
        r#"update catalog.products as product
           set name = $2, unit_price = $3, unit_cost = $4, currency = $5, updated_at = now()
           where sku = $1
           returning sku, name, unit_price, currency, coalesce(
               (select on_hand - reserved from inventory.stock where stock.sku = product.sku), 0
           ) as "available!""#,
        sku.as_str(),
        terms.name,
        terms.unit_price.amount(),
        terms.unit_cost.amount(),
        terms.unit_price.currency().code(),
    )
    .fetch_optional(&state.database)
    .await
    .or_problem("changing an article")?;
    state.catalogue.forget(&sku).await;
    row.ok_or_else(not_sold)?.try_into().map(Json)
}
