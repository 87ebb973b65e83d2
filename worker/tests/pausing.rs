//! The line stops and goes on by a person's decision.

#![expect(clippy::unwrap_used, reason = "what cannot be prepared or read fails its test")]

mod support;

use domain::OrderStatus;
use sqlx::PgPool;
use support::{Shop, ended, history, order};
use temporalio_common::protos::temporal::api::enums::v1::EventType;
use temporalio_common::protos::temporal::api::history::v1::{History, HistoryEvent};

async fn pause(db: &PgPool) {
    sqlx::query!("insert into operations.paused_queues values ('orders', 'eve', 'stock-taking')")
        .execute(db)
        .await
        .unwrap();
}

async fn resume(db: &PgPool) {
    sqlx::query!("delete from operations.paused_queues").execute(db).await.unwrap();
}

/// How many orders a worker asks for at once, and so takes up side by side: the SDK's default.
const ASKED_FOR_AT_ONCE: usize = 5;

/// When the order's first task was taken up.
fn taken_up(history: &History) -> (i64, i32) {
    let first =
        history.events.iter().find(|event| event.event_type() == EventType::WorkflowTaskStarted);
    let at = first.unwrap().event_time.unwrap();
    (at.seconds, at.nanos)
}

#[sqlx::test(migrator = "runtime::schema::MIGRATIONS")]
async fn orders_that_come_while_the_line_stands_wait_and_are_taken_up_in_order(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.until_workflows_are_served(true).await;
    pause(&shop.db).await;
    shop.until_workflows_are_served(false).await;

    let orders: Vec<_> = (0..20).map(|_| order()).collect();
    let mut handles = Vec::new();
    for order in &orders {
        handles.push(shop.place(order).await);
    }
    // Nothing has begun, so no time limit runs: neither a step's nor a reservation's.
    for (order, handle) in orders.iter().zip(&handles) {
        let events = history(handle).await.events;
        let kinds: Vec<_> = events.iter().map(HistoryEvent::event_type).collect();
        let waiting = [EventType::WorkflowExecutionStarted, EventType::WorkflowTaskScheduled];
        assert_eq!(kinds, waiting);
        assert_eq!(shop.status_on_record(order.order_id).await, None);
    }

    resume(&shop.db).await;
    let mut taken = Vec::new();
    for handle in &handles {
        assert!(matches!(ended(handle).await, OrderStatus::Shipped { .. }));
        taken.push(taken_up(&history(handle).await));
    }
    let in_order = taken.iter().zip(taken.iter().skip(ASKED_FOR_AT_ONCE)).all(|(a, b)| a < b);
    assert!(in_order, "not in the order in which they came: {taken:?}");
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "runtime::schema::MIGRATIONS")]
async fn an_order_between_two_steps_waits_and_goes_on(db: PgPool) {
    let shop = Shop::open(db).await;
    let mut order = order();
    order.terms.cancel_window_seconds = 2;
    let handle = shop.place(&order).await;
    shop.until_on_record(order.order_id, "posted").await;
    pause(&shop.db).await;
    shop.until_workflows_are_served(false).await;
    // Its timer may go off meanwhile; nobody takes that up.
    assert_eq!(shop.status_on_record(order.order_id).await.as_deref(), Some("posted"));
    resume(&shop.db).await;
    assert!(matches!(ended(&handle).await, OrderStatus::Shipped { .. }));
    shop.assert_proven().await;
    shop.close().await;
}
