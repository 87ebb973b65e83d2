//! An order that waits for its customer: to approve a payment, or to replace one.

use chrono::{DateTime, Utc};
use domain::{AuthorisationAnswer, Order, Rejection, StepName, Terms};
use runtime::schema::MIGRATIONS;
use serde_json::Value;
use sqlx::PgPool;

use crate::support::{Shop, order, paid_with, refusal};

const LATE: Rejection = Rejection::AlreadyUndone { step: StepName::AuthorisePayment };

/// An order whose customer has a quarter of an hour to approve a payment, and an hour to replace
/// it.
fn patient(number: u32, token: &str) -> Order {
    let mut order = paid_with(order(number), token);
    order.terms = Terms { approval_seconds: 900, payment_retry_seconds: 3_600, ..order.terms };
    order
}

/// An order from before customers were given time to pay.
fn impatient(number: u32, token: &str) -> Order {
    paid_with(order(number), token)
}

fn declined() -> Rejection {
    Rejection::CardDeclined { decline_code: "insufficient_funds".to_owned() }
}

/// The deadline of the wait; fails the test on any other answer.
#[track_caller]
fn waits_until(answer: AuthorisationAnswer) -> DateTime<Utc> {
    match answer {
        AuthorisationAnswer::Waits { waits_until } => waits_until,
        answer @ (AuthorisationAnswer::Authorised(_) | AuthorisationAnswer::Replaced { .. }) => {
            panic!("it does not wait: {answer:?}")
        }
    }
}

/// The states of the order's payments, by the provider's records.
async fn at_the_provider(shop: &Shop, order: &Order) -> Vec<String> {
    sqlx::query_scalar!(
        "select state from sandbox_provider.payments
         where merchant_reference = $1 order by payment_id",
        order.order_id.to_string(),
    )
    .fetch_all(&shop.owner)
    .await
    .unwrap()
}

/// The link for approving the order's newest payment, by the shop's record.
async fn approval_url(shop: &Shop, order: &Order) -> Option<String> {
    sqlx::query_scalar!(
        "select approval_url from payments.charges
         where order_id = $1 order by attempt desc limit 1",
        order.order_id.uuid(),
    )
    .fetch_one(&shop.starter)
    .await
    .unwrap()
}

