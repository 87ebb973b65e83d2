//! A small shop for tests.

use std::time::Duration;

use activities::catalogue::{self, Article, Stocking};
use activities::payment::sandbox::SandboxProvider;
use activities::shipping::sandbox::SandboxCarrier;
use activities::stock::ArticleQueues;
use activities::{ActivityFault, ledger, orders, payment, shipping, stock};
use domain::{
    AddressId, Authorisation, AuthorisationAnswer, CountryCode, CustomerId, Decision, Destination,
    Ending, Fingerprint, Order, OrderId, OrderStatus, PaymentToken, PricedSku, Quantity, Rejection,
    Shipment, Sku, StepKey, StepName,
};
use runtime::database::Database;
use rust_decimal::Decimal;
use serde_json::Value;
use sqlx::postgres::types::PgInterval;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgPool, Postgres, Transaction};
use workflows::order::{AttentionNote, EndNote, ResolvedNote, UnwindingNote};

/// White hanging heart T-light holders, which half of the customers buy.
pub(crate) const HEART: &str = "85123A";
/// A set of 7 babushka nesting boxes.
pub(crate) const BABUSHKA: &str = "22752";

/// An hour: longer than any test.
pub(crate) const TTL: Duration = Duration::from_hours(1);

/// The workflow run id passed to the activities.
pub(crate) const RUN: &str = "run-1";

pub(crate) struct Shop {
    /// The worker's role, with its rights only.
    pub(crate) db: PgPool,
    /// The starter's role, with its rights only.
    pub(crate) starter: PgPool,
    /// The owner of the schemas, for what no activity does.
    pub(crate) owner: PgPool,
    pub(crate) provider: SandboxProvider,
    pub(crate) carrier: SandboxCarrier,
}

/// Every fault that a sandbox can inject into any call.
pub(crate) const TROUBLES: [&str; 8] =
    ["unavailable", "html", "not-found", "lost", "truncated", "too-large", "hangs", "late"];

/// Runs an attempt with this fault at a party, and asserts that it does not succeed.
pub(crate) async fn fails<T: std::fmt::Debug>(
    behaviour: &str,
    attempt: impl Future<Output = Result<T, ActivityFault>>,
) {
    if behaviour == "hangs" {
        // The caller times out; when does not matter.
        let in_time = tokio::time::timeout(Duration::from_millis(200), attempt).await;
        assert!(in_time.is_err(), "{in_time:?}");
        return;
    }
    let ended = attempt.await;
    let is_unknown = matches!(
        ended,
        Err(ActivityFault::Unavailable { .. } | ActivityFault::InvalidAnswer { .. })
    );
    assert!(is_unknown, "{behaviour}: {ended:?}");
}

/// Available, reserved, sold and received pieces.
pub(crate) type Pieces = (i64, i64, i64, i64);

impl Shop {
    pub(crate) fn on(owner: PgPool) -> Self {
        let db = testkit::as_role(&owner, "ordersaga_worker");
        let starter = testkit::as_role(&owner, "ordersaga_starter");
        let database = Database::of(db.clone());
        let provider = SandboxProvider::new(database.clone(), 0);
        let carrier = SandboxCarrier::new(database);
        Self { db, starter, owner, provider, carrier }
    }

