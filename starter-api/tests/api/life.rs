//! Recorded orders, written as the product writes them: placed by the one function that places
//! orders, and advanced by typed events.

use domain::event::{
    AttentionNeeded, AttentionResolved, AwaitingCustomer, Booked, Cancelled, Completed, Failed,
    OrderEvent, Parcelled, PaymentMoved, Refused, StockLines, Unwinding,
};
use domain::{CustomerId, Decision, Ending, Order, OrderId, Quantity, Rejection, StepName};
use sqlx::PgPool;
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

/// Records an order whose workflow was started.
pub(crate) async fn record(database: &PgPool, order_id: Uuid, customer: &str, placed_at: &str) {
    let basket = [(testkit::priced("85123A", "2.55", 40), Quantity::new(6).unwrap())];
    let order = Order {
        customer_id: CustomerId::parse(customer).unwrap(),
        placed_at: placed_at.parse().unwrap(),
        ..testkit::order_of(OrderId::of(order_id), &basket)
    };
    let placed = serde_json::to_value(order.placed()).unwrap();
    let launch_after = PgInterval { months: 0, days: 1, microseconds: 0 };
    testkit::place(database, &order, "v1:test", &placed, None, launch_after).await;
    sqlx::query!("delete from orders.launches where order_id = $1", order_id)
        .execute(database)
        .await
        .unwrap();
}

/// Applies these events to a recorded order.
pub(crate) async fn happen(database: &PgPool, order_id: Uuid, events: &[OrderEvent]) {
    for event in events {
        sqlx::query!(
            "select orders.record($1, $2, $3)",
            order_id,
            event.event_type().name(),
            event.data().unwrap(),
        )
        .fetch_one(database)
        .await
        .unwrap();
    }
}

pub(crate) fn reserved() -> OrderEvent {
    OrderEvent::StockReserved(StockLines { lines: Vec::new() })
}

pub(crate) fn released() -> OrderEvent {
    OrderEvent::StockReleased(StockLines { lines: Vec::new() })
}

pub(crate) fn captured() -> OrderEvent {
    let (amount, provider_reference) = (testkit::pounds("23.10"), "pay_1".to_owned());
    OrderEvent::PaymentCaptured(PaymentMoved { amount, provider_reference })
}

pub(crate) fn awaiting_customer() -> OrderEvent {
    let (amount, provider_reference) = (testkit::pounds("23.10"), "pay_1".to_owned());
    let until = "2026-01-02T03:19:05Z".parse().unwrap();
    OrderEvent::PaymentAwaitingCustomer(AwaitingCustomer { amount, provider_reference, until })
}

pub(crate) fn declined() -> OrderEvent {
    let rejection = Rejection::CardDeclined { decline_code: "do_not_honour".to_owned() };
    OrderEvent::PaymentDeclined(Refused { rejection })
}

pub(crate) fn posted() -> OrderEvent {
    OrderEvent::LedgerPosted(Booked { entries: Vec::new() })
}

pub(crate) fn shipped(tracking: &str) -> OrderEvent {
    OrderEvent::OrderShipped(Parcelled { tracking: tracking.to_owned() })
}

/// All events of a successful order, from the reservation to the end.
pub(crate) fn whole_life() -> Vec<OrderEvent> {
    let recognised = OrderEvent::RevenueRecognised(Booked { entries: Vec::new() });
    let completed = OrderEvent::OrderCompleted(Completed {});
    vec![reserved(), captured(), posted(), shipped("T-1"), recognised, completed]
}

pub(crate) fn cancelled(reason: &str) -> Ending {
    Ending::Cancelled { reason: reason.to_owned() }
}

pub(crate) fn rejected() -> Ending {
    Ending::Rejected {
        rejection: Rejection::CardDeclined { decline_code: "insufficient_funds".to_owned() },
    }
}

pub(crate) fn failed() -> Ending {
    Ending::Failed { incident: "i-1".to_owned() }
}

pub(crate) fn unwinding(ending: Ending) -> OrderEvent {
    OrderEvent::OrderUnwinding(Unwinding { ending })
}

/// All events of an unwound order, from the start of the unwinding to the end.
pub(crate) fn unwound(ending: &Ending) -> Vec<OrderEvent> {
    let end = match ending.clone() {
        Ending::Cancelled { reason } => OrderEvent::OrderCancelled(Cancelled { reason }),
        Ending::Rejected { rejection } => OrderEvent::OrderRejected(Refused { rejection }),
        Ending::Failed { incident } => OrderEvent::OrderFailed(Failed { incident }),
    };
    vec![unwinding(ending.clone()), end]
}

/// The refund cannot be made, and a person has to decide.
pub(crate) fn needs_attention(occurrence: u32, why: &str) -> OrderEvent {
    OrderEvent::AttentionNeeded(AttentionNeeded {
        step: StepName::CapturePayment,
        occurrence,
        undoing: true,
        why: why.to_owned(),
        decisions: vec![Decision::Retry, Decision::Skip],
    })
}

pub(crate) fn decided(by: &str, why: &str) -> OrderEvent {
    OrderEvent::AttentionResolved(AttentionResolved {
        step: StepName::CapturePayment,
        occurrence: 1,
        decision: Decision::Retry,
        by: by.to_owned(),
        why: why.to_owned(),
    })
}
