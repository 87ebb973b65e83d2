//! A shop in a test: its own real Temporal server and database, the real worker, and planned faults
//! for any activity of any order.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::default_trait_access,
    clippy::disallowed_methods,
    reason = "each test file is a crate of its own and uses its part of the support; what cannot \
              be prepared or read fails its test, and a test may ask the database anything"
)]

pub mod bank;
mod faults;
mod refund;
mod workflow;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use activities::Activities;
use activities::catalogue::{Article, Stocking};
use activities::payment::bank_transfer::{BankAccount, BankTransferProvider};
use activities::payment::port::PaymentProvider;
use activities::payment::sandbox::SandboxProvider;
use activities::payment::stripe::{StripeProvider, StripeSettings};
use activities::shipping::sandbox::SandboxCarrier;
use activities::stock::ArticleQueues;
use chrono::{DateTime, SubsecRound as _, Utc};
use domain::{
    Decision, Order, OrderId, OrderStatus, PaymentToken, Quantity, Screening, Sku, Terms,
};
pub use faults::{Call, FOR_EVER, Fault, Faults, Gate, failed};
use futures::future::join_all;
pub use refund::{RefundHandle, asks_back, launch_refund, provider_takes_its_time, refund_ended};
use runtime::database::Database;
use saga::WaitingFor;
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use sqlx::postgres::types::PgInterval;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, PgPool};
use temporalio_client::{
    Client, WorkflowDescribeOptions, WorkflowGetResultOptions, WorkflowHandle, WorkflowStartOptions,
};
use temporalio_common::data_converters::RawValue;
use temporalio_sdk::interceptors::ActivityInboundInterceptor;
use temporalio_sdk::workflow_interceptors::WorkflowInterceptorConstructor;
use temporalio_sdk::workflows::WorkflowImplementation;
use temporalio_sdk::{Runtime, Worker};
use tokio::sync::watch;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use worker::pausable_queue;
use worker::prove::{prove, table};
use worker::release::Release;
use worker::run::{Settings, worker_options};
pub use workflow::{cancel, history, reset, until_in_history, until_listed};
use workflows::Queue;
use workflows::order::{
    NEEDS_ATTENTION, OrderOutcome, OrderSaga, OrderStart, OrderView, Resolution,
    search_attributes_at_start, signal_payload,
};

/// The handle of an order's workflow.
pub type OrderHandle = WorkflowHandle<Client, <OrderSaga as WorkflowImplementation>::Run>;

/// A shop that is open.
pub struct Shop {
    pub db: PgPool,
    pub client: Client,
    pub faults: Faults,
    server: testkit::Server,
    /// The server's address.
    address: String,
    /// The code that its workers run.
    code: Code,
    /// The workers for workflows, and those for patient attempts at the parties.
    workflows: Option<Workers>,
    parties: Option<Workers>,
}

/// Workers that serve until they are stopped.
pub struct Workers {
    stop: watch::Sender<bool>,
    /// The queues that are currently served.
    serving: watch::Receiver<BTreeMap<&'static str, bool>>,
    thread: thread::JoinHandle<()>,
}

impl Workers {
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // The client's connection lives on this test's runtime, which must not be blocked.
        tokio::task::spawn_blocking(move || self.thread.join().unwrap()).await.unwrap();
    }
}

/// A copy of a shop's database.
pub struct Backup {
    name: String,
    copy: String,
}

fn copy_of(from: &str, to: &str) -> String {
    format!("create database \"{to}\" template \"{from}\"")
}

/// The sandboxes' tables stand for records of an external provider and carrier.
const THE_PARTIES_OWN: [&str; 3] =
    ["sandbox_provider.payments", "sandbox_provider.refunds", "sandbox_carrier.shipments"];

/// Runs a statement on a connection to another database than the shop's.
async fn run(options: &PgConnectOptions, statement: String) {
    let mut connection = options.clone().database("postgres").connect().await.unwrap();
    connection.execute(AssertSqlSafe(statement)).await.unwrap();
}

