//! A queue is paused and resumed by a person's decision.

#![expect(clippy::unwrap_used, reason = "what cannot be prepared or read fails its test")]

mod support;

use domain::OrderStatus;
use sqlx::PgPool;
use support::{FOR_EVER, Fault, Shop, ended, order};
use workflows::Queue;

async fn pause(db: &PgPool, queue: Queue) {
    sqlx::query!(
        "insert into operations.paused_queues values ($1, 'eve', 'stock-taking')",
        queue.name(),
    )
    .execute(db)
    .await
    .unwrap();
}

async fn resume(db: &PgPool) {
    sqlx::query!("delete from operations.paused_queues").execute(db).await.unwrap();
}

#[sqlx::test(migrator = "runtime::schema::MIGRATIONS")]
async fn a_step_on_a_paused_queue_waits_and_goes_on(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.until_served(Queue::Fulfilment, true).await;
    pause(&shop.db, Queue::Fulfilment).await;
    shop.until_served(Queue::Fulfilment, false).await;
    let mut order = order();
    order.terms.patience_seconds = None;
    // Three quick tries fail; the patient one waits on the paused queue.
    shop.faults.plan(order.order_id, "ShipOrder", Fault::Unavailable(3));
    let handle = shop.place(&order).await;
    shop.until_event(order.order_id, "payment.authorised").await;
    resume(&shop.db).await;
    assert_eq!(ended(&handle).await, OrderStatus::Completed);
    shop.assert_proven().await;
    shop.close().await;
}

/// While `orders` is paused, orders are not launched; those that are under way come to their end.
#[sqlx::test(migrator = "runtime::schema::MIGRATIONS")]
async fn an_order_that_is_under_way_does_not_stand_still_with_the_queue_of_orders(db: PgPool) {
    let shop = Shop::open(db).await;
    pause(&shop.db, Queue::Orders).await;
    let order = order();
    shop.faults.plan(order.order_id, "ReleaseStock", Fault::Broken(FOR_EVER));
    let handle = shop.place(&order).await;
    assert_eq!(ended(&handle).await, OrderStatus::Completed);
    shop.assert_proven().await;
    shop.close().await;
}
