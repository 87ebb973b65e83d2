//! A worker is replaced after many activities, without any effect on orders.

#![expect(clippy::arithmetic_side_effects, reason = "the test counts workers")]

mod support;

use domain::OrderStatus;
use sqlx::PgPool;
use support::{Code, Shop, ended, order, serve_as};
use temporalio_sdk::interceptors::ActivityInboundInterceptor;
use tokio::sync::watch;
use workflows::Queue;

/// Two orders make more activities than this.
const WORN_AFTER: u32 = 10;

const QUEUES: &[Queue] = &[Queue::Orders, Queue::Payments, Queue::Fulfilment];

#[sqlx::test(migrator = "runtime::schema::MIGRATIONS")]
async fn orders_go_on_while_a_worn_worker_finishes_what_it_has(db: PgPool) {
    let code = Code { worn_after: Some(WORN_AFTER), ..Code::default() };
    let mut made = code.made.subscribe();
    let shop = Shop::open_with(code, db).await;
    let slow = order();
    let held = shop.faults.hold(slow.order_id, "ShipOrder");
    let handle = shop.place(&slow).await;
    held.reached().await;
    let others: Vec<_> = std::iter::repeat_with(order).take(8).collect();
    let ends = shop.see_off(&others).await;
    assert!(ends.iter().all(|end| *end == OrderStatus::Completed), "{ends:?}");
    made.wait_for(|made| *made >= QUEUES.len() + 2).await.unwrap();
    held.let_go();
    assert_eq!(ended(&handle).await, OrderStatus::Completed);
    shop.assert_proven().await;
    shop.close().await;
}

/// Counts its own instances. Every worker holds one until all its state is dropped.
struct Counted {
    alive: watch::Sender<usize>,
}

impl Counted {
    fn by(alive: &watch::Sender<usize>) -> Self {
        alive.send_modify(|alive| *alive += 1);
        Self { alive: alive.clone() }
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::by(&self.alive)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.send_modify(|alive| *alive -= 1);
    }
}

impl ActivityInboundInterceptor for Counted {}

#[sqlx::test(migrator = "runtime::schema::MIGRATIONS")]
async fn a_worn_worker_is_freed_once_it_has_finished(db: PgPool) {
    let mut shop = Shop::open(db).await;
    shop.send_workers_home().await;
    let code = Code { worn_after: Some(WORN_AFTER), ..Code::default() };
    let mut made = code.made.subscribe();
    let (alive, mut seen) = watch::channel(0);
    let workers = serve_as(code, &shop.db, &shop.client, Counted::by(&alive), QUEUES);
    workers.serve(QUEUES.len()).await;
    let of_first_workers = *seen.borrow();
    let orders: Vec<_> = std::iter::repeat_with(order).take(8).collect();
    let ends = shop.see_off(&orders).await;
    assert!(ends.iter().all(|end| *end == OrderStatus::Completed), "{ends:?}");
    made.wait_for(|made| *made >= QUEUES.len() + 2).await.unwrap();
    // Each new worker counts before its predecessor may end: the number is this low only if all
    // replaced workers are gone.
    seen.wait_for(|alive| *alive == of_first_workers).await.unwrap();
    workers.stop().await;
    shop.close().await;
}
