//! Converts between the contract's messages and the commands and results of `app`.

use chrono::{DateTime, Utc};
use domain::refund::{Parts, RefundState};
use domain::{Attention, FulfilmentStatus, OrderStatus, PaymentStatus};
use ordersaga_grpc::v1;
use prost_types::Timestamp;

use crate::app::basket::{BasketInput, LineInput};
use crate::app::orders::cancel::{CancelAnswer, CancelEffect, CancelOutcome, CancelPreview};
use crate::app::orders::place::command::{AddressInput, MoneyInput, OrderInput};
use crate::app::orders::refund::{RefundInput, RefundResource};
use crate::app::orders::timeline::TimelineLine;
use crate::app::orders::{CustomerAction, CustomerActionKind, OrderEvent, OrderResource};

/// Converts an order request. Missing submessages count as empty, and are reported with the other
/// broken rules.
pub(super) fn order_input(order: &v1::PlaceOrderRequest) -> OrderInput<'_> {
    let ship_to = order.ship_to.as_ref();
    OrderInput {
        // proto3 does not distinguish an empty id from a missing one; a customer may omit it.
        customer_id: Some(order.customer_id.as_str()).filter(|customer| !customer.is_empty()),
        basket: BasketInput {
            lines: order.lines.iter().map(line_input).collect(),
            country: ship_to.map_or("", |ship_to| &ship_to.country),
            discount_code: order.discount_code.as_deref(),
        },
        address: ship_to.map_or_else(AddressInput::default, address_input),
        payment_token: &order.payment_token,
        expected_total: order.expected_total.as_ref().map(money_input),
        cancel_window_seconds: order.cancel_window_seconds.map(Into::into),
        patience_seconds: order.patience_seconds.map(Into::into),
        payment_retry_seconds: order.payment_retry_seconds.map(Into::into),
        customer_ip: order.customer_ip.as_deref(),
    }
}

/// Converts a refund request.
pub(super) fn refund_input(refund: &v1::RequestRefundRequest) -> RefundInput<'_> {
    RefundInput {
        amount: refund.amount.as_ref().map(money_input),
        lines: refund.lines.iter().map(line_input).collect(),
        with_shipping: refund.shipping,
        reason: &refund.reason,
    }
}

fn line_input(line: &v1::WantedLine) -> LineInput<'_> {
    LineInput { sku: &line.sku, quantity: line.quantity.into() }
}

fn money_input(money: &v1::Money) -> MoneyInput<'_> {
    MoneyInput { amount: &money.amount, currency: &money.currency }
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
        status: status(&order.state.status).into(),
        status_detail: detail(&order.state.status),
        payment_status: payment_status(order.state.payment_status).into(),
        fulfilment_status: fulfilment_status(order.state.fulfilment_status).into(),
        unwinding: order.state.unwinding,
        needs_attention: order.state.needs_attention.map(attention),
        tracking: order.state.tracking,
        customer_action: order.customer_action.map(customer_action),
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

pub(super) fn refund(refund: RefundResource) -> v1::Refund {
    let Parts { goods, goods_tax, shipping, shipping_tax } = refund.parts;
    v1::Refund {
        number: refund.number,
        state: refund_state(refund.state).into(),
        amount: Some(money(refund.amount)),
        goods: Some(money(goods)),
        goods_tax: Some(money(goods_tax)),
        shipping: Some(money(shipping)),
        shipping_tax: Some(money(shipping_tax)),
        lines: refund
            .lines
            .iter()
            .map(|line| v1::WantedLine {
                sku: line.sku.to_string(),
                quantity: line.quantity.pieces(),
            })
            .collect(),
        reason: refund.reason,
        requested_by: refund.requested_by,
        requested_at: Some(timestamp(refund.requested_at)),
        updated_at: Some(timestamp(refund.updated_at)),
        failure: refund.failure,
    }
}

pub(super) fn event(event: OrderEvent) -> v1::WatchOrderResponse {
    let line = TimelineLine::of(&event);
    let ended = event.read().ok().and_then(|happened| happened.terminal_status());
    v1::WatchOrderResponse {
        sequence: event.sequence,
        r#type: event.kind,
        version: event.version.unsigned_abs().into(),
        text: line.text,
        status: ended.map_or(v1::OrderStatus::Unspecified, |ended| status(&ended)).into(),
        occurred_at: Some(timestamp(event.occurred_at)),
        data_json: event.data.to_string(),
    }
}

