//! The cost of an order in units that are the same on every machine: statements, transactions,
//! rows, history, log bytes, allocations. Each count is pinned (`pins.rs`), so that cost cannot
//! grow unnoticed.
//!
//! Real orders of 1, 22 and 541 lines run through the whole saga with quick attempts, one after the
//! other, against a real Temporal server and a real Postgres. Nothing else runs meanwhile: no
//! sweep, no relay, no API; the test itself records and launches an order as the API does.
//! Postgres' background work can only add to a count, so the minimum of several orders counts.

#![allow(
    unreachable_pub,
    clippy::arithmetic_side_effects,
    clippy::default_trait_access,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test: it counts, asks the database anything, and fails on what it cannot prepare"
)]

mod counts;
mod pins;
mod subject;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use domain::OrderStatus;
use runtime::schema::MIGRATIONS;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use temporalio_client::{Client, WorkflowStartOptions};
use temporalio_sdk::interceptors::ActivityInboundInterceptor;
use worker::prove::{Finding, prove, table};
use workflows::Queue;
use workflows::order::{OrderSaga, OrderStart, search_attributes_at_start};

use counts::{Allocated, Observer, Rows, footprint, statements};
use pins::{LINES, Measured};
use subject::Invoice;
use support::{Code, OrderHandle, ended, put_on_record, serve_as};

/// The number of orders counted of each size, after one that warms up every cache.
const COUNTED: [u64; 3] = [12, 12, 4];

/// The number of orders over which memory kept per order is measured.
const KEPT_OF: u64 = 100;

const QUEUES: &[Queue] = &[Queue::Orders, Queue::Payments, Queue::Fulfilment];

/// Passes activities through.
#[derive(Clone)]
struct AsTheyAre;

impl ActivityInboundInterceptor for AsTheyAre {}

/// The shop under measurement.
struct Shop {
    options: PgConnectOptions,
    client: Client,
    observer: Observer,
}

/// The cost of one order, and its statements.
#[derive(Default)]
struct Cost {
    measured: Measured,
    statements: Vec<String>,
}

impl Shop {
    /// A single connection, so that its writes can be waited for.
    fn owner(&self) -> PgPool {
        PgPoolOptions::new().max_connections(1).connect_lazy_with(self.options.clone())
    }

    /// Processes this many orders for this invoice with new workers; returns the minimum cost. All
    /// connections except the observer's are closed when this returns.
    async fn carry(&mut self, invoice: &Invoice, orders: u64) -> Cost {
        let owner = self.owner();
        let workers = serve_as(Code::default(), &owner, &self.client, AsTheyAre, QUEUES);
        let mut least = Cost::default();
        for _order in 0..orders {
            let cost = self.carry_one(&owner, invoice).await;
            if least.measured.is_empty() || cost.statements.len() < least.statements.len() {
                least.statements = cost.statements;
            }
            for (name, count) in cost.measured {
                least
                    .measured
                    .entry(name)
                    .and_modify(|least| *least = count.min(*least))
                    .or_insert(count);
            }
        }
        workers.stop().await;
        owner.close().await;
        self.observer.until_alone().await;
        least
    }

    /// The mean number of bytes that a worker keeps for each ended order, until the worker is
    /// replaced.
    async fn kept(&mut self, invoice: &Invoice) -> u64 {
        let owner = self.owner();
        let workers = serve_as(Code::default(), &owner, &self.client, AsTheyAre, QUEUES);
        for _order in 0..KEPT_OF / 2 {
            self.carry_one(&owner, invoice).await;
        }
        let before = Allocated::now();
        for _order in 0..KEPT_OF {
            self.carry_one(&owner, invoice).await;
        }
        let kept = before.since().kept_each(KEPT_OF);
        workers.stop().await;
        owner.close().await;
        kept
    }

