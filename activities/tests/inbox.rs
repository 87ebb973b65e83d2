//! Stripe's events are applied once, by the object's state and not by the event's type; an event
//! that cannot be applied yet stays open.

use std::error::Error;
use std::sync::Mutex;
use std::time::Duration;

use activities::ActivityFault;
use activities::inbox::{self, News, Outcome, Process, Processes, Taken};
use async_trait::async_trait;
use domain::refund::{Ask, Claimed, RefundId, RefundState};
use domain::{Decision, Order, Rejection, StepName, to_stripe_units};
use runtime::schema::MIGRATIONS;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use sqlx::PgPool;
use testkit::pounds;

use crate::refunds::{
    asks, completed, debit_of, issues, key, parts, record_of, requested, state_of,
};
use crate::stripe::{
    LOOK_UP, MESSAGE, Scripted, Stripe, answers, balance, dispute, failure, given_back, is, refuses,
};
use crate::support::{Shop, cancelled, order, refusal};

const NOT_ON_RECORD: &str =
    "no payment of this name is on record yet; if it is another shop's, dismiss the event";

/// Workflows that record their signals.
#[derive(Default)]
struct Listeners {
    told: Mutex<Vec<(Process, News)>>,
    /// Whether all of them are running.
    are_under_way: bool,
    /// Whether Temporal is unreachable.
    are_away: bool,
}

impl Listeners {
    /// The signals since the last call: the recipient and the new state.
    fn heard(&self) -> Vec<(Process, String)> {
        let told = std::mem::take(&mut *self.told.lock().unwrap());
        let heard = told.into_iter();
        heard.map(|(to, news)| (to, format!("{} is {}", news.reference, news.status))).collect()
    }
}

#[async_trait]
impl Processes for Listeners {
    async fn tell(
        &self,
        process: Process,
        news: &News,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        if self.are_away {
            return Err("nobody is there".into());
        }
        self.told.lock().unwrap().push((process, news.clone()));
        Ok(())
    }

    async fn is_under_way(&self, _process: Process) -> Result<bool, Box<dyn Error + Send + Sync>> {
        Ok(self.are_under_way)
    }
}

/// Stores an event, as the starter does.
async fn kept(shop: &Shop, id: &str, event_type: &str, kind: &str, object: Option<&str>) {
    sqlx::query!(
        "insert into inbox.events (event_id, type, object_kind, object_id, happened_at)
         values ($1, $2, $3, $4, now()) on conflict do nothing",
        id,
        event_type,
        kind,
        object,
    )
    .execute(&shop.starter)
    .await
    .unwrap();
}

/// Stores an event about the refund `re_1a`.
async fn told_of_refund(shop: &Shop, id: &str, event_type: &str) {
    kept(shop, id, event_type, "refund", Some("re_1a")).await;
}

async fn taken(shop: &Shop) -> Vec<Taken> {
    inbox::take(&shop.db, 100).await.unwrap()
}

/// Applies all events that are due; returns the outcomes.
async fn applies(shop: &Shop, stripe: &Stripe, listeners: &Listeners) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for event in taken(shop).await {
        let handled = inbox::handle(&shop.db, &stripe.provider, listeners, &event).await;
        outcomes.push(handled.unwrap());
    }
    outcomes
}

/// Why the one event that is due stays open.
async fn waits(shop: &Shop, stripe: &Stripe, listeners: &Listeners) -> String {
    match applies(shop, stripe, listeners).await.as_slice() {
        [Outcome::NotYet(why)] => why.clone(),
        outcomes => panic!("not open: {outcomes:?}"),
    }
}

/// Makes every open event due.
async fn time_passes(shop: &Shop) {
    sqlx::query!("update inbox.events set next_try_at = now() where state = 'open'")
        .execute(&shop.owner)
        .await
        .unwrap();
}

/// Each event's state, attempts, and reason for waiting.
async fn standing(shop: &Shop) -> Vec<(String, i32, Option<String>)> {
    let rows =
        sqlx::query!("select state, attempts, last_error from inbox.events order by event_id");
    let rows = rows.fetch_all(&shop.db).await.unwrap();
    rows.into_iter().map(|row| (row.state, row.attempts, row.last_error)).collect()
}

/// Makes the order's payment one of Stripe's.
async fn paid_by_stripe(shop: &Shop, order: &Order) -> String {
    called(shop, order, "pi_1a").await
}

/// Sets the provider's id of the order's payment; returns the earlier one.
async fn called(shop: &Shop, order: &Order, reference: &str) -> String {
    sqlx::query_scalar!(
        r#"
        update payments.charges as now set provider_reference = $2
        from payments.charges as before
        where now.charge_key = before.charge_key and now.order_id = $1
        returning before.provider_reference as "before!"
        "#,
        order.order_id.uuid(),
        reference,
    )
    .fetch_one(&shop.owner)
    .await
    .unwrap()
}