pub(super) fn cancelled(outcome: &CancelOutcome) -> v1::CancelOrderResponse {
    let (decision, status_then) = match outcome {
        CancelOutcome::Decided(decided) => {
            let decision = match decided.decision {
                CancelAnswer::Cancelled => v1::CancelDecision::Cancelled,
                CancelAnswer::Unwinding => v1::CancelDecision::Unwinding,
                CancelAnswer::Pending => v1::CancelDecision::Pending,
            };
            (decision, status(&decided.state.status))
        }
        CancelOutcome::Already(order) => (v1::CancelDecision::Already, status(&order.state.status)),
    };
    let (decision, status) = (decision.into(), status_then.into());
    v1::CancelOrderResponse { decision, status, refund: None }
}

pub(super) fn cancel_preview(preview: &CancelPreview) -> v1::CancelOrderResponse {
    let decision = match preview.effect {
        CancelEffect::CallOff => v1::CancelDecision::WouldCancel,
        CancelEffect::ChangeNothing => v1::CancelDecision::WouldChangeNothing,
    };
    v1::CancelOrderResponse {
        decision: decision.into(),
        status: status(&preview.state.status).into(),
        refund: preview.refund.map(money),
    }
}

fn customer_action(action: CustomerAction) -> v1::CustomerAction {
    let kind = match action.kind {
        CustomerActionKind::ApprovePayment => v1::CustomerActionKind::ApprovePayment,
        CustomerActionKind::ReplacePayment => v1::CustomerActionKind::ReplacePayment,
        CustomerActionKind::TransferMoney => v1::CustomerActionKind::TransferMoney,
    };
    let until = Some(timestamp(action.until));
    v1::CustomerAction { kind: kind.into(), url: action.url, until }
}

fn attention(attention: Attention) -> v1::Attention {
    v1::Attention {
        step: attention.step.to_string(),
        occurrence: attention.occurrence,
        undoing: attention.undoing,
        why: attention.why,
        decisions: attention.decisions.iter().map(ToString::to_string).collect(),
        since: Some(timestamp(attention.since)),
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
        OrderStatus::Completed => v1::OrderStatus::Completed,
        OrderStatus::Cancelled { .. } => v1::OrderStatus::Cancelled,
        OrderStatus::Rejected { .. } => v1::OrderStatus::Rejected,
        OrderStatus::Failed { .. } => v1::OrderStatus::Failed,
    }
}

const fn payment_status(status: PaymentStatus) -> v1::PaymentStatus {
    match status {
        PaymentStatus::None => v1::PaymentStatus::None,
        PaymentStatus::AwaitingCustomer => v1::PaymentStatus::AwaitingCustomer,
        PaymentStatus::Authorised => v1::PaymentStatus::Authorised,
        PaymentStatus::Paid => v1::PaymentStatus::Paid,
        PaymentStatus::PartiallyRefunded => v1::PaymentStatus::PartiallyRefunded,
        PaymentStatus::Refunded => v1::PaymentStatus::Refunded,
        PaymentStatus::Voided => v1::PaymentStatus::Voided,
        PaymentStatus::Declined => v1::PaymentStatus::Declined,
        PaymentStatus::Disputed => v1::PaymentStatus::Disputed,
    }
}

const fn refund_state(state: RefundState) -> v1::RefundState {
    match state {
        RefundState::Requested => v1::RefundState::Requested,
        RefundState::Pending => v1::RefundState::Pending,
        RefundState::Succeeded => v1::RefundState::Succeeded,
        RefundState::Failed => v1::RefundState::Failed,
        RefundState::Cancelled => v1::RefundState::Cancelled,
    }
}

const fn fulfilment_status(status: FulfilmentStatus) -> v1::FulfilmentStatus {
    match status {
        FulfilmentStatus::None => v1::FulfilmentStatus::None,
        FulfilmentStatus::Reserved => v1::FulfilmentStatus::Reserved,
        FulfilmentStatus::Shipped => v1::FulfilmentStatus::Shipped,
        FulfilmentStatus::Delivered => v1::FulfilmentStatus::Delivered,
        FulfilmentStatus::PartiallyReturned => v1::FulfilmentStatus::PartiallyReturned,
        FulfilmentStatus::Returned => v1::FulfilmentStatus::Returned,
        FulfilmentStatus::Lost => v1::FulfilmentStatus::Lost,
        FulfilmentStatus::Cancelled => v1::FulfilmentStatus::Cancelled,
    }
}

/// How the order ended, as text.
fn detail(status: &OrderStatus) -> String {
    match status {
        OrderStatus::Cancelled { reason } => reason.clone(),
        OrderStatus::Rejected { rejection } => rejection.to_string(),
        OrderStatus::Failed { incident } => incident.clone(),
        OrderStatus::Processing | OrderStatus::Completed => String::new(),
    }
}