/// The state of an order on record.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct OnRecord {
    pub status: String,
    pub payment_status: String,
    pub fulfilment_status: String,
    pub is_unwinding: bool,
    pub needs_attention: bool,
    /// How often it has needed a person.
    pub attentions: i32,
}

/// What an order has left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Traces {
    goods_held: i64,
    goods_sold: i64,
    /// Payments that were not refunded, in the provider's own records.
    pub payments: i64,
    has_balance: bool,
    /// Whether the customer has paid for something that was not shipped.
    pub is_owed: bool,
    /// Parcels that were not cancelled, in the carrier's own records.
    pub parcels: i64,
    /// Reviews that still wait for a person.
    reviews: i64,
}

impl Traces {
    /// The traces of a completed order.
    pub fn of_a_sale() -> Self {
        Self { goods_sold: 1, payments: 1, has_balance: true, parcels: 1, ..Self::default() }
    }
}

/// The sandbox's articles, with prices from the sample catalogue.
const ARTICLES: [(&str, &str, &str); 3] = [
    ("85123A", "WHITE HANGING HEART T-LIGHT HOLDER", "2.55"),
    ("22752", "SET 7 BABUSHKA NESTING BOXES", "7.65"),
    ("84077", "WORLD WAR 2 GLIDERS ASSTD DESIGNS", "0.29"),
];

/// The cost of each article, in percent of its price.
pub const COST_PERCENT: u32 = 60;

/// How often Temporal is asked whether an order waits for a person.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The initial stock of each article.
pub const ON_HAND: u32 = 100_000;

impl Shop {
    /// Opens a shop with its own database and the current code.
    pub async fn open(db: PgPool) -> Self {
        Self::open_with(Code::default(), db).await
    }

    /// The same with workers that run this code.
    pub async fn open_with(code: Code, db: PgPool) -> Self {
        stock_up(&db).await;
        let (server, address) = testkit::server().await;
        let client = server.client().clone();
        let faults = Faults::default();
        let (workflows, parties) = (None, None);
        Self { db, client, faults, server, address, code, workflows, parties }.with_workers()
    }

    /// The same with workers for every queue.
    fn with_workers(mut self) -> Self {
        self.workflows = Some(self.serve(&[Queue::Orders]));
        self.parties = Some(self.serve(&[Queue::Payments, Queue::Fulfilment]));
        self
    }

    /// The settings for Stripe, if it is the provider.
    pub fn stripe(&self) -> Option<&StripeSettings> {
        self.code.stripe.as_ref()
    }

    fn serve(&self, queues: &'static [Queue]) -> Workers {
        serve_as(self.code.clone(), &self.db, &self.client, self.faults.clone(), queues)
    }

    /// Does something while there are no workflow workers.
    pub async fn without_workflow_workers(mut self, something: impl AsyncFnOnce(&Faults)) -> Self {
        stop(self.workflows.take()).await;
        something(&self.faults).await;
        self.workflows = Some(self.serve(&[Queue::Orders]));
        self
    }

    /// Makes a copy of the shop's database, while there are no connections.
    pub async fn back_up(mut self) -> (Self, Backup) {
        self.close_database().await;
        let options = PgConnectOptions::clone(&self.db.connect_options());
        let name = options.get_database().unwrap().to_owned();
        let backup = Backup { copy: format!("backup_{}", Uuid::now_v7().simple()), name };
        run(&options, copy_of(&backup.name, &backup.copy)).await;
        (self.open_database().await, backup)
    }