/// The data of the order's events and messages.
async fn told(shop: &Shop, order: &Order) -> Vec<Value> {
    sqlx::query_scalar!(
        r#"select data as "data!" from orders.order_events where order_id = $1
           union all
           select payload from outbox.messages where aggregateid = $1::text"#,
        order.order_id.uuid(),
    )
    .fetch_all(&shop.db)
    .await
    .unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_payment_that_the_bank_asks_the_customer_about_is_told_once_and_waits(db: PgPool) {
    let (shop, order) = (Shop::on(db), patient(1, "tok_needs_customer"));
    shop.places(&order).await;
    let (first, second) =
        futures::join!(shop.asks_for_money(&order, 1), shop.asks_for_money(&order, 1));
    let until = waits_until(first.unwrap());
    assert_eq!(waits_until(second.unwrap()), until);
    assert_eq!(waits_until(shop.asks_for_money(&order, 1).await.unwrap()), until);
    assert_eq!(shop.events_of(&order).await, ["order.placed", "payment.awaiting-customer"]);
    assert_eq!(shop.payment_of(&order).await, "awaiting-customer");
    assert!(shop.customer_answers(&order, true).await);
    shop.authorises(&order).await.unwrap();
    let events = ["order.placed", "payment.awaiting-customer", "payment.authorised"];
    assert_eq!(shop.events_of(&order).await, events);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_customers_link_is_on_record_for_the_wait_and_told_to_nobody(db: PgPool) {
    let (shop, order) = (Shop::on(db), patient(1, "tok_needs_customer"));
    shop.places(&order).await;
    waits_until(shop.asks_for_money(&order, 1).await.unwrap());
    let url = approval_url(&shop, &order).await.unwrap();
    assert!(url.starts_with("https://sandbox.example/approve/"), "{url}");
    let told = told(&shop, &order).await;
    assert_eq!(told.len(), 4);
    for data in told {
        assert!(!data.to_string().contains("sandbox.example"), "{data}");
    }
    assert!(shop.customer_answers(&order, true).await);
    shop.authorises(&order).await.unwrap();
    assert_eq!(approval_url(&shop, &order).await, None);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_payment_that_nobody_approves_is_voided_and_then_the_order_is_refused(db: PgPool) {
    let (shop, order) = (Shop::on(db), patient(1, "tok_needs_customer"));
    shop.places(&order).await;
    waits_until(shop.asks_for_money(&order, 1).await.unwrap());
    shop.time_is_over(&order).await;
    assert_eq!(refusal(shop.asks_for_money(&order, 1).await), Rejection::PaymentNotApproved);
    assert_eq!(at_the_provider(&shop, &order).await, ["voided"]);
    assert!(!shop.customer_answers(&order, true).await, "a late approval found a payment");
    assert_eq!(refusal(shop.asks_for_money(&order, 1).await), Rejection::PaymentNotApproved);
    shop.refunds(&order).await.unwrap();
    let events = ["order.placed", "payment.awaiting-customer", "payment.expired"];
    assert_eq!(shop.events_of(&order).await, events);
    assert_eq!(shop.payment_of(&order).await, "voided");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_approval_in_time_counts_although_it_is_asked_about_too_late(db: PgPool) {
    let (shop, order) = (Shop::on(db), patient(1, "tok_needs_customer"));
    shop.places(&order).await;
    waits_until(shop.asks_for_money(&order, 1).await.unwrap());
    assert!(shop.customer_answers(&order, true).await);
    shop.time_is_over(&order).await;
    shop.authorises(&order).await.unwrap();
    shop.captures(&order).await.unwrap();
    assert_eq!(at_the_provider(&shop, &order).await, ["captured"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_without_time_for_its_customer_is_refused_at_once(db: PgPool) {
    let shop = Shop::on(db);
    let (asked, refused) = (impatient(1, "tok_needs_customer"), impatient(2, "tok_declined"));
    shop.places(&asked).await;
    assert_eq!(refusal(shop.asks_for_money(&asked, 1).await), Rejection::PaymentNotApproved);
    shop.places(&refused).await;
    assert_eq!(refusal(shop.asks_for_money(&refused, 1).await), declined());
    assert_eq!(shop.replaces_payment(&refused, "tok_visa", None).await.0, "not-waiting");
    assert_eq!(shop.events_of(&refused).await, ["order.placed", "payment.declined"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_providers_own_time_counts_where_it_is_shorter(db: PgPool) {
    let (shop, order) = (Shop::on(db), patient(1, "tok_needs_customer_0"));
    shop.places(&order).await;
    assert_eq!(refusal(shop.asks_for_money(&order, 1).await), Rejection::PaymentNotApproved);
    assert!(!shop.customer_answers(&order, true).await);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_is_undone_while_it_waits_can_not_be_approved_any_more(db: PgPool) {
    let (shop, order) = (Shop::on(db), patient(1, "tok_needs_customer"));
    shop.places(&order).await;
    waits_until(shop.asks_for_money(&order, 1).await.unwrap());
    shop.refunds(&order).await.unwrap();
    shop.refunds(&order).await.unwrap();
    assert!(!shop.customer_answers(&order, true).await);
    assert_eq!(refusal(shop.asks_for_money(&order, 1).await), LATE);
    assert_eq!(at_the_provider(&shop, &order).await, ["voided"]);
    let events = ["order.placed", "payment.awaiting-customer", "payment.voided"];
    assert_eq!(shop.events_of(&order).await, events);
    assert_eq!(shop.payment_of(&order).await, "voided");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_declined_payment_is_replaced_and_the_other_one_is_captured(db: PgPool) {
    let (shop, order) = (Shop::on(db), patient(1, "tok_declined"));
    shop.places(&order).await;
    let until = waits_until(shop.asks_for_money(&order, 1).await.unwrap());
    assert_eq!(waits_until(shop.asks_for_money(&order, 1).await.unwrap()), until);
    let replaced = shop.replaces_payment(&order, "tok_visa", Some("k")).await;
    assert_eq!(replaced, ("replaced".to_owned(), Some(2)));
    let answer = shop.asks_for_money(&order, 1).await.unwrap();
    assert_eq!(answer, AuthorisationAnswer::Replaced { replaced_by: 2 });
    shop.authorises_again(&order).await.unwrap();
    shop.captures(&order).await.unwrap();
    assert_eq!(at_the_provider(&shop, &order).await, ["voided", "captured"]);
    let events = ["order.placed", "payment.declined", "payment.authorised", "payment.captured"];
    assert_eq!(shop.events_of(&order).await, events);
    assert_eq!(shop.payment_of(&order).await, "paid");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_request_to_replace_a_payment_counts_once_under_its_key(db: PgPool) {
    let (shop, order) = (Shop::on(db), patient(1, "tok_declined"));
    shop.places(&order).await;
    assert_eq!(shop.replaces_payment(&order, "tok_visa", Some("k")).await.0, "not-waiting");
    waits_until(shop.asks_for_money(&order, 1).await.unwrap());
    let (first, second) = futures::join!(
        shop.replaces_payment(&order, "tok_visa", Some("k")),
        shop.replaces_payment(&order, "tok_visa", Some("k")),
    );
    let mut outcomes = [first.0.as_str(), second.0.as_str()];
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["repeated", "replaced"]);
    assert_eq!((first.1, second.1), (Some(2), Some(2)));
    let other = shop.replaces_payment(&order, "tok_other", Some("k")).await;
    assert_eq!(other.0, "other-request");
    assert_eq!(shop.replaces_payment(&order, "tok_other", Some("l")).await.0, "not-waiting");
    assert_eq!(shop.replaces_payment(&order, "tok_other", None).await.0, "not-waiting");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_declined_payment_cannot_be_replaced_after_its_time(db: PgPool) {
    let (shop, order) = (Shop::on(db), patient(1, "tok_declined"));
    shop.places(&order).await;
    waits_until(shop.asks_for_money(&order, 1).await.unwrap());
    shop.time_is_over(&order).await;
    assert_eq!(shop.replaces_payment(&order, "tok_visa", None).await.0, "too-late");
    assert_eq!(refusal(shop.asks_for_money(&order, 1).await), declined());
    assert_eq!(shop.replaces_payment(&order, "tok_visa", None).await.0, "too-late");
    assert_eq!(shop.events_of(&order).await, ["order.placed", "payment.declined"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn of_a_replacement_and_a_refusal_only_one_is_on_record(db: PgPool) {
    let shop = Shop::on(db);
    for number in 1..=10 {
        let order = patient(number, "tok_declined");
        shop.places(&order).await;
        waits_until(shop.asks_for_money(&order, 1).await.unwrap());
        let over = async {
            shop.time_is_over(&order).await;
            shop.asks_for_money(&order, 1).await
        };
        let (replaced, answer) =
            futures::join!(shop.replaces_payment(&order, "tok_visa", None), over);
        match answer {
            Ok(answer) => {
                assert_eq!(answer, AuthorisationAnswer::Replaced { replaced_by: 2 });
                assert_eq!(replaced.0, "replaced");
            }
            refused => {
                assert_eq!(refusal(refused), declined());
                assert_ne!(replaced.0, "replaced");
            }
        }
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_has_five_payments_at_most_within_the_time_of_the_first(db: PgPool) {
    let (shop, order) = (Shop::on(db), patient(1, "tok_declined"));
    shop.places(&order).await;
    let until = waits_until(shop.asks_for_money(&order, 1).await.unwrap());
    for attempt in 2..=4 {
        assert_eq!(shop.replaces_payment(&order, "tok_declined", None).await.0, "replaced");
        let again = waits_until(shop.asks_for_money(&order, attempt).await.unwrap());
        assert_eq!(again, until, "another decline grants no more time");
    }
    assert_eq!(shop.replaces_payment(&order, "tok_declined", None).await.0, "replaced");
    assert_eq!(refusal(shop.asks_for_money(&order, 5).await), declined());
    assert_eq!(shop.replaces_payment(&order, "tok_visa", None).await.0, "not-waiting");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_undo_that_knows_of_the_first_payment_alone_closes_the_later_ones_too(db: PgPool) {
    let (shop, order) = (Shop::on(db), patient(1, "tok_declined"));
    shop.places(&order).await;
    waits_until(shop.asks_for_money(&order, 1).await.unwrap());
    shop.replaces_payment(&order, "tok_visa", None).await;
    shop.authorises_again(&order).await.unwrap();
    shop.voids(&order).await.unwrap();
    assert_eq!(at_the_provider(&shop, &order).await, ["voided", "voided"]);
    // After the first one's tombstone, no attempt opens a payment, whatever its number.
    assert_eq!(refusal(shop.asks_for_money(&order, 2).await), LATE);
    assert_eq!(refusal(shop.asks_for_money(&order, 3).await), LATE);
    assert_eq!(at_the_provider(&shop, &order).await.len(), 2);
}