    /// A small pool, like a busy worker's: a statement that finds no free connection within half a
    /// minute fails. On a slow machine, those in front of it take longer than a worker waits.
    pub(crate) fn small_pool(&self, connections: u32) -> PgPool {
        PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(30))
            .connect_lazy_with(PgConnectOptions::clone(&self.db.connect_options()))
    }

    /// A shop with a hundred pieces of each article of [`order`].
    pub(crate) async fn stocked(db: PgPool) -> Self {
        let shop = Self::on(db);
        shop.receives(HEART, 100).await;
        shop.receives(BABUSHKA, 100).await;
        shop
    }

    pub(crate) async fn receives(&self, sku: &str, pieces: u32) {
        let PricedSku { sku, unit_price, .. } = priced(sku);
        let article = Article { name: sku.to_string(), sku, unit_price };
        let stocking = Stocking { cost_percent: Decimal::from(40), pieces };
        catalogue::load(&self.owner, &[article], stocking).await.unwrap();
    }

    /// Places the order, as the starter does.
    pub(crate) async fn places(&self, order: &Order) {
        let (is_new, _) = self.places_as(order, &fingerprint(order), None).await;
        assert!(is_new, "the order is on record already");
    }

    /// Places the order; returns whether it is new, and the fingerprint on record.
    pub(crate) async fn places_as(
        &self,
        order: &Order,
        fingerprint: &Fingerprint,
        address: Option<Value>,
    ) -> (bool, String) {
        let placed = serde_json::to_value(order.placed()).unwrap();
        let launch_after = PgInterval::default();
        let (fingerprint, address) = (fingerprint.as_str(), address.as_ref());
        testkit::place(&self.starter, order, fingerprint, &placed, address, launch_after).await
    }

    /// Cancels the order before its launch, as the starter does; returns whether that succeeded.
    pub(crate) async fn cancels_before_launch(&self, order: &Order, reason: &str) -> bool {
        let cancelled = sqlx::query_scalar!(
            r#"select orders.cancel_before_launch($1, $2) as "cancelled!""#,
            order.order_id.uuid(),
            reason,
        );
        cancelled.fetch_one(&self.starter).await.unwrap()
    }

    /// Whether the order waits to be launched.
    pub(crate) async fn is_to_be_launched(&self, order: &Order) -> bool {
        let waits = sqlx::query_scalar!(
            r#"select exists (select from orders.launches where order_id = $1) as "waits!""#,
            order.order_id.uuid(),
        );
        waits.fetch_one(&self.db).await.unwrap()
    }

    pub(crate) async fn reserves(&self, order: &Order) -> Result<(), ActivityFault> {
        self.reserves_for(order, TTL).await
    }

    /// Reserves the goods with this time-to-live, in addition to the order's planned waits.
    pub(crate) async fn reserves_for(
        &self,
        order: &Order,
        ttl: Duration,
    ) -> Result<(), ActivityFault> {
        let key = order.key(StepName::ReserveStock);
        stock::reserve(&self.db, &another_worker(), ttl, key).await
    }

    pub(crate) async fn releases(&self, order: &Order) -> Result<(), ActivityFault> {
        stock::release(&self.db, &another_worker(), order.key(StepName::ReserveStock)).await
    }

    pub(crate) async fn authorises(&self, order: &Order) -> Result<Authorisation, ActivityFault> {
        self.asks_for_money(order, 1).await.map(authorisation)
    }

    /// Authorises the payment, at this attempt.
    pub(crate) async fn asks_for_money(
        &self,
        order: &Order,
        attempt: u32,
    ) -> Result<AuthorisationAnswer, ActivityFault> {
        let key = StepKey { attempt, ..order.key(StepName::AuthorisePayment) };
        payment::authorise(&self.db, &self.provider, key).await
    }

    /// Replaces the payment method, as the starter does; returns the outcome, and the attempt that
    /// uses the method.
    pub(crate) async fn replaces_payment(
        &self,
        order: &Order,
        token: &str,
        request: Option<&str>,
    ) -> (String, Option<i32>) {
        let replaced = sqlx::query!(
            r#"select outcome as "outcome!", attempt as "attempt?"
               from payments.replace_method($1, $2, $3)"#,
            order.order_id.uuid(),
            token,
            request,
        )
        .fetch_one(&self.starter)
        .await
        .unwrap();
        (replaced.outcome, replaced.attempt)
    }

    /// The customer approves the waiting payment, or has it declined; returns whether there is one.
    pub(crate) async fn customer_answers(&self, order: &Order, approves: bool) -> bool {
        let answered = sqlx::query_scalar!(
            r#"select sandbox_provider.answer_as_customer($1, $2) as "answered!""#,
            order.order_id.uuid(),
            approves,
        );
        answered.fetch_one(&self.owner).await.unwrap()
    }

    /// The customer's deadline passes.
    pub(crate) async fn time_is_over(&self, order: &Order) {
        sqlx::query!(
            "update payments.charges set
                approvable_until = approvable_until - interval '30 days',
                replaceable_until = replaceable_until - interval '30 days'
             where order_id = $1",
            order.order_id.uuid(),
        )
        .execute(&self.owner)
        .await
        .unwrap();
    }

    /// Authorises the payment again, because its authorisation has expired or is about to.
    pub(crate) async fn authorises_again(
        &self,
        order: &Order,
    ) -> Result<Authorisation, ActivityFault> {
        self.asks_for_money(order, 2).await.map(authorisation)
    }

    pub(crate) async fn captures(&self, order: &Order) -> Result<(), ActivityFault> {
        payment::capture(&self.db, &self.provider, order.key(StepName::CapturePayment)).await
    }

    /// Authorises and captures the payment.
    pub(crate) async fn charges(&self, order: &Order) -> Result<(), ActivityFault> {
        self.authorises(order).await?;
        self.captures(order).await
    }

    /// Undoes the capture and then the authorisation, as an unwinding order does.
    pub(crate) async fn refunds(&self, order: &Order) -> Result<(), ActivityFault> {
        let key = order.key(StepName::CapturePayment);
        payment::refund(&self.db, &self.provider, key).await?;
        self.voids(order).await
    }

    pub(crate) async fn voids(&self, order: &Order) -> Result<(), ActivityFault> {
        let key = order.key(StepName::AuthorisePayment);
        payment::void(&self.db, &self.provider, key).await
    }

    pub(crate) async fn posts(&self, order: &Order) -> Result<(), ActivityFault> {
        ledger::post(&self.db, order.key(StepName::PostEntries)).await
    }

    pub(crate) async fn reverses(&self, order: &Order) -> Result<(), ActivityFault> {
        ledger::reverse(&self.db, order.key(StepName::PostEntries)).await
    }

    pub(crate) async fn ships(&self, order: &Order) -> Result<Shipment, ActivityFault> {
        let key = order.key(StepName::ShipOrder);
        shipping::ship(&self.db, &another_worker(), &self.carrier, key).await
    }

    pub(crate) async fn cancels_shipment(&self, order: &Order) -> Result<(), ActivityFault> {
        let key = order.key(StepName::ShipOrder);
        shipping::cancel(&self.db, &another_worker(), &self.carrier, key).await
    }

    pub(crate) async fn accepts_shipment(&self, order: &Order) -> Result<(), ActivityFault> {
        shipping::accept(&self.db, &another_worker(), order.key(StepName::ShipOrder)).await
    }

    /// Posts the sale, which completes the order.
    pub(crate) async fn recognises(&self, order: &Order) -> Result<(), ActivityFault> {
        ledger::recognise_revenue(&self.db, order.key(StepName::RecogniseRevenue), RUN).await
    }

    pub(crate) async fn reverses_revenue(&self, order: &Order) -> Result<(), ActivityFault> {
        ledger::reverse(&self.db, order.key(StepName::RecogniseRevenue)).await
    }

    /// Records that the order is unwound, because its customer cancels it.
    pub(crate) async fn unwinds(&self, order: &Order) {
        let note = UnwindingNote { order_id: order.order_id, ending: cancelled("changed my mind") };
        orders::note_unwinding(&self.db, &note, RUN).await.unwrap();
    }

    /// Records that a step's undo needs a person, for the first time in this run.
    pub(crate) async fn needs_a_person(&self, order: &Order, step: StepName, why: &str) {
        let note = AttentionNote {
            order_id: order.order_id,
            run_id: RUN.to_owned(),
            number: 1,
            step,
            undoing: true,
            why: why.to_owned(),
            decisions: vec![Decision::Retry, Decision::Skip],
        };
        orders::note_attention(&self.db, &note).await.unwrap();
    }

    /// Records a person's decision.
    pub(crate) async fn decides(
        &self,
        order: &Order,
        step: StepName,
        occurrence: u32,
        decision: Decision,
    ) {
        let (order_id, by, why) = (order.order_id, "Ada".to_owned(), "seen it".to_owned());
        let note = ResolvedNote { order_id, step, occurrence, decision, by, why };
        orders::note_resolved(&self.db, &note).await.unwrap();
    }

    /// Records how the order ended.
    pub(crate) async fn ends(&self, order: &Order, status: impl Into<OrderStatus>) {
        let note = EndNote { order_id: order.order_id, status: status.into() };
        orders::note_end(&self.db, &note).await.unwrap();
    }

    /// Places the order and runs its steps until the goods are reserved and the payment is posted.
    pub(crate) async fn takes_up_to_posting(&self, order: &Order) {
        self.places(order).await;
        self.reserves(order).await.unwrap();
        self.charges(order).await.unwrap();
        self.posts(order).await.unwrap();
    }

    pub(crate) async fn pieces_of(&self, sku: &str) -> Pieces {
        let row = sqlx::query!(
            r#"
            select on_hand - reserved as "available!", reserved, sold, received
            from inventory.stock where sku = $1
            "#,
            sku,
        )
        .fetch_one(&self.db)
        .await
        .unwrap();
        (row.available, row.reserved, row.sold, row.received)
    }

    /// Locks an article until the transaction ends, like an order in a long transaction.
    pub(crate) async fn holds_up(&self, sku: &str) -> Transaction<'static, Postgres> {
        let mut transaction = self.db.begin().await.unwrap();
        sqlx::query!("select sku from inventory.stock where sku = $1 for update", sku)
            .fetch_one(&mut *transaction)
            .await
            .unwrap();
        transaction
    }

    /// Locks the order's row until the transaction ends, like a step in a long transaction.
    pub(crate) async fn holds_up_order(&self, order: &Order) -> Transaction<'static, Postgres> {
        let mut transaction = self.db.begin().await.unwrap();
        sqlx::query!(
            "select order_id from orders.orders where order_id = $1 for no key update",
            order.order_id.uuid(),
        )
        .fetch_one(&mut *transaction)
        .await
        .unwrap();
        transaction
    }

    /// Returns once this many statements of this database wait for a lock.
    pub(crate) async fn until_waiting(&self, statements: i64) {
        loop {
            let waiting = sqlx::query_scalar!(
                r#"
                select count(*) as "count!" from pg_stat_activity
                where datname = current_database() and wait_event_type = 'Lock'
                "#
            );
            if waiting.fetch_one(&self.owner).await.unwrap() >= statements {
                return;
            }
        }
    }

    /// The order's events, in order.
    pub(crate) async fn events_of(&self, order: &Order) -> Vec<String> {
        sqlx::query_scalar!(
            "select type from orders.order_events where order_id = $1 order by sequence",
            order.order_id.uuid(),
        )
        .fetch_all(&self.db)
        .await
        .unwrap()
    }

    pub(crate) async fn status_of(&self, order: &Order) -> String {
        self.axes_of(order).await.0
    }

    pub(crate) async fn payment_of(&self, order: &Order) -> String {
        self.axes_of(order).await.1
    }

    pub(crate) async fn fulfilment_of(&self, order: &Order) -> String {
        self.axes_of(order).await.2
    }

    async fn axes_of(&self, order: &Order) -> (String, String, String) {
        let row = sqlx::query!(
            "select status, payment_status, fulfilment_status from orders.orders where order_id = $1",
            order.order_id.uuid(),
        );
        let row = row.fetch_one(&self.db).await.unwrap();
        (row.status, row.payment_status, row.fulfilment_status)
    }

    /// The order's row with every column, as text.
    pub(crate) async fn row_of(&self, order: &Order) -> String {
        sqlx::query_scalar!(
            r#"select orders::text as "row!" from orders.orders where order_id = $1"#,
            order.order_id.uuid(),
        )
        .fetch_one(&self.db)
        .await
        .unwrap()
    }
}