    /// Restores the copy, except for the provider's and the carrier's records, which are not the
    /// shop's.
    pub async fn set_back_to(mut self, backup: Backup) -> Self {
        let mut theirs = Vec::new();
        for table in THE_PARTIES_OWN {
            let rows: Value = sqlx::query_scalar(AssertSqlSafe(format!(
                "select coalesce(jsonb_agg(row), '[]') from {table} row"
            )))
            .fetch_one(&self.db)
            .await
            .unwrap();
            theirs.push((table, rows));
        }
        self.close_database().await;
        let options = PgConnectOptions::clone(&self.db.connect_options());
        run(&options, format!("drop database \"{}\"", backup.name)).await;
        run(&options, copy_of(&backup.copy, &backup.name)).await;
        run(&options, format!("drop database \"{}\"", backup.copy)).await;
        let shop = self.open_database().await;
        for (table, rows) in theirs {
            let insert = format!(
                "insert into {table} overriding system value
                 select * from jsonb_populate_recordset(null::{table}, $1) on conflict do nothing"
            );
            sqlx::query(AssertSqlSafe(insert)).bind(rows).execute(&shop.db).await.unwrap();
        }
        shop
    }

    async fn close_database(&mut self) {
        self.send_workers_home().await;
        self.db.close().await;
    }

    async fn open_database(mut self) -> Self {
        self.db = PgPool::connect_with(PgConnectOptions::clone(&self.db.connect_options()))
            .await
            .unwrap();
        self.with_workers()
    }

    /// Stops all workers of the shop; only a test's own workers serve queues from now on.
    pub async fn send_workers_home(&mut self) {
        stop(self.workflows.take()).await;
        stop(self.parties.take()).await;
    }

    /// Whether customers pay by transfer.
    pub const fn is_paid_by_transfer(&self) -> bool {
        self.code.bank.is_some()
    }

    /// Starts an order's workflow like the starter.
    ///
    /// A workflow task keeps Temporal's default timeout: with a shorter one, a debug build of the
    /// SDK panics when a busy machine is late, where a release build only logs it.
    pub async fn place(&self, order: &Order) -> OrderHandle {
        self.place_within(order, None).await
    }

    /// The same with a timeout for each workflow task.
    pub async fn place_within(&self, order: &Order, task: Option<Duration>) -> OrderHandle {
        self.put_on_record(order).await;
        let handle = self.launch(order, task).await;
        sqlx::query("delete from orders.launches where order_id = $1")
            .bind(order.order_id.uuid())
            .execute(&self.db)
            .await
            .unwrap();
        handle
    }

    /// Records an order like the starter, with its launch pending.
    pub async fn put_on_record(&self, order: &Order) {
        put_on_record(&self.db, order, &serde_json::to_value(order.placed()).unwrap()).await;
    }

    /// Starts the workflow of an order, whether or not it is on record.
    pub async fn launch(&self, order: &Order, task: Option<Duration>) -> OrderHandle {
        let attributes = search_attributes_at_start(&order.customer_id, order.totals.total);
        let options = WorkflowStartOptions::new(Queue::Orders.name(), order.order_id.workflow_id())
            .search_attributes(attributes)
            .maybe_task_timeout(task)
            .build();
        let start = OrderStart::of(order);
        self.client.start_workflow(OrderSaga::run, start, options).await.unwrap()
    }

    /// Places orders concurrently and waits until all have ended.
    pub async fn see_off(&self, orders: &[Order]) -> Vec<OrderStatus> {
        join_all(orders.iter().map(|order| async {
            let handle = self.place(order).await;
            ended(&handle).await
        }))
        .await
    }

    /// Waits until this event of the order is recorded. The test runner ends a test that waits
    /// forever.
    pub async fn until_event(&self, order: OrderId, event: &str) {
        while !self.events_on_record(order).await.iter().any(|recorded| recorded == event) {
            tokio::task::yield_now().await;
        }
    }

    /// The types of the order's events, in order.
    pub async fn events_on_record(&self, order: OrderId) -> Vec<String> {
        sqlx::query_scalar(
            "select type from orders.order_events where order_id = $1 order by sequence",
        )
        .bind(order.uuid())
        .fetch_all(&self.db)
        .await
        .unwrap()
    }

