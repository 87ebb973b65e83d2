//! `POST /v1/orders/{order_id}/delivery`: an operator or a program of the shop reports a delivery.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::input::Moment;
use crate::app::orders::deliver::{self, DeliverOrder, DeliveryResource};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, Path};
use crate::http::orders::place::tell;
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// When the customer received the parcel.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeliverOrder)]
pub(crate) struct DeliverOrderRequest {
    /// The time according to the carrier: not before the hand-over, and not in the future. If left
    /// out: now.
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-11-23T14:05:00Z")]
    pub delivered_at: Option<Moment>,
}

/// Reports that the customer has received the parcel: the order's `fulfilment_status` becomes
/// `delivered`, and the customer is notified by mail, if the shop sends mails.
///
/// An order has one delivery. The first report is answered with 201 and counts; each later one is
/// answered with 200 and the content of the first one, and changes nothing. The order's `status`
/// and `payment_status` do not change: a disputed or refunded order is delivered like any other.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/delivery", tag = "orders",
    security(("bearer" = ["orders:deliver"])),
    params(("order_id" = Uuid, Path, description = "The order")),
    request_body(content = DeliverOrderRequest, description = "When it was delivered"),
    responses(
        (status = 200, description = "A delivery was reported before, and counts",
         body = DeliveryResource, headers(
            ("Idempotency-Replayed" = String, description = "`true`: this is a repeat of an earlier response"),
        )),
        (status = 201, description = "The delivery is on record", body = DeliveryResource),
        (status = 404, description = "There is no such order", body = Document,
         content_type = "application/problem+json"),
        (status = 409, description = "The order's parcel is not on its way", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn deliver(
    Authorized { caller, .. }: Authorized<scope::DeliverOrders>,
    Shared(state): Shared<State>,
    Path(order_id): Path<String>,
    Body(request): Body<DeliverOrderRequest>,
) -> Result<Response, Problem> {
    let command = DeliverOrder::check(&order_id, request.delivered_at)?;
    let reported = deliver::deliver(&state.app, &caller, command).await?;
    let status = if reported.replayed { StatusCode::OK } else { StatusCode::CREATED };
    let mut response = (status, Json(reported.resource)).into_response();
    tell(&mut response, reported.replayed, None)?;
    Ok(response)
}