/// Unwraps an authorisation; fails the test if the answer is a wait.
#[track_caller]
fn authorisation(answer: AuthorisationAnswer) -> Authorisation {
    match answer {
        AuthorisationAnswer::Authorised(authorisation) => authorisation,
        answer @ (AuthorisationAnswer::Waits { .. } | AuthorisationAnswer::Replaced { .. }) => {
            panic!("not authorised: {answer:?}")
        }
    }
}

pub(crate) fn cancelled(reason: &str) -> Ending {
    Ending::Cancelled { reason: reason.to_owned() }
}

pub(crate) fn fingerprint(order: &Order) -> Fingerprint {
    Fingerprint::v1().field("order", order.order_id).finish()
}

/// Six hearts and two babushkas to Britain, paid with a good card; `number` distinguishes orders.
pub(crate) fn order(number: u32) -> Order {
    order_of(number, &[(HEART, 6), (BABUSHKA, 2)])
}

pub(crate) fn order_of(number: u32, lines: &[(&str, i64)]) -> Order {
    let bought = |(sku, pieces): &(&str, i64)| (priced(sku), Quantity::new(*pieces).unwrap());
    let basket: Vec<_> = lines.iter().map(bought).collect();
    let customer_id = CustomerId::parse("17850").unwrap();
    testkit::order_of(OrderId::for_request(&customer_id, &number.to_string()), &basket)
}

