//! `POST /v1/quotes`: prices a basket without ordering it.

use axum::Json;
use axum::extract::State as Shared;
use domain::PriceList;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::basket::BasketInput;
use crate::app::quote;
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Body;
use crate::http::line::LineRequest;
use crate::http::problem::WriteProblems;

/// A basket to be priced.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuoteRequest {
    /// Articles and quantities; prices come from the catalogue.
    #[schema(min_items = 1, max_items = 1_000)]
    pub lines: Vec<LineRequest>,
    /// The destination, which determines tax and shipping fee.
    pub ship_to: QuoteDestination,
    /// The discount code that the customer entered.
    #[schema(min_length = 1, max_length = 32, example = "WELCOME10")]
    pub discount_code: Option<String>,
}

/// The destination.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuoteDestination {
    /// The country, as an ISO 3166-1 alpha-2 code.
    #[schema(min_length = 2, max_length = 2, example = "GB")]
    pub country: String,
}

/// Prices a basket.
///
/// Uses the same calculation as orders, without a customer and without side effects. An order that
/// sends the total as `expected_total` is refused if the price has changed since.
#[utoipa::path(
    post, path = "/v1/quotes", tag = "quotes",
    request_body(content = QuoteRequest, description = "The basket"),
    responses((status = 200, description = "What it would cost", body = PriceList), WriteProblems),
)]
pub(crate) async fn price(
    Shared(state): Shared<State>,
    Body(request): Body<QuoteRequest>,
) -> Result<Json<PriceList>, Problem> {
    let basket = BasketInput {
        lines: request.lines.iter().map(LineRequest::input).collect(),
        country: &request.ship_to.country,
        discount_code: request.discount_code.as_deref(),
    };
    quote::quote(&state.app, &basket).await.map(Json)
}
