//! The contract's words for what HTTP says in JSON.

use chrono::{DateTime, Utc};
use domain::OrderStatus;
use ordersaga_grpc::v1;
use prost_types::Timestamp;

use crate::basket::WrittenLine;
use crate::orders::OrderResource;
use crate::orders::cancel::{CancelOutcome, Decision, Would};
use crate::orders::events::OrderEvent;
use crate::orders::request::{WrittenDestination, WrittenMoney, WrittenOrder};
use crate::orders::timeline;

/// The order as HTTP would have it written. What was left out is written as nothing, and is
/// refused with the other broken rules.
pub(super) fn written(order: v1::PlaceOrderRequest) -> WrittenOrder {
    let ship_to = order.ship_to.unwrap_or_default();
    WrittenOrder {
        // Nothing written is nothing said: a customer is themself.
        customer_id: Some(order.customer_id).filter(|customer| !customer.is_empty()),
        lines: order
            .lines
            .into_iter()
            .map(|line| WrittenLine { sku: line.sku, quantity: line.quantity.into() })
            .collect(),
        ship_to: WrittenDestination {
            country: ship_to.country,
            name: ship_to.name,
            line1: ship_to.line1,
            line2: ship_to.line2,
            city: ship_to.city,
            postal_code: ship_to.postal_code,
        },
        payment_token: order.payment_token,
        discount_code: order.discount_code,
        expected_total: order
            .expected_total
            .map(|total| WrittenMoney { amount: total.amount, currency: total.currency }),
        cancel_window_seconds: order.cancel_window_seconds.map(Into::into),
        patience_seconds: order.patience_seconds.map(Into::into),
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
    let line = timeline::Line::of(&event);
    let turned = event.data.get("status").cloned();
    let turned = turned.and_then(|status| serde_json::from_value::<OrderStatus>(status).ok());
    v1::WatchOrderResponse {
        sequence: event.sequence,
        r#type: event.kind,
        text: line.text,
        status: turned.map_or(v1::OrderStatus::Unspecified, |turned| status(&turned)).into(),
        occurred_at: Some(timestamp(event.occurred_at)),
        data_json: event.data.to_string(),
    }
}

pub(super) fn cancelled(answer: CancelOutcome) -> v1::CancelOrderResponse {
    let (decision, stood, refund) = match answer {
        CancelOutcome::CalledOff(decided) => {
            let decision = match decided.decision {
                Decision::Unwinding => v1::CancelDecision::CalledOff,
                Decision::Pending => v1::CancelDecision::Pending,
            };
            (decision, status(&decided.status), None)
        }
        CancelOutcome::Already(order) => (v1::CancelDecision::Already, status(&order.status), None),
        CancelOutcome::Preview(preview) => {
            let would = match preview.would {
                Would::CallOff => v1::CancelDecision::WouldCallOff,
                Would::ChangeNothing => v1::CancelDecision::WouldChangeNothing,
            };
            (would, status(&preview.status), preview.refund.map(money))
        }
    };
    v1::CancelOrderResponse { decision: decision.into(), status: stood.into(), refund }
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

/// What belongs to the status, in words.
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