/// Orders that have to meet in the database must come from different workers: those of one worker
/// queue before that.
pub(crate) fn another_worker() -> ArticleQueues {
    ArticleQueues::default()
}

pub(crate) fn paid_with(mut order: Order, token: &str) -> Order {
    order.payment_token = PaymentToken::parse(token).unwrap();
    order
}

pub(crate) fn sent_to(mut order: Order, to: &str, address_id: Option<AddressId>) -> Order {
    order.ship_to = Destination { country: country(to), address_id };
    order
}

pub(crate) fn sku(text: &str) -> Sku {
    Sku::parse(text).unwrap()
}

/// Unwraps the rejection; fails the test on anything else.
#[track_caller]
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, ActivityFault>) -> Rejection {
    match result.unwrap_err() {
        ActivityFault::Rejected(rejection) => rejection,
        fault @ (ActivityFault::NotOpen { .. }
        | ActivityFault::Unavailable { .. }
        | ActivityFault::InvalidAnswer { .. }
        | ActivityFault::Broken { .. }) => panic!("not a refusal: {fault:?}"),
    }
}

/// Unwraps how the order that is not open has ended, if it is on record; fails the test on anything
/// else.
#[track_caller]
pub(crate) fn not_open<T: std::fmt::Debug>(result: Result<T, ActivityFault>) -> Option<Value> {
    match result.unwrap_err() {
        ActivityFault::NotOpen { ended, .. } => ended,
        fault @ (ActivityFault::Rejected(_)
        | ActivityFault::Unavailable { .. }
        | ActivityFault::InvalidAnswer { .. }
        | ActivityFault::Broken { .. }) => panic!("open: {fault:?}"),
    }
}