    /// The data of the order's events of one type, in order.
    pub async fn data_of(&self, order: OrderId, event: &str) -> Vec<Value> {
        sqlx::query_scalar(
            "select data from orders.order_events
             where order_id = $1 and type = $2 order by sequence",
        )
        .bind(order.uuid())
        .bind(event)
        .fetch_all(&self.db)
        .await
        .unwrap()
    }

    /// Makes this call to the carrier fail in this way for the order's parcel from now on.
    pub async fn carrier_fails(&self, order: &Order, call: &str, behaviour: &str) {
        sqlx::query(
            "insert into sandbox_carrier.behaviours (call, whom, behaviour) values ($1, $2, $3)",
        )
        .bind(call)
        .bind(order.order_id.to_string())
        .bind(behaviour)
        .execute(&self.db)
        .await
        .unwrap();
    }

    /// Makes this call to the carrier succeed for the order's parcel from now on.
    pub async fn carrier_recovers(&self, order: &Order, call: &str) {
        sqlx::query("delete from sandbox_carrier.behaviours where whom = $1 and call = $2")
            .bind(order.order_id.to_string())
            .bind(call)
            .execute(&self.db)
            .await
            .unwrap();
    }

    /// The carrier cancels all shipments that it has not fetched.
    pub async fn carrier_calls_off(&self) {
        sqlx::query(
            "update sandbox_carrier.shipments set state = 'cancelled', cancelled_at = now()",
        )
        .execute(&self.db)
        .await
        .unwrap();
    }

    /// Expires the order's reservation.
    pub async fn reservation_is_over(&self, order: &Order) {
        sqlx::query("update inventory.reservations set expires_at = now() where order_id = $1")
            .bind(order.order_id.uuid())
            .execute(&self.db)
            .await
            .unwrap();
    }

    /// The provider makes the refunds that it gave invalid answers to.
    pub async fn provider_mends_refunds(&self) {
        sqlx::query(
            "insert into sandbox_provider.repairs (idempotency_key)
             select idempotency_key from sandbox_provider.payments",
        )
        .execute(&self.db)
        .await
        .unwrap();
    }

