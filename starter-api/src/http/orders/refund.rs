//! `POST /v1/orders/{order_id}/refunds`: refunds money of a completed order.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::orders::place::command::MoneyInput;
use crate::app::orders::refund::{self, RefundInput, RefundOrder, RefundResource};
use crate::error::{Kind, Problem};
use crate::http::State;
use crate::http::extract::{Body, IdempotencyKeyHeader, Path};
use crate::http::line::LineRequest;
use crate::http::orders::place::{MoneyRequest, tell};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// What to refund: an `amount`, or `lines` and `shipping`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RefundOrder)]
pub(crate) struct RefundOrderRequest {
    /// An amount, spread over everything that was paid for.
    pub amount: Option<MoneyRequest>,
    /// What is left of the price of these goods and of the tax on it.
    #[serde(default)]
    #[schema(max_items = 1_000)]
    pub lines: Vec<LineRequest>,
    /// Whether to refund the shipping and the tax on it, too.
    #[serde(default)]
    pub shipping: bool,
    /// The reason. Everybody who may see the order sees it; no personal data.
    #[schema(min_length = 1, max_length = 200, example = "arrived broken")]
    pub reason: String,
}

impl RefundOrderRequest {
    pub(in crate::http) fn input(&self) -> RefundInput<'_> {
        let amount = self.amount.as_ref();
        RefundInput {
            amount: amount.map(|it| MoneyInput { amount: &it.amount, currency: &it.currency }),
            lines: self.lines.iter().map(LineRequest::input).collect(),
            with_shipping: self.shipping,
            reason: &self.reason,
        }
    }
}

/// Refunds money of a completed order: all of it or a part, as often as something is left.
///
/// Request an `amount`, which is spread over goods, shipping and tax; or `lines` and `shipping`,
/// whose price and tax are computed, minus earlier refunds of them. All refunds of an order
/// together never exceed what was paid, to the cent. An order that is not completed yet is
/// cancelled instead.
///
/// Once the response is 202, the refund is recorded and will be carried out, even if Temporal or
/// the payment provider is unavailable. `GET /v1/orders/{order_id}/refunds` shows its state, and
/// the order's `payment_status` becomes `partially-refunded` or `refunded`. A bank may take days.
/// If the provider does not refund the money, `GET /v1/attention` lists the order for an operator:
/// `retry` asks the provider again, `skip` gives the refund up, and its amount can be requested
/// again. An order has at most one refund under way.
///
/// An `Idempotency-Key` is required. Repeat the request with the same key when there is no
/// response: the repeat is answered with the refund's current state. A key belongs to the order and
/// to the caller, and never expires.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/refunds", tag = "orders", security(("bearer" = ["payments:refund"])),
    params(
        ("order_id" = Uuid, Path, description = "The order"),
        ("Idempotency-Key" = String, Header, min_length = 1, max_length = 255,
         description = "The caller's name for this refund, under which the request may be \
                        repeated. It belongs to the order and the caller, and never expires"),
    ),
    request_body(content = RefundOrderRequest, description = "How much, or what for, and why"),
    responses(
        (status = 202, description = "The refund is on record and is carried out",
         body = RefundResource, headers(
            ("Idempotency-Replayed" = String, description = "`true` if this is a repeat of an earlier response"),
        )),
        (status = 404, description = "There is no such order", body = Document,
         content_type = "application/problem+json"),
        (status = 409, description = "Nothing of the order can be given back, or another refund is \
         under way", body = Document, content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn refund(
    Authorized { caller, .. }: Authorized<scope::RefundPayments>,
    Shared(state): Shared<State>,
    Path(order_id): Path<String>,
    IdempotencyKeyHeader(key): IdempotencyKeyHeader,
    Body(request): Body<RefundOrderRequest>,
) -> Result<Response, Problem> {
    let command = RefundOrder::check(&order_id, &request.input())?;
    let Some(key) = key else {
        return Err(Problem::new(
            Kind::MalformedRequest,
            "Send an Idempotency-Key: without one, a request that is sent twice would give money \
             back twice.",
        ));
    };
    let refunded = refund::refund(&state.app, &caller, &command, &key).await?;
    let mut response = (StatusCode::ACCEPTED, Json(refunded.resource)).into_response();
    tell(&mut response, refunded.replayed, None)?;
    Ok(response)
}