/// Unwraps the log text of a broken fault; fails the test on anything else.
#[track_caller]
pub(crate) fn breakage<T: std::fmt::Debug>(result: Result<T, ActivityFault>) -> String {
    match result.unwrap_err() {
        ActivityFault::Broken { doing, source } => format!("{doing}: {source}"),
        fault @ (ActivityFault::Rejected(_)
        | ActivityFault::NotOpen { .. }
        | ActivityFault::Unavailable { .. }
        | ActivityFault::InvalidAnswer { .. }) => panic!("not broken: {fault:?}"),
    }
}

/// Unwraps the text of an invalid answer; fails the test on anything else.
#[track_caller]
pub(crate) fn invalid_answer<T: std::fmt::Debug>(result: Result<T, ActivityFault>) -> String {
    match result.unwrap_err() {
        fault @ ActivityFault::InvalidAnswer { .. } => fault.to_string(),
        fault @ (ActivityFault::Rejected(_)
        | ActivityFault::NotOpen { .. }
        | ActivityFault::Unavailable { .. }
        | ActivityFault::Broken { .. }) => panic!("an answer or none: {fault:?}"),
    }
}

#[track_caller]
pub(crate) fn assert_unavailable<T: std::fmt::Debug>(
    result: Result<T, ActivityFault>,
    expected: Option<Duration>,
) {
    match result.unwrap_err() {
        ActivityFault::Unavailable { retry_after, .. } => assert_eq!(retry_after, expected),
        fault @ (ActivityFault::Rejected(_)
        | ActivityFault::NotOpen { .. }
        | ActivityFault::InvalidAnswer { .. }
        | ActivityFault::Broken { .. }) => panic!("not unavailable: {fault:?}"),
    }
}

fn priced(sku: &str) -> PricedSku {
    testkit::priced(sku, if sku == BABUSHKA { "8.50" } else { "2.95" }, 40)
}

pub(crate) fn country(code: &str) -> CountryCode {
    CountryCode::parse(code).unwrap()
}
