//! Translates between the messages of the contract and the commands and results of `app`.

use chrono::{DateTime, Utc};
use domain::OrderStatus;
use ordersaga_grpc::v1;
use prost_types::Timestamp;

use crate::app::basket::{BasketInput, LineInput};
use crate::app::orders::OrderEvent;
use crate::app::orders::OrderResource;
use crate::app::orders::cancel::{CancelEffect, CancelOutcome, CancelPreview, Decision};
use crate::app::orders::place::command::{AddressInput, MoneyInput, OrderInput};
use crate::app::orders::timeline::TimelineLine;

/// The order as the caller wrote it. A part of the message that was left out counts as empty, and
/// is refused with the other broken rules.
pub(super) fn order_input(order: &v1::PlaceOrderRequest) -> OrderInput<'_> {
    let ship_to = order.ship_to.as_ref();
    OrderInput {
        // proto3 cannot tell an empty id from none; a customer may leave it out.
        customer_id: Some(order.customer_id.as_str()).filter(|customer| !customer.is_empty()),
        basket: BasketInput {
            lines: order
                .lines
                .iter()
                .map(|line| LineInput { sku: &line.sku, quantity: line.quantity.into() })
                .collect(),
            country: ship_to.map_or("", |ship_to| &ship_to.country),
            discount_code: order.discount_code.as_deref(),
        },
        address: ship_to.map_or_else(AddressInput::default, address_input),
        payment_token: &order.payment_token,
        expected_total: order
            .expected_total
            .as_ref()
            .map(|total| MoneyInput { amount: &total.amount, currency: &total.currency }),
        cancel_window_seconds: order.cancel_window_seconds.map(Into::into),
        patience_seconds: order.patience_seconds.map(Into::into),
    }
}

fn address_input(ship_to: &v1::ShipTo) -> AddressInput<'_> {
    AddressInput {
        name: ship_to.name.as_deref(),
        line1: ship_to.line1.as_deref(),
        line2: ship_to.line2.as_deref(),
        city: ship_to.city.as_deref(),
        postal_code: ship_to.postal_code.as_deref(),
    }
}

pub(super) fn order(order: OrderResource) -> v1::Order {
    v1::Order {
        order_id: order.order_id.to_string(),
        customer_id: order.customer_id.to_string(),
        placed_at: Some(timestamp(order.placed_at)),
        status: status(&order.status).into(),
        status_detail: detail(&order.status),
        lines: order
            .lines
            .iter()
            .map(|line| v1::OrderLine {
                sku: line.sku.to_string(),
                quantity: line.quantity.pieces(),
                unit_price: Some(money(line.unit_price)),
                line_total: Some(money(line.line_total)),
            })
            .collect(),
        subtotal: Some(money(order.totals.subtotal)),
        discount: Some(money(order.totals.discount)),
        shipping: Some(money(order.totals.shipping)),
        tax: Some(money(order.totals.tax)),
        total: Some(money(order.totals.total)),
        discount_code: order.discount_code.map(|code| code.to_string()),
        country: order.ship_to.country.to_string(),
    }
}

pub(super) fn event(event: OrderEvent) -> v1::WatchOrderResponse {
    let line = TimelineLine::of(&event);
    let status_then = event.data.get("status").cloned();
    let status_then =
        status_then.and_then(|status| serde_json::from_value::<OrderStatus>(status).ok());
    v1::WatchOrderResponse {
        sequence: event.sequence,
        r#type: event.kind,
        text: line.text,
        status: status_then.map_or(v1::OrderStatus::Unspecified, |it| status(&it)).into(),
        occurred_at: Some(timestamp(event.occurred_at)),
        data_json: event.data.to_string(),
    }
}

pub(super) fn cancelled(outcome: &CancelOutcome) -> v1::CancelOrderResponse {
    let (decision, status_then) = match outcome {
        CancelOutcome::CalledOff(decided) => {
            let decision = match decided.decision {
                Decision::Unwinding => v1::CancelDecision::CalledOff,
                Decision::Pending => v1::CancelDecision::Pending,
            };
            (decision, status(&decided.status))
        }
        CancelOutcome::Already(order) => (v1::CancelDecision::Already, status(&order.status)),
    };
    let (decision, status) = (decision.into(), status_then.into());
    v1::CancelOrderResponse { decision, status, refund: None }
}

pub(super) fn cancel_preview(preview: &CancelPreview) -> v1::CancelOrderResponse {
    let decision = match preview.effect {
        CancelEffect::CallOff => v1::CancelDecision::WouldCallOff,
        CancelEffect::ChangeNothing => v1::CancelDecision::WouldChangeNothing,
    };
    v1::CancelOrderResponse {
        decision: decision.into(),
        status: status(&preview.status).into(),
        refund: preview.refund.map(money),
    }
}

fn money(money: domain::Money) -> v1::Money {
    v1::Money { amount: money.amount().to_string(), currency: money.currency().code().to_owned() }
}

fn timestamp(at: DateTime<Utc>) -> Timestamp {
    Timestamp {
        seconds: at.timestamp(),
        nanos: i32::try_from(at.timestamp_subsec_nanos()).unwrap_or(0),
    }
}

const fn status(status: &OrderStatus) -> v1::OrderStatus {
    match status {
        OrderStatus::Processing => v1::OrderStatus::Processing,
        OrderStatus::Reserved => v1::OrderStatus::Reserved,
        OrderStatus::Paid => v1::OrderStatus::Paid,
        OrderStatus::Posted => v1::OrderStatus::Posted,
        OrderStatus::Shipped { .. } => v1::OrderStatus::Shipped,
        OrderStatus::Unwinding => v1::OrderStatus::Unwinding,
        OrderStatus::Cancelled { .. } => v1::OrderStatus::Cancelled,
        OrderStatus::Rejected { .. } => v1::OrderStatus::Rejected,
        OrderStatus::Stuck { .. } => v1::OrderStatus::Stuck,
        OrderStatus::Failed { .. } => v1::OrderStatus::Failed,
    }
}

/// The particulars of the status, in words.
fn detail(status: &OrderStatus) -> String {
    match status {
        OrderStatus::Shipped { tracking } => tracking.clone(),
        OrderStatus::Cancelled { reason } => reason.clone(),
        OrderStatus::Rejected { rejection } => rejection.to_string(),
        OrderStatus::Stuck { step, why } => format!("{step}: {why}"),
        OrderStatus::Failed { incident } => incident.clone(),
        OrderStatus::Processing
        | OrderStatus::Reserved
        | OrderStatus::Paid
        | OrderStatus::Posted
        | OrderStatus::Unwinding => String::new(),
    }
}
