//! `POST /v1/products`: put an article into the catalogue.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{HeaderName, StatusCode, header};
use domain::Sku;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::extract::Body;
use crate::identity::access::{May, scope};
use crate::problem::{Document, Guarded, Kind, OrProblem, Problem, WriteProblems};
use crate::products::{Product, Terms};
use crate::rules::Rules;
use crate::state::State;

/// A new article.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewProduct {
    /// Its number.
    #[schema(min_length = 1, max_length = 32, example = "71053")]
    pub sku: String,
    /// What it is, in words.
    #[schema(min_length = 1, max_length = 200, example = "WHITE METAL LANTERN")]
    pub name: String,
    /// What one piece costs the customer, before tax.
    #[schema(example = "3.39")]
    pub unit_price: String,
    /// What one piece costs the shop.
    #[schema(example = "1.35")]
    pub unit_cost: String,
    /// Of both; ISO 4217.
    #[schema(example = "GBP")]
    pub currency: String,
}

/// Puts an article into the catalogue. It can be ordered once goods have come in.
#[utoipa::path(
    post, path = "/v1/products", tag = "products", security(("bearer" = ["products:write"])),
    request_body(content = NewProduct, description = "The article, and what it costs"),
    responses(
        (status = 201, description = "The shop sells it from now on", body = Product,
         headers(("Location" = String, description = "Where the article is"))),
        (status = 409, description = "There is an article of this number", body = Document,
         content_type = "application/problem+json"),
        Guarded,
        WriteProblems,
    ),
)]
pub(crate) async fn create(
    _allowed: May<scope::WriteProducts>,
    Shared(state): Shared<State>,
    Body(written): Body<NewProduct>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<Product>), Problem> {
    let mut rules = Rules::default();
    let sku = rules.check("/sku", Sku::parse(written.sku.as_str()));
    let NewProduct { sku: _, name, unit_price, unit_cost, currency } = written;
    let terms = Terms { name, unit_price, unit_cost, currency }.checked(&mut rules);
    let (sku, terms) = rules.kept(sku.zip(terms))?;
    let created = sqlx::query!(
        "insert into catalog.products (sku, name, unit_price, unit_cost, currency)
         values ($1, $2, $3, $4, $5) on conflict (sku) do nothing",
        sku.as_str(),
        terms.name,
        terms.unit_price.amount(),
        terms.unit_cost.amount(),
        terms.unit_price.currency().code(),
    )
    .execute(&state.database)
    .await
    .or_problem("creating an article")?;
    if created.rows_affected() == 0 {
        return Err(Problem::new(
            Kind::ProductExists,
            "There is an article of this number. Change it with PUT.",
        ));
    }
    let place = [(header::LOCATION, format!("/v1/products/{}", sku.as_str().replace(' ', "%20")))];
    let product = Product { sku, name: terms.name, unit_price: terms.unit_price, available: 0 };
    Ok((StatusCode::CREATED, place, Json(product)))
}
