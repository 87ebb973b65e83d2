//! How faults are converted to Temporal's failures, which decide what happens next.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use activities::party::{Breaker, Guarded};
use activities::shipping::port::{
    Booking, Capabilities, Carrier, CarrierError, Consignment, ShipmentId,
};
use activities::shipping::sandbox::SandboxCarrier;
use activities::{Activities, Settings};
use async_trait::async_trait;
use chrono::DateTime;
use domain::{Order, Party, Rejection, StepKey, StepName};
use runtime::database::Database;
use runtime::schema::MIGRATIONS;
use saga::{BROKEN, BUSY, INVALID_ANSWER, NOT_OPEN, REJECTED, UNAVAILABLE};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use temporalio_common::error::{ApplicationErrorCategory, ApplicationFailure};
use temporalio_sdk::activities::ActivityError;
use temporalio_sdk::testing::{ActivityEnvironment, ActivityEnvironmentError};
use tokio::sync::Notify;

use crate::support::{HEART, Shop, TTL, another_worker, cancelled, order, order_of, paid_with};

fn environment(shop: Shop) -> ActivityEnvironment {
    let carrier = SandboxCarrier::new(Database::of(shop.db.clone()));
    environment_with(shop, carrier)
}

/// The same with another carrier.
fn environment_with(shop: Shop, carrier: impl Carrier + 'static) -> ActivityEnvironment {
    environment_that_asks(shop, carrier, Duration::from_mins(5))
}

/// The same, where a party is asked again for this long after an invalid answer.
fn environment_that_asks(
    shop: Shop,
    carrier: impl Carrier + 'static,
    ask_again_for: Duration,
) -> ActivityEnvironment {
    let Shop { db, provider, .. } = shop;
    ActivityEnvironment::builder()
        .register_activities(Activities {
            db: Database::of(db),
            articles: another_worker(),
            provider: Arc::new(provider),
            carrier: Arc::new(carrier),
            settings: Settings { reservation_ttl: TTL, ask_again_for },
        })
        .build()
}

#[track_caller]
fn failure<T>(answer: Result<T, ActivityEnvironmentError>) -> ApplicationFailure {
    let Err(ActivityEnvironmentError::Activity(ActivityError::Application(failure))) = answer
    else {
        panic!("not a failure of the activity")
    };
    *failure
}

