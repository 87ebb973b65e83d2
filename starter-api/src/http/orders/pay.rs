//! `POST /v1/orders/{order_id}/payment`: replaces a declined payment.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::orders::OrderResource;
use crate::app::orders::pay::{self, PayOrder};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, IdempotencyKeyHeader, Path, PreferWait};
use crate::http::orders::place::tell;
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// Another payment method for an order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PayOrder)]
pub(crate) struct PayOrderRequest {
    /// The payment provider's token for the card. Never a card number.
    #[schema(min_length = 5, max_length = 128, example = "tok_visa")]
    pub payment_token: String,
}

/// Pays for an order with another payment method, after its payment was declined.
///
/// An order whose terms grant time for that (`payment_retry_seconds`) keeps its goods reserved
/// after a decline, and shows the deadline in `customer_action`. It may have at most five payments.
/// Once the response is 202 the new payment method is recorded and is tried next, even while
/// Temporal is unavailable; the order shows the outcome.
///
/// Send an `Idempotency-Key`, and repeat the request with the same key when there is no response. A
/// key belongs to the order. With `Prefer: wait=N` the response comes when the new payment is
/// decided or the customer has to act, at most after N seconds.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/payment", tag = "orders", security(("bearer" = ["orders:place"])),
    params(
        ("order_id" = Uuid, Path, description = "The order"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
         description = "The caller's name for this payment, under which the request may be \
                        repeated. It belongs to the order"),
        ("Prefer" = Option<String>, Header, example = "wait=5",
         description = "`wait=N`: answer when the new payment is decided or the customer has to do \
                        something, at most after N seconds (30 at most), or at once when too many \
                        wait"),
    ),
    request_body(content = PayOrderRequest, description = "How it is paid"),
    responses(
        (status = 202, description = "The payment method is on record and is tried next",
         body = OrderResource, headers(
            ("Idempotency-Replayed" = String, description = "`true` if this is a repeat of an earlier response"),
            ("Preference-Applied" = String, description = "`wait=N` if it was decided in time"),
        )),
        (status = 404, description = "There is no such order", body = Document,
         content_type = "application/problem+json"),
        (status = 409, description = "The order does not wait for a payment", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn pay(
    Authorized { caller, .. }: Authorized<scope::PlaceOrders>,
    Shared(state): Shared<State>,
    Path(order_id): Path<String>,
    IdempotencyKeyHeader(key): IdempotencyKeyHeader,
    PreferWait(wait): PreferWait,
    Body(request): Body<PayOrderRequest>,
) -> Result<Response, Problem> {
    let command = PayOrder::check(&order_id, &request.payment_token)?;
    let paid = pay::pay(&state.app, &caller, command, key.as_ref(), wait).await?;
    let mut response = (StatusCode::ACCEPTED, Json(paid.resource)).into_response();
    tell(&mut response, paid.replayed, paid.decided_within)?;
    Ok(response)
}
