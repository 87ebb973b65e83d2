//! `POST /v1/orders/{order_id}/review`: an operator decides about an order that screening has stopped.

use axum::Json;
use axum::extract::State as Shared;
use domain::screening::ReviewDecision;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::screening::review::{self, ReviewOrder, ReviewedOrder};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, Path};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// A decision about an order that waits for a review.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReviewOrder)]
pub(crate) struct ReviewOrderRequest {
    /// `approve`: the order continues. `decline`: it is rejected, and everything done for it is
    /// undone.
    pub decision: ReviewDecision,
    /// The reason, for the record. It is kept permanently, so do not name persons.
    #[schema(min_length = 1, max_length = 200, example = "the customer answered the phone")]
    pub note: String,
}

/// Decides about an order that waits for a review (`GET /v1/reviews`).
///
/// With 200 the decision is recorded, and the order acts on it, even if Temporal is unavailable at
/// the moment; `/v1/orders/{order_id}/events` shows the outcome. The customer of a declined order
/// sees `screening-declined` and no reason.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/review", tag = "operators",
    security(("bearer" = ["orders:review"])),
    params(("order_id" = Uuid, Path, description = "The order")),
    request_body(content = ReviewOrderRequest, description = "The decision, and why"),
    responses(
        (status = 200, description = "The decision is on record", body = ReviewedOrder),
        (status = 404, description = "There is no such order", body = Document,
         content_type = "application/problem+json"),
        (status = 409, description = "It does not wait for a review", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn review(
    Authorized { caller, .. }: Authorized<scope::ReviewOrders>,
    Shared(state): Shared<State>,
    Path(order_id): Path<String>,
    Body(request): Body<ReviewOrderRequest>,
) -> Result<Json<ReviewedOrder>, Problem> {
    let command = ReviewOrder::check(&order_id, request.decision, &request.note)?;
    review::review(&state.app, &caller, command).await.map(Json)
}