async fn charge_fails(db: &PgPool, order: &Order) -> ApplicationFailure {
    let shop = Shop::on(db.clone());
    shop.places(order).await;
    let key = order.key(StepName::AuthorisePayment);
    failure(environment(shop).run(Activities::authorise_payment, key).await)
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refusal_is_final_and_benign_and_says_why(db: PgPool) {
    let refused = charge_fails(&db, &paid_with(order(1), "tok_expired_card")).await;
    assert_eq!(refused.type_name(), Some(REJECTED));
    assert!(refused.is_non_retryable());
    assert_eq!(refused.category(), ApplicationErrorCategory::Benign);
    let why = Rejection::CardDeclined { decline_code: "expired_card".to_owned() };
    assert_eq!(refused.to_string(), why.to_string());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_party_that_does_not_answer_is_tried_again_when_it_said(db: PgPool) {
    let unanswered = charge_fails(&db, &paid_with(order(1), "tok_unavailable_1")).await;
    assert_eq!(unanswered.type_name(), Some(BUSY));
    assert!(!unanswered.is_non_retryable());
    assert_eq!(unanswered.next_retry_delay(), Some(Duration::from_secs(1)));
}

/// A payment to whose refund the provider answers with a proxy's page.
async fn refund_fails(db: PgPool, ask_again_for: Duration) -> (ApplicationFailure, StepKey) {
    let (shop, order) = (Shop::on(db), paid_with(order(1), "tok_refund_broken"));
    shop.places(&order).await;
    shop.charges(&order).await.unwrap();
    let carrier = SandboxCarrier::new(Database::of(shop.db.clone()));
    let key = order.key(StepName::CapturePayment);
    let environment = environment_that_asks(shop, carrier, ask_again_for);
    (failure(environment.run(Activities::refund_payment, key).await), key)
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_answer_that_makes_no_sense_is_asked_for_again(db: PgPool) {
    let (invalid, key) = refund_fails(db, Duration::from_secs(1)).await;
    assert_eq!(invalid.type_name(), Some(INVALID_ANSWER));
    assert!(!invalid.is_non_retryable());
    let told = "the payment provider's answer makes no sense (refunding a payment)";
    assert_eq!(invalid.to_string(), format!("{told}; incident {key}"));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_answer_that_makes_no_sense_is_final_where_it_is_not_to_be_asked_for_again(db: PgPool) {
    let (broken, key) = refund_fails(db, Duration::ZERO).await;
    assert_eq!(broken.type_name(), Some(BROKEN));
    assert!(broken.is_non_retryable());
    let told = format!("something is broken in refunding a payment; incident {key}");
    assert_eq!(broken.to_string(), told);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_bug_is_final_and_shows_its_incident_and_nothing_of_its_cause(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    sqlx::query!(r#"update orders.orders set lines = '"not lines"'"#)
        .execute(&shop.owner)
        .await
        .unwrap();
    let key = order.key(StepName::ReserveStock);
    let broken = failure(environment(shop).run(Activities::reserve_stock, key).await);
    assert_eq!(broken.type_name(), Some(BROKEN));
    assert!(broken.is_non_retryable());
    assert_eq!(
        broken.to_string(),
        format!("something is broken in reading an order; incident {key}")
    );
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_is_not_open_is_final_and_benign(db: PgPool) {
    let (shop, order) = (Shop::on(db.clone()), order(1));
    let key = order.key(StepName::ReserveStock);
    let unknown = failure(environment(shop).run(Activities::reserve_stock, key).await);
    assert_eq!(unknown.type_name(), Some(NOT_OPEN));

    let shop = Shop::on(db);
    shop.places(&order).await;
    shop.ends(&order, cancelled("by mistake")).await;
    let ended = failure(environment(shop).run(Activities::reserve_stock, key).await);
    assert_eq!(ended.type_name(), Some(NOT_OPEN));
    assert!(ended.is_non_retryable());
    assert_eq!(ended.category(), ApplicationErrorCategory::Benign);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_database_that_is_gone_is_tried_again(db: PgPool) {
    let shop = Shop::on(db);
    shop.db.close().await;
    let key = order(1).key(StepName::ReserveStock);
    let gone = failure(environment(shop).run(Activities::reserve_stock, key).await);
    assert_eq!(gone.type_name(), Some(UNAVAILABLE));
}

/// A shop with an order on record, and the order's first step.
async fn placed(db: PgPool) -> (Shop, StepKey) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.places(&order).await;
    let key = order.key(StepName::ReserveStock);
    (shop, key)
}

/// As after a failover, until the standby is promoted.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_database_that_takes_no_writes_is_tried_again(db: PgPool) {
    let (shop, key) = placed(db.clone()).await;
    let options = PgConnectOptions::clone(&shop.db.connect_options())
        .options([("default_transaction_read_only", "on")]);
    let standby = Shop { db: PgPoolOptions::new().connect_lazy_with(options), ..Shop::on(db) };
    let refused = failure(environment(standby).run(Activities::reserve_stock, key).await);
    assert_eq!(refused.type_name(), Some(UNAVAILABLE));
    environment(shop).run(Activities::reserve_stock, key).await.unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_database_whose_connections_are_all_taken_is_tried_again(db: PgPool) {
    let (shop, key) = placed(db.clone()).await;
    // No connection is free in time.
    let taken = PgPoolOptions::new()
        .acquire_timeout(Duration::ZERO)
        .connect_lazy_with(PgConnectOptions::clone(&shop.db.connect_options()));
    let refused = environment(Shop { db: taken, ..Shop::on(db) });
    let refused = failure(refused.run(Activities::reserve_stock, key).await);
    assert_eq!(refused.type_name(), Some(UNAVAILABLE));
    environment(shop).run(Activities::reserve_stock, key).await.unwrap();
}

/// A carrier that accepts every call and answers none.
struct Silent {
    is_called: Arc<Notify>,
}

#[async_trait]
impl Carrier for Silent {
    fn capabilities(&self) -> Capabilities {
        Capabilities { may_lag: Duration::ZERO, keys_last: None, cannot: &[] }
    }

    async fn draft(&self, _booking: &Booking) -> Result<ShipmentId, CarrierError> {
        self.is_called.notify_one();
        pending().await
    }

    async fn purchase(&self, _shipment: &ShipmentId) -> Result<Consignment, CarrierError> {
        pending().await
    }

    async fn cancel(&self, _shipment: &ShipmentId) -> Result<Consignment, CarrierError> {
        pending().await
    }

    async fn look_up(&self, _shipment: &ShipmentId) -> Result<Consignment, CarrierError> {
        pending().await
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_attempt_that_is_called_off_is_given_up_and_the_next_one_goes_on(db: PgPool) {
    let (shop, order) = (Shop::stocked(db.clone()).await, order(1));
    shop.takes_up_to_posting(&order).await;
    let is_called = Arc::new(Notify::new());
    let silent = environment_with(shop, Silent { is_called: Arc::clone(&is_called) });
    let key = order.key(StepName::ShipOrder);
    let call_off = async {
        is_called.notified().await;
        silent.cancel();
    };
    let (answer, ()) = futures::join!(silent.run(Activities::ship_order, key), call_off);
    let Err(ActivityEnvironmentError::Activity(ActivityError::Cancelled { .. })) = answer else {
        panic!("{answer:?}")
    };
    environment(Shop::on(db)).run(Activities::ship_order, key).await.unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_step_whose_party_is_stopped_is_tried_again_once_the_stop_may_be_over(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    let breaker = Arc::new(Breaker::new(Party::Carrier));
    let carrier =
        Guarded::new(SandboxCarrier::new(Database::of(shop.db.clone())), Arc::clone(&breaker));
    let (environment, key) = (environment_with(shop, carrier), order.key(StepName::ShipOrder));
    breaker.stop(Some(DateTime::from_timestamp(1_291_190_760, 0).unwrap()));
    let stopped = failure(environment.run(Activities::ship_order, key).await);
    assert_eq!(stopped.type_name(), Some(BUSY));
    assert!(!stopped.is_non_retryable());
    assert_eq!(stopped.next_retry_delay(), Some(Duration::from_secs(5)));
    let told = "no answer while drafting a shipment: the party is left alone, because an operator has \
                stopped it";
    assert_eq!(stopped.to_string(), told);
    breaker.stop(None);
    environment.run(Activities::ship_order, key).await.unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_goes_all_the_way_through_the_contract(db: PgPool) {
    let (shop, order) = (Shop::on(db.clone()), order_of(1, &[(HEART, 6)]));
    shop.receives(HEART, 6).await;
    shop.places(&order).await;
    let (environment, key) = (environment(shop), |step| order.key(step));
    environment.run(Activities::reserve_stock, key(StepName::ReserveStock)).await.unwrap();
    environment.run(Activities::authorise_payment, key(StepName::AuthorisePayment)).await.unwrap();
    environment.run(Activities::capture_payment, key(StepName::CapturePayment)).await.unwrap();
    environment.run(Activities::post_entries, key(StepName::PostEntries)).await.unwrap();
    environment.run(Activities::ship_order, key(StepName::ShipOrder)).await.unwrap();
    environment.run(Activities::recognise_revenue, key(StepName::RecogniseRevenue)).await.unwrap();
    let shop = Shop::on(db);
    assert_eq!(shop.status_of(&order).await, "completed");
    assert_eq!(shop.payment_of(&order).await, "paid");
    assert_eq!(shop.fulfilment_of(&order).await, "shipped");
    assert_eq!(shop.pieces_of(HEART).await, (0, 0, 6, 6));
    assert_eq!(
        shop.events_of(&order).await,
        [
            "order.placed",
            "stock.reserved",
            "payment.authorised",
            "payment.captured",
            "ledger.posted",
            "order.shipped",
            "ledger.revenue-recognised",
            "order.completed"
        ]
    );
}