/// A completed order, paid by Stripe.
async fn completed_with_stripe(shop: &Shop) -> Order {
    let order = completed(shop, 1).await;
    paid_by_stripe(shop, &order).await;
    order
}

/// An order of which ten pounds were refunded, as Stripe's `re_1a`.
async fn refunded_with_stripe(shop: &Shop) -> Order {
    let order = completed(shop, 1).await;
    let part = parts(&order, &[], &Ask::Amount(pounds("10.00")));
    assert_eq!(asks(shop, &order, 1, &[], part).await, requested(1));
    issues(shop, &order, 1).await.unwrap();
    sqlx::query!("delete from orders.refund_launches").execute(&shop.owner).await.unwrap();
    for statement in [
        "update payments.refund_requests set provider_reference = 're_1a'",
        "update payments.refunds set provider_reference = 're_1a'",
    ] {
        sqlx::raw_sql(statement).execute(&shop.owner).await.unwrap();
    }
    paid_by_stripe(shop, &order).await;
    order
}

/// Stripe's refund `re_1a` of this many pence; it has the shop's key if the shop has requested it.
fn refund(status: &str, units: u64, key: Option<String>) -> Scripted {
    let failure = (status == "failed").then_some("expired_or_canceled_card");
    answers(
        200,
        &json!({
            "id": "re_1a", "object": "refund", "amount": units, "currency": "gbp",
            "status": status, "failure_reason": failure, "payment_intent": "pi_1a",
            "metadata": key.map_or_else(|| json!({}), |key| json!({"refund_key": key})),
        }),
    )
}

fn own(status: &str, order: &Order) -> Scripted {
    refund(status, 1_000, Some(key(order, 1).to_string()))
}

/// A refund of ten pounds made in Stripe's Dashboard.
fn from_dashboard(status: &str) -> Scripted {
    refund(status, 1_000, None)
}

const ASKED_FOR_REFUND: &str = "GET /v1/refunds/re_1a";

async fn told_since(shop: &Shop, order: &Order, before: usize) -> Vec<String> {
    shop.events_of(order).await.split_off(before)
}

/// The order's refunds that wait to be launched, and whether each was launched before.
async fn launches(shop: &Shop) -> Vec<(i32, bool)> {
    let rows = sqlx::query!("select number, is_recovery from orders.refund_launches");
    let rows = rows.fetch_all(&shop.db).await.unwrap();
    rows.into_iter().map(|row| (row.number, row.is_recovery)).collect()
}

