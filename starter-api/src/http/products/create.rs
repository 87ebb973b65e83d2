//! `POST /v1/products`: adds an article to the catalogue.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{HeaderName, StatusCode, header};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::products::{self, Product, TermsInput};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Body;
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// A new article.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewProduct)]
pub(crate) struct ProductRequest {
    /// Its number (SKU).
    #[schema(min_length = 1, max_length = 32, example = "71053")]
    pub sku: String,
    /// A description for people.
    #[schema(min_length = 1, max_length = 200, example = "WHITE METAL LANTERN")]
    pub name: String,
    /// The price of one piece for the customer, before tax.
    #[schema(example = "3.39")]
    pub unit_price: String,
    /// The shop's cost of one piece.
    #[schema(example = "1.35")]
    pub unit_cost: String,
    /// The currency of both; ISO 4217.
    #[schema(example = "GBP")]
    pub currency: String,
}

/// Adds an article to the catalogue. It can be ordered once goods were received.
#[utoipa::path(
    post, path = "/v1/products", tag = "products", security(("bearer" = ["products:write"])),
    request_body(content = ProductRequest, description = "The article, and what it costs"),
    responses(
        (status = 201, description = "The article is in the catalogue", body = Product,
         headers(("Location" = String, description = "Where the article is"))),
        (status = 409, description = "There is an article with this number", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn create(
    _allowed: Authorized<scope::WriteProducts>,
    Shared(state): Shared<State>,
    Body(request): Body<ProductRequest>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<Product>), Problem> {
    let terms = TermsInput {
        name: &request.name,
        unit_price: &request.unit_price,
        unit_cost: &request.unit_cost,
        currency: &request.currency,
    };
    let product = products::create::create(&state.app, &request.sku, &terms).await?;
    let sku = product.sku.as_str().replace(' ', "%20");
    let location = [(header::LOCATION, format!("/v1/products/{sku}"))];
    Ok((StatusCode::CREATED, location, Json(product)))
}
