//! An operator resets a workflow to an earlier point of its history. The new run finds what was
//! done and decided: it ends in the same way, and nothing takes effect a second time.

mod support;

use domain::{Decision, Order, OrderStatus, Rejection, StepName};
use runtime::schema::MIGRATIONS;
use saga::StepState;
use sqlx::PgPool;
use support::{
    FOR_EVER, Fault, Gate, OrderHandle, Shop, Traces, cancel, decided, ended, history, order,
    reset, until_in_history,
};
use temporalio_common::protos::temporal::api::enums::v1::EventType;
use workflows::order::CancelDecision;

/// The points to which a run can be reset.
async fn tasks(run: &OrderHandle) -> Vec<i64> {
    let completed = EventType::WorkflowTaskCompleted;
    let events = history(run).await.events.into_iter();
    events.filter(|event| event.event_type() == completed).map(|event| event.event_id).collect()
}

/// What must not change once an order has ended.
async fn done_for(shop: &Shop, order: &Order) -> (Traces, Vec<String>) {
    (shop.traces(order.order_id).await, shop.events_on_record(order.order_id).await)
}

/// Resets the run of an ended order to each of its tasks; returns their number.
async fn end_again(shop: &Shop, order: &Order, run: &OrderHandle, end: &OrderStatus) -> usize {
    let (tasks, before) = (tasks(run).await, done_for(shop, order).await);
    for task in &tasks {
        let again = reset(run, *task).await;
        // A decision after this task in the history may have to be made again.
        let status = tokio::select! {
            status = ended(&again) => status,
            never = shop.retry_whatever_waits(&again) => never,
        };
        assert_eq!(status, *end, "reset to event {task}");
        assert_eq!(done_for(shop, order).await, before, "reset to event {task}");
    }
    tasks.len()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_completed_order_stays_completed(db: PgPool) {
    let shop = Shop::open(db).await;
    let mut order = order();
    order.terms.cancel_window_seconds = 2;
    order.terms.patience_seconds = None;
    // A separate task, even if the window is over when it is reached.
    shop.faults.plan(order.order_id, "ShipOrder", Fault::Unavailable(3));
    let handle = shop.place(&order).await;
    assert_eq!(ended(&handle).await, OrderStatus::Completed);
    assert!(end_again(&shop, &order, &handle, &OrderStatus::Completed).await >= 2);
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_cancelled_order_stays_cancelled(db: PgPool) {
    let shop = Shop::open(db).await;
    let mut order = order();
    order.terms.cancel_window_seconds = 3_600;
    let handle = shop.place(&order).await;
    shop.until_event(order.order_id, "payment.authorised").await;
    let answer = cancel(&handle, "changed my mind", &Gate::default()).await;
    assert_eq!(answer.unwrap(), CancelDecision::Unwinding);
    let end = OrderStatus::Cancelled { reason: "changed my mind".to_owned() };
    assert_eq!(ended(&handle).await, end);
    assert!(end_again(&shop, &order, &handle, &end).await >= 3);
    shop.assert_clean_slate(order.order_id).await;
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_in_its_cancel_window_can_still_be_cancelled(db: PgPool) {
    let shop = Shop::open(db).await;
    let mut order = order();
    order.terms.cancel_window_seconds = 3_600;
    let first = shop.place(&order).await;
    until_in_history(&first, EventType::TimerStarted, 1).await;
    let before = done_for(&shop, &order).await;
    let second = reset(&first, tasks(&first).await[0]).await;
    // It has reached the window again.
    shop.until_view(&second, |view| view.steps.len() == 2).await;
    assert_eq!(done_for(&shop, &order).await, before);
    cancel(&second, "changed my mind", &Gate::default()).await.unwrap();
    let end = OrderStatus::Cancelled { reason: "changed my mind".to_owned() };
    assert_eq!(ended(&second).await, end);
    shop.assert_clean_slate(order.order_id).await;
    shop.assert_proven().await;
    shop.close().await;
}

/// Although nothing fails any more, the new run is refused any new step, and ends the order as the
/// first run has noted.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_is_being_unwound_ends_as_its_record_says(db: PgPool) {
    let shop = Shop::open(db).await;
    let rejection = Rejection::FulfilmentUnavailable { step: StepName::ShipOrder };
    let end = OrderStatus::Rejected { rejection };
    for place in 0.. {
        let order = order();
        shop.faults.plan(order.order_id, "ShipOrder", Fault::Unavailable(FOR_EVER));
        shop.faults.plan(order.order_id, "RefundPayment", Fault::Unavailable(FOR_EVER));
        let first = shop.place(&order).await;
        let is_recalled = |step: &saga::StepProgress| {
            step.step == StepName::ShipOrder.name() && step.state == StepState::Undone
        };
        shop.until_view(&first, |view| view.steps.iter().any(is_recalled)).await;
        let Some(task) = tasks(&first).await.get(place).copied() else {
            shop.faults.heal_order(order.order_id);
            assert_eq!(ended(&first).await, end);
            break;
        };
        let second = reset(&first, task).await;
        shop.faults.heal_order(order.order_id);
        assert_eq!(ended(&second).await, end, "reset to task {place}");
        shop.assert_clean_slate(order.order_id).await;
    }
    shop.assert_proven().await;
    shop.close().await;
}

/// The rejection after which the order's refund is broken.
fn refusal() -> Rejection {
    Rejection::CardDeclined { decline_code: "as planned by the test".to_owned() }
}

/// An order that waits for a person.
async fn waiting(shop: &Shop) -> (Order, OrderHandle) {
    let order = order();
    shop.faults.plan(order.order_id, "ShipOrder", Fault::Refused(refusal()));
    shop.faults.plan(order.order_id, "RefundPayment", Fault::Broken(FOR_EVER));
    let handle = shop.place(&order).await;
    let waiting = shop.until_needs_attention(&handle).await;
    assert_eq!((waiting.step.as_str(), waiting.occurrence), ("capture-payment", 1));
    (order, handle)
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_waits_for_a_person_waits_again(db: PgPool) {
    let shop = Shop::open(db).await;
    let end = OrderStatus::Rejected { rejection: refusal() };
    for place in 0.. {
        let (order, first) = waiting(&shop).await;
        let before = shop.traces(order.order_id).await;
        let Some(task) = tasks(&first).await.get(place).copied() else {
            shop.resolve(&first, Decision::Skip).await;
            assert_eq!(ended(&first).await, end);
            break;
        };
        let second = reset(&first, task).await;
        let waits = shop.until_needs_attention(&second).await;
        // The record asks for what the workflow waits for.
        let asked = shop.data_of(order.order_id, "order.attention-needed").await;
        let asked = asked.last().map(|last| (last["step"].clone(), last["occurrence"].clone()));
        assert_eq!(asked, Some((waits.step.clone().into(), waits.occurrence.into())));
        assert_eq!(shop.traces(order.order_id).await, before, "reset to task {place}");
        shop.faults.heal(order.order_id, "RefundPayment");
        shop.decide(&second, &decided(&waits, Decision::Retry)).await.unwrap();
        assert_eq!(ended(&second).await, end, "reset to task {place}");
        shop.assert_clean_slate(order.order_id).await;
        end_again(&shop, &order, &second, &end).await;
    }
    shop.assert_proven().await;
    shop.close().await;
}
