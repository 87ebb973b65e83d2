//! `POST /v1/orders/{order_id}/refunds`: gives money of a completed order back.

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

/// What is to be given back: an `amount`, or `lines` and `shipping`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RefundOrder)]
pub(crate) struct RefundOrderRequest {
    /// So much, of everything that was paid for.
    pub amount: Option<MoneyRequest>,
    /// What is left of the price of these goods and of the tax on it.
    #[serde(default)]
    #[schema(max_items = 1_000)]
    pub lines: Vec<LineRequest>,
    /// Whether the shipping and the tax on it are given back, too.
    #[serde(default)]
    pub shipping: bool,
    /// Why. Everybody who may see the order sees it; no personal data.
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

/// Gives money of a completed order back: all of it or a part, as often as there is something left.
///
/// Ask for an `amount`, which is taken from goods, shipping and tax alike; or for `lines` and
/// `shipping`, whose price and tax are worked out, less what was given back of them before. All
/// refunds of an order together come to what was paid, to the cent. An order that is not completed
/// yet is cancelled instead.
///
/// Once the answer is 202, the refund is on record and is carried out, even while the order engine
/// or the payment provider is away. `GET /v1/orders/{order_id}/refunds` shows what comes of it, and
/// the order's `payment_status` becomes `partially-refunded` or `refunded`. A bank may take days.
/// Where the provider does not give the money back, the order waits for an operator in
/// `GET /v1/attention`: `retry` asks the provider anew, `skip` gives the refund up, and its amount
/// can be asked for again. An order has one refund under way at a time.
///
/// An `Idempotency-Key` is required. Repeat the request with the same key when there is no answer: the
/// repeat is answered with the refund as it stands then. A key belongs to the order and to the
/// caller, and never expires.
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
            ("Idempotency-Replayed" = String, description = "`true` if this repeats an answer"),
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