    /// Waits until the order's view satisfies a condition.
    pub async fn until_view(&self, handle: &OrderHandle, is_so: impl Fn(&OrderView) -> bool) {
        while !is_so(&self.view(handle).await) {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the order's workflow waits for a person's decision, and returns about what.
    pub async fn until_needs_attention(&self, handle: &OrderHandle) -> WaitingFor {
        self.until_waiting_for(handle, |_| true).await
    }

    /// Waits until the order's workflow waits for such a decision.
    pub async fn until_waiting_for(
        &self,
        handle: &OrderHandle,
        is_it: impl Fn(&WaitingFor) -> bool,
    ) -> WaitingFor {
        let mut looks = interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            if let Some(waiting) = self.waits(handle).await
                && is_it(&waiting)
            {
                return waiting;
            }
        }
    }

    /// What the order's workflow waits for. Queried only when it is idle: the SDK answers a query
    /// ahead of pending workflow tasks, and a decision delivered with the next one is then recorded
    /// at a position in the history that replay does not reach.
    async fn waits(&self, handle: &OrderHandle) -> Option<WaitingFor> {
        let described = handle.describe(WorkflowDescribeOptions::default()).await.unwrap();
        if described.search_attributes().get(&NEEDS_ATTENTION) != Some(true) {
            return None;
        }
        self.view(handle).await.waiting_for
    }

    /// A person who retries everything that waits. Never returns.
    pub async fn retry_whatever_waits(&self, handle: &OrderHandle) -> ! {
        loop {
            let waiting = self.until_needs_attention(handle).await;
            // The order may have continued since it was checked.
            let _refused = self.decide(handle, &decided(&waiting, Decision::Retry)).await.is_err();
        }
    }

    /// The order's state; `None` if it is not on record.
    pub async fn on_record(&self, order: OrderId) -> Option<OnRecord> {
        sqlx::query_as(
            "select status, payment_status, fulfilment_status, ending is not null as is_unwinding,
                attention is not null as needs_attention, attentions
             from orders.orders where order_id = $1",
        )
        .bind(order.uuid())
        .fetch_optional(&self.db)
        .await
        .unwrap()
    }

    pub async fn status_on_record(&self, order: OrderId) -> Option<String> {
        let status: Option<String> =
            sqlx::query_scalar("select status from orders.orders where order_id = $1")
                .bind(order.uuid())
                .fetch_optional(&self.db)
                .await
                .unwrap();
        status
    }

    /// Waits until a party's queue is served, or is not.
    pub async fn until_served(&self, queue: Queue, wanted: bool) {
        let workers = self.parties.as_ref().expect("this shop has workers of its own");
        let mut serving = workers.serving.clone();
        let reached = serving.wait_for(|serving| serving.get(queue.name()) == Some(&wanted));
        reached.await.unwrap();
    }

    /// A person decides what the order waits for.
    pub async fn resolve(&self, handle: &OrderHandle, decision: Decision) {
        let waiting = self.until_needs_attention(handle).await;
        self.decide(handle, &decided(&waiting, decision)).await.unwrap();
    }

    /// A person sends this decision; returns whether the order accepts it.
    pub async fn decide(
        &self,
        handle: &OrderHandle,
        resolution: &Resolution,
    ) -> Result<(), String> {
        let update =
            handle.execute_update(OrderSaga::resolve, resolution.clone(), Default::default());
        update.await.map_err(|error| format!("{error:?}"))
    }

    /// The database with only the worker's rights, as commands use it.
    pub fn db_as_worker(&self) -> PgPool {
        testkit::as_role(&self.db, "ordersaga_worker")
    }

    /// Asserts every invariant that the database and Temporal can show.
    pub async fn assert_proven(&self) {
        let db = self.db_as_worker();
        let findings = prove(&db, Some(&self.client)).await.unwrap();
        db.close().await;
        assert!(!findings.iter().any(worker::prove::Finding::is_broken), "{}", table(&findings));
    }

    /// Asserts that nothing of the order is left: no reserved or sold goods, no money, no balance,
    /// no parcel.
    pub async fn assert_clean_slate(&self, order: OrderId) {
        assert_eq!(self.traces(order).await, Traces::default(), "what {order} left behind");
    }

    /// What the order has left behind, in the database and at the parties.
    pub async fn traces(&self, order: OrderId) -> Traces {
        sqlx::query_as(
            "with balance as (
                select account, sum(case side when 'debit' then amount else -amount end) as amount
                from ledger.entries join ledger.transactions using (transaction_id)
                where order_id = $1 group by account
            )
            select
                (select count(*) from inventory.reservations
                 where order_id = $1 and state = 'held') as goods_held,
                (select count(*) from inventory.reservations
                 where order_id = $1 and state = 'sold') as goods_sold,
                (select count(*) from sandbox_provider.payments
                 where merchant_reference = $1::text and state in ('authorised', 'captured')
                 and not exists (
                    select from sandbox_provider.refunds
                    where refunds.payment_id = payments.payment_id
                        and refunds.state = 'succeeded'
                 )) + (select count(*) from bank.payments
                 where order_id = $1 and (state = 'received' or captured > (
                    select coalesce(sum(lines.amount), 0)
                    from bank.lines join bank.entries using (entry_id)
                    where entries.reference = payments.reference and refund_key is not null
                 ))) as payments,
                exists (select from balance where amount <> 0) as has_balance,
                exists (
                    select from balance where account = 'customer-deposits' and amount <> 0
                ) as is_owed,
                (select count(*) from sandbox_carrier.shipments
                 where reference like $1::text || ':%' and state = 'purchased') as parcels,
                (select count(*) from fraud.reviews
                 where order_id = $1 and decision is null) as reviews",
        )
        .bind(order.uuid())
        .fetch_one(&self.db)
        .await
        .unwrap()
    }

