//! `GET /v1/products/{sku}`: shows an article.

use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::response::Response;
use domain::Sku;

use crate::app::products::{self, Product};
use crate::error::Problem;
use crate::http::State;
use crate::http::conditional;
use crate::http::extract::Path;
use crate::http::problem::{Document, ReadProblems};

/// Shows an article with its price and availability.
#[utoipa::path(
    get, path = "/v1/products/{sku}", tag = "products",
    params(("sku" = Sku, Path, description = "The article's number", example = "85123A"),
           ("If-None-Match" = Option<String>, Header,
            description = "The `ETag` of the caller's copy")),
    responses(
        (status = 200, description = "The article", body = Product,
         headers(("ETag" = String, description = "Identifies this version of the response"))),
        (status = 304, description = "The caller's copy is current"),
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
    let product = products::read::read(&state.app, &sku).await?;
    conditional::respond(&headers, &product)
}