/// The keys of the journal entries for refunds of the order.
async fn booked(shop: &Shop, order: &Order) -> Vec<String> {
    let keys = sqlx::query_scalar!(
        "select key from ledger.transactions
         where order_id = $1 and key like '%:issue-refund:%' order by transaction_id",
        order.order_id.uuid(),
    );
    let keys = keys.fetch_all(&shop.db).await.unwrap();
    let beginning = format!("{}:", order.order_id);
    keys.into_iter().map(|key| key.replace(&beginning, "")).collect()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_whose_money_comes_back_is_taken_back_once_and_goes_on(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = refunded_with_stripe(&shop).await;
    let (before, listeners) = (shop.events_of(&order).await.len(), Listeners::default());
    let stripe = Stripe::that([own("failed", &order)]).await;
    told_of_refund(&shop, "evt_1", "refund.failed").await;
    assert_eq!(applies(&shop, &stripe, &listeners).await, [Outcome::Applied]);
    stripe.was_asked(&[ASKED_FOR_REFUND]);
    assert_eq!(state_of(&shop, &order, 1).await, RefundState::Pending);
    assert_eq!(record_of(&shop, &order).await, (pounds("10.00"), pounds("0")));
    assert_eq!(shop.payment_of(&order).await, "paid");
    assert_eq!(debit_of(&shop, &order, "refunds").await, Decimal::ZERO);
    let total = order.totals.total.amount();
    assert_eq!(debit_of(&shop, &order, "payment-clearing").await, total);
    let told = ["order.refund-reversed", "ledger.reversed"];
    assert_eq!(told_since(&shop, &order, before).await, told);
    assert_eq!(launches(&shop).await, [(1, true)]);

    // Reported by other events, and again, it changes nothing: the running workflow is signalled,
    // until the record says that a person has been told.
    let stripe = Stripe::that((0..4).map(|_| own("failed", &order))).await;
    told_of_refund(&shop, "evt_1", "refund.failed").await;
    told_of_refund(&shop, "evt_2", "charge.refund.updated").await;
    told_of_refund(&shop, "evt_3", "refund.created").await;
    let waiting = applies(&shop, &stripe, &listeners).await;
    assert!(matches!(waiting.as_slice(), [Outcome::NotYet(_), Outcome::NotYet(_)]), "{waiting:?}");
    assert_eq!(listeners.heard().len(), 2);
    sqlx::raw_sql("update payments.refund_requests set failed_reference = 're_1a'")
        .execute(&shop.owner)
        .await
        .unwrap();
    time_passes(&shop).await;
    let applied = [Outcome::Applied, Outcome::Applied];
    assert_eq!(applies(&shop, &stripe, &listeners).await, applied);
    assert!(listeners.heard().is_empty());
    assert_eq!(told_since(&shop, &order, before).await, told);
    assert_eq!(record_of(&shop, &order).await, (pounds("10.00"), pounds("0")));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_that_was_taken_back_is_told_to_a_person_and_given_again(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = refunded_with_stripe(&shop).await;
    let stripe = Stripe::that([own("failed", &order)]).await;
    told_of_refund(&shop, "evt_1", "refund.failed").await;
    applies(&shop, &stripe, &Listeners::default()).await;

    // From here on the sandbox returns the same state.
    let sandboxes = sqlx::query_scalar!(
        r#"select 'sandbox-payment-' || payment_id as "name!" from sandbox_provider.payments"#
    );
    let sandboxes = sandboxes.fetch_one(&shop.owner).await.unwrap();
    called(&shop, &order, &sandboxes).await;
    sqlx::raw_sql("update sandbox_provider.refunds set state = 'failed'")
        .execute(&shop.owner)
        .await
        .unwrap();
    let why = "the bank does not take it".to_owned();
    assert_eq!(refusal(issues(&shop, &order, 1).await), Rejection::RefundFailed { why });
    issues(&shop, &order, 1).await.unwrap();
    assert_eq!(state_of(&shop, &order, 1).await, RefundState::Succeeded);
    assert_eq!(record_of(&shop, &order).await, (pounds("10.00"), pounds("10.00")));
    assert_eq!(shop.payment_of(&order).await, "partially-refunded");
    let names = ["issue-refund:1", "issue-refund:1:reversal", "issue-refund:1:again-1"];
    assert_eq!(booked(&shop, &order).await, names);
    let left = order.totals.total.checked_sub(pounds("10.00")).unwrap();
    assert_eq!(debit_of(&shop, &order, "payment-clearing").await, left.amount());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_the_object_is_decides_and_not_what_the_event_is_called(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = refunded_with_stripe(&shop).await;
    let (before, listeners) = (shop.events_of(&order).await.len(), Listeners::default());
    // The failure is reported first, and belongs to another refund than the one that succeeded.
    let stripe = Stripe::that([own("succeeded", &order), own("pending", &order)]).await;
    told_of_refund(&shop, "evt_1", "refund.failed").await;
    told_of_refund(&shop, "evt_2", "refund.failed").await;
    let applied = [Outcome::Applied, Outcome::Applied];
    assert_eq!(applies(&shop, &stripe, &listeners).await, applied);
    assert_eq!(told_since(&shop, &order, before).await, [""; 0]);
    // The creation is reported last, and the refund has failed.
    let stripe = Stripe::that([own("failed", &order)]).await;
    told_of_refund(&shop, "evt_3", "refund.created").await;
    assert_eq!(applies(&shop, &stripe, &listeners).await, [Outcome::Applied]);
    assert_eq!(state_of(&shop, &order, 1).await, RefundState::Pending);
    assert!(listeners.heard().is_empty());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_is_taken_back_once_its_process_and_all_others_have_ended(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = refunded_with_stripe(&shop).await;
    let failed = || own("failed", &order);
    let stripe = Stripe::that([failed(), failed(), failed()]).await;
    told_of_refund(&shop, "evt_1", "refund.failed").await;
    let under_way = Listeners { are_under_way: true, ..Listeners::default() };
    waits(&shop, &stripe, &under_way).await;
    assert_eq!(state_of(&shop, &order, 1).await, RefundState::Succeeded);

    let before = parts(&order, &[], &Ask::Amount(pounds("10.00")));
    let before = [Claimed { parts: before, lines: vec![] }];
    let next = parts(&order, &before, &Ask::Amount(pounds("5.00")));
    assert_eq!(asks(&shop, &order, 2, &before, next).await, requested(2));
    time_passes(&shop).await;
    let why = waits(&shop, &stripe, &Listeners::default()).await;
    assert!(why.contains("another refund of the order is under way"), "{why}");
    assert_eq!(record_of(&shop, &order).await, (pounds("15.00"), pounds("10.00")));

    sqlx::raw_sql("update payments.refund_requests set state = 'cancelled' where number = 2")
        .execute(&shop.owner)
        .await
        .unwrap();
    time_passes(&shop).await;
    let applied = applies(&shop, &stripe, &Listeners::default()).await;
    assert_eq!(applied, [Outcome::Applied]);
    assert_eq!(state_of(&shop, &order, 1).await, RefundState::Pending);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_somebody_gives_back_in_the_dashboard_is_booked_once(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed_with_stripe(&shop).await;
    let (before, listeners) = (shop.events_of(&order).await.len(), Listeners::default());
    let made = || from_dashboard("succeeded");
    let stripe = Stripe::that([from_dashboard("pending"), made(), made(), made()]).await;
    // While it is pending, nothing is refunded.
    told_of_refund(&shop, "evt_1", "refund.created").await;
    assert_eq!(applies(&shop, &stripe, &listeners).await, [Outcome::Applied]);
    assert_eq!(told_since(&shop, &order, before).await, [""; 0]);

    told_of_refund(&shop, "evt_2", "refund.updated").await;
    told_of_refund(&shop, "evt_3", "charge.refund.updated").await;
    let events = taken(&shop).await;
    let [one, other] = events.as_slice() else { panic!("{events:?}") };
    // Two workers at the same moment.
    let (one, other) = futures::join!(
        inbox::handle(&shop.db, &stripe.provider, &listeners, one),
        inbox::handle(&shop.db, &stripe.provider, &listeners, other),
    );
    assert_eq!([one.unwrap(), other.unwrap()], [Outcome::Applied, Outcome::Applied]);
    told_of_refund(&shop, "evt_4", "refund.updated").await;
    assert_eq!(applies(&shop, &stripe, &listeners).await, [Outcome::Applied]);

    assert_eq!(state_of(&shop, &order, 1).await, RefundState::Succeeded);
    assert_eq!(record_of(&shop, &order).await, (pounds("10.00"), pounds("10.00")));
    assert_eq!(shop.payment_of(&order).await, "partially-refunded");
    assert_eq!(booked(&shop, &order).await, ["issue-refund:1"]);
    let told = ["order.refund-requested", "order.refund-succeeded", "ledger.refund-posted"];
    assert_eq!(told_since(&shop, &order, before).await, told);
    let left = order.totals.total.checked_sub(pounds("10.00")).unwrap();
    assert_eq!(debit_of(&shop, &order, "payment-clearing").await, left.amount());
    assert!(launches(&shop).await.is_empty(), "there is no process that it needs");

    // The shop's next refund starts from what this one has left of the payment.
    let before =
        [Claimed { parts: parts(&order, &[], &Ask::Amount(pounds("10.00"))), lines: vec![] }];
    let rest = parts(&order, &before, &Ask::Amount(left));
    assert_eq!(asks(&shop, &order, 2, &before, rest).await, requested(2));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_the_dashboard_gave_back_and_came_back_is_over(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed_with_stripe(&shop).await;
    let stripe = Stripe::that([from_dashboard("succeeded"), from_dashboard("failed")]).await;
    let under_way = Listeners { are_under_way: true, ..Listeners::default() };
    for (id, event_type) in [("evt_1", "refund.created"), ("evt_2", "refund.failed")] {
        told_of_refund(&shop, id, event_type).await;
        assert_eq!(applies(&shop, &stripe, &under_way).await, [Outcome::Applied]);
    }
    assert_eq!(state_of(&shop, &order, 1).await, RefundState::Failed);
    assert_eq!(record_of(&shop, &order).await, (pounds("0"), pounds("0")), "its claim is free");
    assert_eq!(shop.payment_of(&order).await, "paid");
    assert_eq!(debit_of(&shop, &order, "refunds").await, Decimal::ZERO);
    // Nobody requests it from Stripe again.
    assert!(launches(&shop).await.is_empty());
    assert_eq!(booked(&shop, &order).await, ["issue-refund:1", "issue-refund:1:reversal"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn more_than_is_left_of_a_payment_is_not_booked(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed_with_stripe(&shop).await;
    let total = order.totals.total;
    let units = to_stripe_units(total).unwrap();
    let (listeners, beyond) = (Listeners::default(), units.saturating_add(1));
    let foreign = answers(
        200,
        &json!({
            "id": "re_1a", "amount": 10, "currency": "eur", "status": "succeeded",
            "payment_intent": "pi_1a",
        }),
    );
    let too_much = refund("succeeded", beyond, None);
    let stripe = Stripe::that([too_much, foreign, from_dashboard("succeeded")]).await;
    told_of_refund(&shop, "evt_1", "refund.created").await;
    for _ in 0..2 {
        let why = waits(&shop, &stripe, &listeners).await;
        assert!(why.starts_with("more was given back"), "{why}");
        time_passes(&shop).await;
    }
    // The shop's own refund claims all of it.
    let all = parts(&order, &[], &Ask::Amount(total));
    assert_eq!(asks(&shop, &order, 1, &[], all).await, requested(1));
    waits(&shop, &stripe, &listeners).await;
    assert_eq!(record_of(&shop, &order).await, (total, pounds("0")));
    assert_eq!(booked(&shop, &order).await, [""; 0]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn money_given_back_of_an_order_under_way_waits_for_its_end(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = order(1);
    shop.takes_up_to_posting(&order).await;
    paid_by_stripe(&shop, &order).await;
    let made = || from_dashboard("succeeded");
    let (stripe, listeners) = (Stripe::that([made(), made()]).await, Listeners::default());
    told_of_refund(&shop, "evt_1", "refund.created").await;
    let why = waits(&shop, &stripe, &listeners).await;
    assert!(why.contains("has not come to its end"), "{why}");
    shop.ships(&order).await.unwrap();
    shop.recognises(&order).await.unwrap();
    time_passes(&shop).await;
    assert_eq!(applies(&shop, &stripe, &listeners).await, [Outcome::Applied]);
    assert_eq!(record_of(&shop, &order).await, (pounds("10.00"), pounds("10.00")));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn money_of_an_order_that_was_called_off_and_comes_back_waits_for_a_person(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = order(1);
    shop.takes_up_to_posting(&order).await;
    shop.unwinds(&order).await;
    shop.refunds(&order).await.unwrap();
    shop.reverses(&order).await.unwrap();
    shop.releases(&order).await.unwrap();
    shop.ends(&order, cancelled("changed my mind")).await;
    paid_by_stripe(&shop, &order).await;
    let before = shop.events_of(&order).await.len();
    let undo = format!("{}:refund", order.key(StepName::AuthorisePayment));
    let failed = || refund("failed", 1_000, Some(undo.clone()));
    let listeners = Listeners::default();
    // It has failed, and Stripe has the money.
    let stripe = Stripe::that([failed(), is("succeeded")]).await;
    told_of_refund(&shop, "evt_1", "refund.failed").await;
    let why = waits(&shop, &stripe, &listeners).await;
    assert!(why.contains("give it back"), "{why}");
    // A person has refunded it.
    let refunds = answers(
        200,
        &json!({"data": [{"id": "re_2b", "amount": 2_430, "currency": "gbp", "status": "succeeded"}]}),
    );
    let stripe = Stripe::that([failed(), given_back(2_430), refunds]).await;
    time_passes(&shop).await;
    assert_eq!(applies(&shop, &stripe, &listeners).await, [Outcome::Applied]);
    assert_eq!(told_since(&shop, &order, before).await, [""; 0]);
    assert!(listeners.heard().is_empty());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_payment_that_is_not_as_the_record_says_is_told_to_its_order(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = order(1);
    shop.places(&order).await;
    shop.reserves(&order).await.unwrap();
    shop.authorises(&order).await.unwrap();
    let listeners = Listeners::default();
    let stripe = Stripe::that([is("requires_capture"), is("canceled"), is("canceled")]).await;
    kept(&shop, "evt_1", "payment_intent.succeeded", "payment_intent", Some("pi_1a")).await;
    // It is not on record yet, and Stripe is not asked about payments that the shop does not know.
    let why = waits(&shop, &stripe, &listeners).await;
    assert!(why.contains("on record yet"), "{why}");
    assert!(stripe.asked().is_empty());
    paid_by_stripe(&shop, &order).await;
    time_passes(&shop).await;
    assert_eq!(applies(&shop, &stripe, &listeners).await, [Outcome::Applied]);
    assert!(listeners.heard().is_empty(), "it is as the record says, whatever the event is called");

    kept(&shop, "evt_2", "payment_intent.canceled", "payment_intent", Some("pi_1a")).await;
    assert_eq!(applies(&shop, &stripe, &listeners).await, [Outcome::Applied]);
    let heard = (Process::Order(order.order_id), "pi_1a is voided".to_owned());
    assert_eq!(listeners.heard(), [heard]);

    // While Temporal is unreachable, nobody is signalled, and the event waits.
    let away = Listeners { are_away: true, ..Listeners::default() };
    kept(&shop, "evt_3", "payment_intent.canceled", "payment_intent", Some("pi_1a")).await;
    let why = waits(&shop, &stripe, &away).await;
    assert!(why.contains("nobody is there"), "{why}");
    stripe.was_asked(&[LOOK_UP, LOOK_UP, LOOK_UP]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_that_is_under_way_hears_of_its_end_until_that_is_on_record(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    let sandboxes = paid_by_stripe(&shop, &order).await;
    let part = parts(&order, &[], &Ask::Amount(pounds("10.00")));
    asks(&shop, &order, 1, &[], part).await;
    let listeners = Listeners::default();
    let made = || own("succeeded", &order);
    let stripe =
        Stripe::that([own("pending", &order), made(), made(), own("failed", &order)]).await;
    told_of_refund(&shop, "evt_1", "refund.created").await;
    assert_eq!(applies(&shop, &stripe, &listeners).await, [Outcome::Applied]);
    told_of_refund(&shop, "evt_2", "refund.updated").await;
    let why = waits(&shop, &stripe, &listeners).await;
    assert!(why.contains("has not recorded it yet"), "{why}");
    let process = Process::Refund(RefundId::of_key(key(&order, 1)));
    assert_eq!(listeners.heard(), [(process, "re_1a is succeeded".to_owned())]);
    assert_eq!(booked(&shop, &order).await, [""; 0], "its process books it");

    called(&shop, &order, &sandboxes).await;
    issues(&shop, &order, 1).await.unwrap();
    paid_by_stripe(&shop, &order).await;
    sqlx::raw_sql("update payments.refund_requests set provider_reference = 're_1a'")
        .execute(&shop.owner)
        .await
        .unwrap();
    time_passes(&shop).await;
    assert_eq!(applies(&shop, &stripe, &listeners).await, [Outcome::Applied]);
    assert!(listeners.heard().is_empty());
    // It is reversed after its workflow has recorded the earlier state.
    told_of_refund(&shop, "evt_3", "refund.failed").await;
    sqlx::raw_sql("update payments.refunds set provider_reference = 're_1a'")
        .execute(&shop.owner)
        .await
        .unwrap();
    assert_eq!(applies(&shop, &stripe, &listeners).await, [Outcome::Applied]);
    assert_eq!(state_of(&shop, &order, 1).await, RefundState::Pending);
}

/// Stripe's dispute about an order's whole payment.
fn disputed(order: &Order, status: &str, moved: &[Value]) -> Scripted {
    let mut told = dispute(status, moved);
    told["amount"] = json!(to_stripe_units(order.totals.total).unwrap());
    answers(200, &told)
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_dispute_is_put_on_record_as_it_is_however_it_is_told(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let (order, listeners) = (completed_with_stripe(&shop).await, Listeners::default());
    let before = shop.events_of(&order).await.len();
    let units = i64::try_from(to_stripe_units(order.totals.total).unwrap()).unwrap();
    let taken = [balance("txn_1a", units.checked_neg().unwrap(), 1_500, "gbp")];
    let opened = || disputed(&order, "needs_response", &taken);
    let unknown =
        refuses(404, &json!({"type": "invalid_request_error", "code": "resource_missing"}));
    let stripe = Stripe::that([opened(), opened(), unknown]).await;
    // The later event comes first.
    kept(&shop, "evt_2", "charge.dispute.funds_withdrawn", "dispute", Some("du_1a")).await;
    assert_eq!(applies(&shop, &stripe, &listeners).await, [Outcome::Applied]);
    let told = told_since(&shop, &order, before).await;
    assert_eq!(told[0], "order.dispute-opened");
    assert_eq!(shop.payment_of(&order).await, "disputed");
    kept(&shop, "evt_1", "charge.dispute.created", "dispute", Some("du_1a")).await;
    assert_eq!(applies(&shop, &stripe, &listeners).await, [Outcome::Applied]);
    assert_eq!(told_since(&shop, &order, before).await, told, "told twice, it is on record once");
    // If Stripe does not know the dispute, nothing is recorded.
    kept(&shop, "evt_3", "charge.dispute.created", "dispute", Some("du_1a")).await;
    waits(&shop, &stripe, &listeners).await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_event_is_ignored_or_waits_for_what_is_not_known_yet(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let (stripe, listeners) = (Stripe::that([]).await, Listeners::default());
    kept(&shop, "evt_1", "customer.created", "customer", Some("cus_1a")).await;
    kept(&shop, "evt_2", "balance.available", "balance", None).await;
    kept(&shop, "evt_3", "payment_intent.created", "payment_intent", Some("pi_9z")).await;
    kept(&shop, "evt_4", "payment_intent.succeeded", "payment_intent", Some("pi_9z")).await;
    kept(&shop, "evt_5", "payment_intent.succeeded", "payment_intent", None).await;
    applies(&shop, &stripe, &listeners).await;
    let standing = standing(&shop).await;
    let states: Vec<_> = standing.iter().map(|(state, ..)| state.as_str()).collect();
    assert_eq!(states, ["ignored", "ignored", "ignored", "open", "open"]);
    assert_eq!(standing[3].2.as_deref(), Some(NOT_ON_RECORD));
    assert!(stripe.asked().is_empty());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_event_that_waits_rests_for_longer_each_time_and_tells_no_secrets(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let listeners = Listeners::default();
    let gone = refuses(404, &json!({"type": "invalid_request_error", "code": "resource_missing"}));
    let busy = failure().with("retry-after", "600");
    let stripe = Stripe::that([failure(), gone, busy]).await;
    told_of_refund(&shop, "evt_1", "refund.created").await;
    for (attempt, seconds) in [(1, 5.0), (2, 10.0), (3, 600.0)] {
        let before = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#);
        let before = before.fetch_one(&shop.db).await.unwrap();
        let why = waits(&shop, &stripe, &listeners).await;
        assert!(!why.contains(MESSAGE), "{why}");
        // However long the test has taken.
        let rests = sqlx::query_scalar!(
            r#"select next_try_at >= $1::timestamptz + make_interval(secs => $2)
                   and next_try_at <= clock_timestamp() + make_interval(secs => $2) as "rests!"
               from inbox.events"#,
            before,
            seconds,
        );
        assert!(rests.fetch_one(&shop.db).await.unwrap(), "{attempt}");
        assert_eq!(standing(&shop).await, [("open".to_owned(), attempt, Some(why))]);
        time_passes(&shop).await;
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_worker_that_is_too_slow_leaves_the_event_to_the_one_that_took_it_after_it(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let (stripe, listeners) = (Stripe::that([]).await, Listeners::default());
    kept(&shop, "evt_1", "payment_intent.succeeded", "payment_intent", Some("pi_9z")).await;
    let slow = taken(&shop).await.remove(0);
    assert!(taken(&shop).await.is_empty(), "one worker has it");
    time_passes(&shop).await;
    let quick = taken(&shop).await.remove(0);
    inbox::handle(&shop.db, &stripe.provider, &listeners, &slow).await.unwrap();
    assert!(taken(&shop).await.is_empty(), "the quick one still has it");
    assert_eq!(standing(&shop).await, [("open".to_owned(), 2, None)]);
    inbox::handle(&shop.db, &stripe.provider, &listeners, &quick).await.unwrap();
    let why = Some(NOT_ON_RECORD.to_owned());
    assert_eq!(standing(&shop).await, [("open".to_owned(), 2, why)]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn events_are_kept_for_a_time_and_open_ones_for_ever(db: PgPool) {
    let shop = Shop::stocked(db).await;
    for id in ["evt_1", "evt_2", "evt_3"] {
        kept(&shop, id, "refund.created", "refund", Some("re_1a")).await;
    }
    sqlx::raw_sql(
        "update inbox.events set received_at = now() - interval '1 year';
         update inbox.events set state = 'applied', done_at = now() - interval '91 days'
         where event_id = 'evt_1';
         update inbox.events set state = 'ignored', done_at = now() - interval '89 days'
         where event_id = 'evt_2'",
    )
    .execute(&shop.owner)
    .await
    .unwrap();
    assert_eq!(inbox::sweep(&shop.db, 90, 10).await.unwrap(), 1);
    assert_eq!(inbox::sweep(&shop.db, 90, 10).await.unwrap(), 0);
    let states: Vec<_> = standing(&shop).await.into_iter().map(|(state, ..)| state).collect();
    assert_eq!(states, ["ignored", "open"]);
}

// The provider's list of events.

const EVERY: Duration = Duration::from_mins(1);

/// The time of the list's newest event, in Unix seconds.
const NEWEST: i64 = 2_000_000_000;

fn listed(id: &str, created: i64) -> Value {
    json!({
        "id": id, "object": "event", "type": "refund.created", "created": created,
        "livemode": false, "data": {"object": {"id": "re_1a", "object": "refund"}},
    })
}

fn page(events: &[Value], has_more: bool) -> Scripted {
    answers(200, &json!({"object": "list", "data": events, "has_more": has_more}))
}

/// The cursor of the list, in Unix seconds.
async fn read_until(shop: &Shop) -> i64 {
    let moment = sqlx::query_scalar!(
        r#"select extract(epoch from read_until)::bigint as "moment!" from inbox.feeds"#
    );
    moment.fetch_one(&shop.db).await.unwrap()
}

/// Makes the list due.
async fn list_is_due(shop: &Shop) {
    sqlx::raw_sql("update inbox.feeds set due_at = now()").execute(&shop.owner).await.unwrap();
}

/// The time from which Stripe was asked for events.
fn since(line: &str) -> i64 {
    let (_path, query) = line.split_once("?created%5Bgte%5D=").unwrap();
    query.split('&').next().unwrap().parse().unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_list_is_read_page_by_page_from_a_while_before_its_end(db: PgPool) {
    let shop = Shop::stocked(db).await;
    // A webhook has already delivered one of them.
    told_of_refund(&shop, "evt_2", "refund.created").await;
    let first = page(&[listed("evt_3", NEWEST), json!({"id": "evt_odd"})], true);
    let second = page(&[listed("evt_2", NEWEST - 5), listed("evt_1", NEWEST - 9)], false);
    let late = page(&[listed("evt_4", NEWEST - 60)], false);
    let stripe = Stripe::that([first, second, late, page(&[], false)]).await;
    let poll = async || inbox::poll(&shop.db, &stripe.provider, EVERY).await.unwrap();
    assert_eq!(poll().await, Some(2));
    assert_eq!(standing(&shop).await.len(), 3);
    assert_eq!(read_until(&shop).await, NEWEST);
    assert_eq!(poll().await, None, "it is not due");

    list_is_due(&shop).await;
    assert_eq!(poll().await, Some(1), "an event that was listed late is found");
    assert_eq!(read_until(&shop).await, NEWEST, "and does not set the reading back");
    list_is_due(&shop).await;
    assert_eq!(poll().await, Some(0));

    let asked: Vec<_> = stripe.asked().into_iter().map(|asked| asked.line).collect();
    let [first, second, third, _fourth] = asked.as_slice() else { panic!("{asked:?}") };
    assert!(first.contains("&limit=100&types[]=charge.dispute.closed&"), "{first}");
    assert!(second.ends_with("&starting_after=evt_odd"), "{second}");
    assert_eq!(since(first), since(second));
    assert_eq!(since(third), NEWEST - 600);
    // The first read goes as far back as webhooks are repeated.
    let now = sqlx::query_scalar!(r#"select extract(epoch from now())::bigint as "now!""#);
    let back = now.fetch_one(&shop.db).await.unwrap().saturating_sub(since(first));
    assert!((3 * 86_400..4 * 86_400).contains(&back), "{back}");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_list_that_was_not_read_to_its_end_is_read_again(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let first = || page(&[listed("evt_2", NEWEST)], true);
    let second = page(&[listed("evt_1", NEWEST - 5)], false);
    let endless = || page(&[listed("evt_3", NEWEST)], true);
    let answers = [first(), failure(), first(), second, endless(), endless()];
    let stripe = Stripe::that(answers).await;
    let long_ago = 1_700_000_000;
    sqlx::raw_sql(
        "insert into inbox.feeds (provider, read_until, due_at)
         values ('stripe', to_timestamp(1700000000), now())",
    )
    .execute(&shop.owner)
    .await
    .unwrap();
    inbox::poll(&shop.db, &stripe.provider, EVERY).await.unwrap_err();
    assert_eq!(read_until(&shop).await, long_ago, "not further than before");
    let due = inbox::poll(&shop.db, &stripe.provider, EVERY).await.unwrap();
    assert_eq!(due, None, "it rests, too");
    list_is_due(&shop).await;
    let read = inbox::poll(&shop.db, &stripe.provider, EVERY).await.unwrap();
    assert_eq!((read, read_until(&shop).await), (Some(1), NEWEST));
    // A list whose pages form a cycle is invalid.
    list_is_due(&shop).await;
    inbox::poll(&shop.db, &stripe.provider, EVERY).await.unwrap_err();
    assert_eq!(stripe.asked().len(), 6);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn that_the_key_may_not_read_events_is_an_answer(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let stripe = Stripe::that([refuses(403, &json!({"type": "invalid_request_error"}))]).await;
    let refused = inbox::poll(&shop.db, &stripe.provider, EVERY).await.unwrap_err();
    // If it counted as no answer, the breaker would open, and payments would wait.
    assert!(matches!(refused, ActivityFault::InvalidAnswer { .. }), "{refused:?}");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn one_worker_reads_the_list_at_a_time(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let stripe = Stripe::that((0..8).map(|_| page(&[], false))).await;
    let polls = (0..8).map(|_| inbox::poll(&shop.db, &stripe.provider, EVERY));
    let polled = futures::future::join_all(polls).await;
    let read = polled.into_iter().filter(|polled| *polled.as_ref().unwrap() == Some(0)).count();
    assert_eq!((read, stripe.asked().len()), (1, 1));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_decision_that_is_waited_for_stays_though_the_refund_is_told_again(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = refunded_with_stripe(&shop).await;
    let stripe = Stripe::that([own("failed", &order), own("failed", &order)]).await;
    let listeners = Listeners::default();
    told_of_refund(&shop, "evt_1", "refund.failed").await;
    applies(&shop, &stripe, &listeners).await;
    shop.needs_a_person(&order, StepName::IssueRefund, "the card has expired").await;
    told_of_refund(&shop, "evt_2", "refund.failed").await;
    applies(&shop, &stripe, &listeners).await;
    let asked = sqlx::query_scalar!(
        r#"select attention ->> 'step' as "step!" from orders.orders where order_id = $1"#,
        order.order_id.uuid(),
    );
    assert_eq!(asked.fetch_one(&shop.db).await.unwrap(), "issue-refund");
    shop.decides(&order, StepName::IssueRefund, 1, Decision::Skip).await;
    assert_eq!(shop.status_of(&order).await, "completed");
}