    /// The workflow's own view of the order.
    pub async fn view(&self, handle: &OrderHandle) -> OrderView {
        handle.query(OrderSaga::order, (), Default::default()).await.unwrap()
    }

    /// The address of this shop's Temporal server.
    pub fn server_address(&self) -> String {
        self.address.clone()
    }

    pub async fn close(mut self) {
        self.send_workers_home().await;
        self.server.shutdown().await.unwrap();
    }
}

async fn stop(workers: Option<Workers>) {
    if let Some(workers) = workers {
        workers.stop().await;
    }
}

/// How the order ended. A failed order is reported by its workflow's failure.
pub async fn ended(handle: &OrderHandle) -> OrderStatus {
    match handle.get_result(WorkflowGetResultOptions::default()).await {
        Ok(OrderOutcome { status, .. }) => status,
        Err(error) => OrderStatus::Failed { incident: format!("{error:?}") },
    }
}

/// An order for one piece each of two articles.
pub fn order() -> Order {
    order_paid_by("tok_visa")
}

/// The same with fraud screening, and an hour for a person's review.
pub fn screened() -> Order {
    screened_paid_by("tok_visa")
}

pub fn screened_paid_by(token: &str) -> Order {
    let mut order = order_paid_by(token);
    order.terms.screening = Some(Screening { review_seconds: 3_600 });
    order
}

pub fn order_paid_by(token: &str) -> Order {
    order_of(2, token)
}

/// An order of this many lines of one piece each.
pub fn order_of(lines: usize, token: &str) -> Order {
    let articles = ARTICLES.iter().cycle().take(lines);
    let bought = |(sku, _, price): &(&str, _, &str)| {
        (testkit::priced(sku, price, COST_PERCENT), Quantity::new(1).unwrap())
    };
    let basket: Vec<_> = articles.map(bought).collect();
    Order {
        // The database stores microseconds.
        placed_at: DateTime::<Utc>::from(std::time::SystemTime::now()).trunc_subsecs(6),
        payment_token: PaymentToken::parse(token).unwrap(),
        terms: Terms { patience_seconds: Some(1), ..Terms::default() },
        ..testkit::order_of(OrderId::of(Uuid::now_v7()), &basket)
    }
}

/// A person's decision about what waits.
pub fn decided(waiting: &WaitingFor, decision: Decision) -> Resolution {
    let WaitingFor { step, occurrence, .. } = waiting.clone();
    let (by, why) = ("Ada".to_owned(), "the cause is known".to_owned());
    Resolution { step, occurrence, decision, by, why }
}

/// Records an order with this placement event, with its launch pending.
pub async fn put_on_record(db: &PgPool, order: &Order, placed: &Value) {
    let launch_after = PgInterval { months: 0, days: 1, microseconds: 0 };
    let fingerprint = order.order_id.to_string();
    let (is_new, _) = testkit::place(db, order, &fingerprint, placed, None, launch_after).await;
    assert!(is_new, "order {} was on record already", order.order_id);
}

async fn stock_up(db: &PgPool) {
    let articles: Vec<_> = ARTICLES
        .iter()
        .map(|(sku, name, price)| Article {
            sku: Sku::parse(*sku).unwrap(),
            name: (*name).to_owned(),
            unit_price: testkit::pounds(price),
        })
        .collect();
    let stocking = Stocking { pieces: ON_HAND, cost_percent: COST_PERCENT.into() };
    activities::catalogue::load(db, &articles, stocking).await.unwrap();
}