    async fn carry_one(&mut self, owner: &PgPool, invoice: &Invoice) -> Cost {
        let order = invoice.order();
        let before = self.observer.log().await;
        put_on_record(owner, &order, &serde_json::to_value(order.placed()).unwrap()).await;
        sqlx::query("delete from orders.launches where order_id = $1")
            .bind(order.order_id.uuid())
            .execute(owner)
            .await
            .unwrap();
        let _of_the_api = statements();
        let allocated = Allocated::now();
        let attributes = search_attributes_at_start(&order.customer_id, order.totals.total);
        let options = WorkflowStartOptions::new(Queue::Orders.name(), order.order_id.workflow_id())
            .search_attributes(attributes)
            .build();
        let start = OrderStart::of(&order);
        let started = self.client.start_workflow(OrderSaga::run, start, options).await;
        let handle: OrderHandle = started.unwrap();
        assert_eq!(ended(&handle).await, OrderStatus::Completed);
        let allocated = allocated.since();
        let statements = statements();
        let log = self.observer.log().await.since(before);
        let count = |counted: usize| u64::try_from(counted).unwrap();
        // The sandboxes stand for an external provider and carrier.
        let of_sandboxes = statements.iter().filter(|statement| statement.contains("sandbox_"));
        let of_sandboxes = count(of_sandboxes.count());
        let mut measured = footprint(&handle).await;
        measured.extend([
            ("statements of the sandboxes".to_owned(), of_sandboxes),
            ("statements of the worker".to_owned(), count(statements.len()) - of_sandboxes),
            ("transactions that write".to_owned(), log.transactions),
            ("bytes of write-ahead log".to_owned(), log.bytes),
            ("allocations".to_owned(), allocated.times),
            ("bytes allocated".to_owned(), allocated.bytes),
        ]);
        Cost { measured, statements }
    }

    /// Asserts every invariant that the records can show.
    async fn assert_proven(&self) {
        let db = testkit::as_role(&self.owner(), "ordersaga_worker");
        let findings = prove(&db, Some(&self.client)).await.unwrap();
        db.close().await;
        assert!(!findings.iter().any(Finding::is_broken), "{}", table(&findings));
    }
}

/// The rows that each of these orders has written.
fn rows_each(before: &Rows, after: &Rows, orders: u64) -> BTreeMap<String, u64> {
    let written = after.iter().map(|(what, rows)| {
        let more = rows - before.get(what).copied().unwrap_or_default();
        // A row that only some orders have written counts as one per order.
        (what.clone(), more.div_ceil(orders))
    });
    written.filter(|(_, rows)| *rows > 0).collect()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_costs_what_is_pinned(_pool: PgPoolOptions, options: PgConnectOptions) {
    counts::listen();
    let (server, _address) = testkit::server().await;
    let observer = Observer::of(&options).await;
    let mut shop = Shop { options, client: server.client().clone(), observer };
    let (mut complaints, mut found) = (Vec::new(), Vec::new());
    let mut taken = Vec::new();
    for (size, lines) in LINES.into_iter().enumerate() {
        let invoice = Invoice::of(lines);
        let owner = shop.owner();
        invoice.stock_up(&owner).await;
        owner.close().await;
        shop.carry(&invoice, 1).await;
        let before = shop.observer.rows().await;
        let mut cost = shop.carry(&invoice, COUNTED[size]).await;
        let rows = rows_each(&before, &shop.observer.rows().await, COUNTED[size]);
        cost.measured.extend(rows);
        if size == 0 {
            let kept = shop.kept(&invoice).await;
            cost.measured.insert("bytes kept of it once it has ended".to_owned(), kept);
        }
        complaints.extend(pins::complaints(size, &cost.measured));
        found.push(cost.measured);
        taken.push(cost.statements);
    }
    shop.assert_proven().await;
    server.shutdown().await.unwrap();
    println!("{}", pins::written(&found));
    assert!(complaints.is_empty(), "{}", pins::report(&complaints, &found, &taken));
}
