//! A worker is replaced after many activities, without any effect on orders.

#![expect(clippy::arithmetic_side_effects, reason = "the test counts workers")]

mod support;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    made.wait_for(|made| *made > QUEUES.len()).await.unwrap();
    held.let_go();
    assert_eq!(ended(&handle).await, OrderStatus::Completed);
    shop.assert_proven().await;
    shop.close().await;
}

/// Notes which workers still hold state. Each worker gets a clone of the first one, which belongs to
/// none, and may clone that further.
struct Counted {
    worker: Option<usize>,
    made: Arc<AtomicUsize>,
    alive: watch::Sender<BTreeMap<usize, usize>>,
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        let worker = self.worker.unwrap_or_else(|| self.made.fetch_add(1, Ordering::Relaxed));
        self.alive.send_modify(|alive| *alive.entry(worker).or_default() += 1);
        Self { worker: Some(worker), made: Arc::clone(&self.made), alive: self.alive.clone() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some(worker) = self.worker else { return };
        self.alive.send_modify(|alive| {
            if let Entry::Occupied(mut clones) = alive.entry(worker) {
                *clones.get_mut() -= 1;
                if *clones.get() == 0 {
                    clones.remove();
                }
            }
        });
    }
}

impl ActivityInboundInterceptor for Counted {}

#[sqlx::test(migrator = "runtime::schema::MIGRATIONS")]
async fn a_worn_worker_is_freed_once_it_has_finished(db: PgPool) {
    let mut shop = Shop::open(db).await;
    shop.send_workers_home().await;
    let code = Code { worn_after: Some(WORN_AFTER), ..Code::default() };
    let mut made = code.made.subscribe();
    let (alive, mut seen) = watch::channel(BTreeMap::new());
    let counted = Counted { worker: None, made: Arc::default(), alive };
    let workers = serve_as(code, &shop.db, &shop.client, counted, QUEUES);
    let orders: Vec<_> = std::iter::repeat_with(order).take(8).collect();
    let ends = shop.see_off(&orders).await;
    assert!(ends.iter().all(|end| *end == OrderStatus::Completed), "{ends:?}");
    made.wait_for(|made| *made > QUEUES.len()).await.unwrap();
    // The next worker is made before a worn one ends: only one per queue is left if all worn ones
    // are freed.
    seen.wait_for(|alive| alive.len() == QUEUES.len()).await.unwrap();
    workers.stop().await;
    shop.close().await;
}