/// Serves the queues with the current code.
pub fn serve<I>(db: &PgPool, client: &Client, faults: I, queues: &'static [Queue]) -> Workers
where
    I: ActivityInboundInterceptor + Clone,
{
    serve_as(Code::default(), db, client, faults, queues)
}

/// The code that a worker runs.
#[derive(Clone, Default)]
pub struct Code {
    /// The release that it reports.
    pub release: Option<Release>,
    /// How its workflows differ from the current ones.
    pub changes: Option<WorkflowInterceptorConstructor>,
    /// How long a party that gives invalid answers is retried. By default not at all.
    pub ask_again_for: Duration,
    /// The settings for Stripe, if it is the provider.
    pub stripe: Option<StripeSettings>,
    /// The account for bank transfers, if they are the provider.
    pub bank: Option<BankAccount>,
    /// After how many activities a worker is replaced, if not by the default.
    pub worn_after: Option<u32>,
    /// How many workers have been made.
    pub made: watch::Sender<usize>,
}

impl Code {
    /// The payment provider.
    fn provider(&self, records: Database) -> Arc<dyn PaymentProvider> {
        if let Some(settings) = &self.stripe {
            Arc::new(StripeProvider::new(settings).unwrap())
        } else if let Some(account) = &self.bank {
            let records = records.transactions().clone();
            Arc::new(BankTransferProvider::new(records, account.clone()))
        } else {
            Arc::new(SandboxProvider::new(records, 0))
        }
    }
}

/// Serves the queues on a separate thread and runtime, because a test's own runtime ends with it.
pub fn serve_as<I>(
    code: Code,
    db: &PgPool,
    client: &Client,
    faults: I,
    queues: &'static [Queue],
) -> Workers
where
    I: ActivityInboundInterceptor + Clone,
{
    // With only the worker's rights.
    let as_worker = testkit::as_role(db, "ordersaga_worker");
    let (options, client) = (PgConnectOptions::clone(&as_worker.connect_options()), client.clone());
    let (stop, mut stopped) = watch::channel(false);
    let (tell, serving) = watch::channel(BTreeMap::new());
    let thread = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let pool = || {
                sqlx::postgres::PgPoolOptions::new()
                    .max_connections(10)
                    .connect_lazy_with(options.clone())
            };
            let database = || Database::of(pool());
            let activities = Activities {
                db: database(),
                articles: ArticleQueues::default(),
                provider: code.provider(database()),
                carrier: Arc::new(SandboxCarrier::new(database())),
                settings: activities::Settings {
                    reservation_ttl: Duration::from_hours(24),
                    ask_again_for: code.ask_again_for,
                },
            };
            let sdk = Runtime::from_current_tokio(Default::default()).unwrap();
            let (db, stopping) = (pool(), CancellationToken::new());
            let lines = queues.iter().copied().map(|queue| {
                let (sdk, client, activities, faults) = (&sdk, &client, &activities, &faults);
                let Code { release, changes, .. } = &code;
                let (made, worn_after) = (&code.made, code.worn_after.unwrap_or(u32::MAX));
                let worker = move |wear| {
                    made.send_modify(|made| *made = made.saturating_add(1));
                    let settings = Settings { release: release.clone(), ..Settings::default() };
                    let faults = faults.clone();
                    let mut options = worker_options(queue, activities, &settings, faults, wear)?;
                    options.register_workflow_interceptors(changes.iter().cloned().collect());
                    Ok(Worker::new(sdk, client.clone(), options)?)
                };
                let tell = &tell;
                let served = move |now| {
                    tell.send_modify(|serving: &mut BTreeMap<_, _>| {
                        serving.insert(queue.name(), now);
                    });
                };
                pausable_queue::serve(worn_after, &db, queue, worker, served, &stopping)
            });
            let stop = async {
                stopped.wait_for(|stopped| *stopped).await.ok();
                stopping.cancel();
            };
            let ((), ended) = tokio::join!(stop, join_all(lines));
            ended.into_iter().for_each(Result::unwrap);
        });
    });
    Workers { stop, serving, thread }
}

/// A signal's payload that no handler can decode.
pub fn unreadable() -> RawValue {
    RawValue::new(vec![Default::default()])
}
