//! An operator pauses and resumes a queue, or stops and resumes a party.

#![expect(clippy::unwrap_used, reason = "what cannot be prepared or read fails its test")]

mod support;

use domain::OrderStatus;
use sqlx::PgPool;
use support::{FOR_EVER, Fault, Shop, ended, order};
use tokio_util::sync::CancellationToken;
use worker::parties::{self, Breakers};
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
    // Three quick attempts fail; the patient one waits on the paused queue.
    shop.faults.plan(order.order_id, "ShipOrder", Fault::Unavailable(3));
    let handle = shop.place(&order).await;
    shop.until_event(order.order_id, "payment.authorised").await;
    resume(&shop.db).await;
    assert_eq!(ended(&handle).await, OrderStatus::Completed);
    shop.assert_proven().await;
    shop.close().await;
}

/// While `orders` is paused, orders are not launched; those in progress run to their end.
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

/// Each worker's reported state of each party.
async fn standings(db: &PgPool) -> Vec<(String, String)> {
    let rows = sqlx::query!("select party, state from operations.party_standings order by party")
        .fetch_all(db)
        .await
        .unwrap();
    rows.into_iter().map(|row| (row.party, row.state)).collect()
}

/// Waits until the only worker reports these states of carrier and provider.
async fn until_told(db: &PgPool, carrier: &str, provider: &str) {
    let told = [("carrier", carrier), ("payment-provider", provider)];
    let told = told.map(|(party, state)| (party.to_owned(), state.to_owned()));
    while standings(db).await != told {
        tokio::task::yield_now().await;
    }
}

#[sqlx::test(migrator = "runtime::schema::MIGRATIONS")]
async fn a_worker_obeys_a_stop_and_says_how_it_deals_with_each_party(db: PgPool) {
    sqlx::query!(
        "insert into operations.stopped_parties (party, stopped_by, why)
         values ('carrier', 'eve', 'a strike')"
    )
    .execute(&db)
    .await
    .unwrap();
    // A report of a killed worker.
    sqlx::query!(
        "insert into operations.party_standings values
             ('carrier', '1@gone', 'left-alone', now(), null, now() - interval '2 minutes')"
    )
    .execute(&db)
    .await
    .unwrap();
    let as_worker = testkit::as_role(&db, "ordersaga_worker");
    let stop = CancellationToken::new();
    let working = tokio::spawn(parties::run(as_worker, Breakers::default(), stop.clone()));
    until_told(&db, "stopped", "answering").await;
    sqlx::query!("delete from operations.stopped_parties").execute(&db).await.unwrap();
    until_told(&db, "answering", "answering").await;
    stop.cancel();
    working.await.unwrap();
    assert!(standings(&db).await.is_empty());
}
