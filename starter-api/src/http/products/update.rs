//! `PUT /v1/products/{sku}`: changes an article.

use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::response::Response;
use domain::Sku;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::products::{self, Product, TermsInput};
use crate::error::Problem;
use crate::http::State;
use crate::http::conditional;
use crate::http::extract::{Body, Path};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// An article's name and prices.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ArticleTerms)]
pub(crate) struct TermsRequest {
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

/// Changes an article's name and prices.
///
/// An order keeps the price it was placed at. Other instances of the starter use the old price for
/// some more seconds. With `If-Match`, the article is changed only if nobody has changed it since
/// it was read; selling or receiving a piece is a change, too.
#[utoipa::path(
    put, path = "/v1/products/{sku}", tag = "products", security(("bearer" = ["products:write"])),
    params(("sku" = Sku, Path, description = "The article's number", example = "85123A"),
           ("If-Match" = Option<String>, Header,
            description = "The `ETag` of the version to change")),
    request_body(content = TermsRequest, description = "The article's name and prices from now on"),
    responses(
        (status = 200, description = "The article as it is now", body = Product,
         headers(("ETag" = String, description = "Identifies this version of the response"))),
        (status = 404, description = "The shop does not sell it", body = Document,
         content_type = "application/problem+json"),
        (status = 412, description = "The article has another `ETag` than `If-Match`", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn update(
    _allowed: Authorized<scope::WriteProducts>,
    Shared(state): Shared<State>,
    Path(sku): Path<String>,
    headers: HeaderMap,
    Body(request): Body<TermsRequest>,
) -> Result<Response, Problem> {
    let terms = TermsInput {
        name: &request.name,
        unit_price: &request.unit_price,
        unit_cost: &request.unit_cost,
        currency: &request.currency,
    };
    let consent = |present: &Product| conditional::allows(&headers, Some(present));
    conditional::changed(&products::update::update(&state.app, &sku, &terms, consent).await?)
}
