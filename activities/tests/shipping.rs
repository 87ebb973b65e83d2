//! One order, one parcel, and its goods leave the stock as it leaves the house.

use activities::shipping::sandbox::SandboxCarrier;
use activities::shipping::{Booking, Carrier, CarrierError, ship};
use activities::stock;
use async_trait::async_trait;
use domain::{AddressId, Rejection, Shipment, StepKey, StepName};
use runtime::schema::MIGRATIONS;
use sqlx::PgPool;
use std::time::Duration;
use tokio::sync::Notify;

use crate::support::{
    HEART, Shop, another_worker, assert_unavailable, country, invalid_answer, order, refusal,
    sent_to,
};

const LATE: Rejection = Rejection::AlreadyUndone { step: StepName::ShipOrder };
const A_SECOND: Option<Duration> = Some(Duration::from_secs(1));

/// What the carrier's own records say: parcels to fetch, and parcels called off.
async fn carrier_records(shop: &Shop) -> (i64, i64) {
    let row = sqlx::query!(
        r#"
        select
            count(*) filter (where cancelled_at is null) as "to_fetch!",
            count(cancelled_at) as "called_off!"
        from sandbox_carrier.bookings
        "#
    );
    let row = row.fetch_one(&shop.db).await.unwrap();
    (row.to_fetch, row.called_off)
}

async fn trouble(shop: &Shop, reference: &str, fault: &str, times: i32) {
    sqlx::query!(
        "insert into sandbox_carrier.faults (reference, fault, remaining) values ($1, $2, $3)",
        reference,
        fault,
        times,
    )
    .execute(&shop.owner)
    .await
    .unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_is_shipped_once_however_often_it_is_asked(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    let (first, second) = futures::join!(shop.ships(&order), shop.ships(&order));
    let shipment = first.unwrap();
    assert_eq!(second.unwrap(), shipment);
    assert_eq!(shop.ships(&order).await.unwrap(), shipment);
    assert_eq!(carrier_records(&shop).await, (1, 0));
    assert_eq!(shop.pieces_of(HEART).await, (94, 0, 6, 100));
    assert_eq!(shop.fulfilment_of(&order).await, "shipped");
    let tracking = sqlx::query_scalar!("select tracking from orders.orders");
    assert_eq!(tracking.fetch_one(&shop.db).await.unwrap(), Some(shipment.tracking));
    assert_eq!(shop.events_of(&order).await.last().unwrap(), "order.shipped");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn two_attempts_that_meet_at_the_carrier_are_one_parcel(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    let mut counter = shop.db.begin().await.unwrap();
    let key = order.key(StepName::ShipOrder).to_string();
    let booking = sqlx::query!(
        "insert into sandbox_carrier.bookings (reference, country, pieces) values ($1, 'GB', 8)",
        key,
    );
    booking.execute(&mut *counter).await.unwrap();
    let opens = async {
        shop.until_waiting(2).await;
        counter.commit().await.unwrap();
    };
    let (first, second, ()) = futures::join!(shop.ships(&order), shop.ships(&order), opens);
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(carrier_records(&shop).await, (1, 0));
    assert_eq!(shop.pieces_of(HEART).await, (94, 0, 6, 100));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn calling_off_twice_brings_the_goods_back_once_and_they_stay_held(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    shop.ships(&order).await.unwrap();
    let (first, second) =
        futures::join!(shop.cancels_shipment(&order), shop.cancels_shipment(&order));
    first.unwrap();
    second.unwrap();
    shop.cancels_shipment(&order).await.unwrap();
    assert_eq!(carrier_records(&shop).await, (0, 1));
    assert_eq!(shop.pieces_of(HEART).await, (94, 6, 0, 100));
    let events = shop.events_of(&order).await;
    assert_eq!(events.iter().filter(|event| *event == "shipment.cancelled").count(), 1);
    shop.releases(&order).await.unwrap();
    assert_eq!(shop.pieces_of(HEART).await, (100, 0, 0, 100));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_parcel_that_comes_after_its_cancellation_is_not_booked(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    shop.cancels_shipment(&order).await.unwrap();
    assert_eq!(carrier_records(&shop).await, (0, 0));
    assert_eq!(refusal(shop.ships(&order).await), LATE);
    assert_eq!(carrier_records(&shop).await, (0, 0));
    assert_eq!(shop.pieces_of(HEART).await, (94, 6, 0, 100));
    assert_eq!(shop.fulfilment_of(&order).await, "reserved");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_country_without_a_carrier_is_refused_for_ever(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, sent_to(order(1), "AQ", None));
    shop.takes_up_to_posting(&order).await;
    let why = "no ship sails there".to_owned();
    let refused = Rejection::AddressUndeliverable { country: country("AQ"), why };
    assert_eq!(refusal(shop.ships(&order).await), refused);
    assert_eq!(refusal(shop.ships(&order).await), refused);
    assert_eq!(shop.pieces_of(HEART).await, (94, 6, 0, 100));
    assert_eq!(shop.events_of(&order).await.last().unwrap(), "shipment.refused");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_address_that_was_erased_is_refused_and_one_on_record_is_used(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let address_id = AddressId::of(sqlx::types::Uuid::from_u128(7));
    let (homeless, at_home) = (
        sent_to(order(1), "GB", Some(AddressId::of(sqlx::types::Uuid::from_u128(8)))),
        sent_to(order(2), "GB", Some(address_id)),
    );
    sqlx::query!(
        r#"
        insert into customers.addresses
            (address_id, customer_id, name, line1, city, postal_code, country)
        values ($1, '17850', 'Ada Lovelace', '12 St James''s Square', 'London', 'SW1Y 4JH', 'GB')
        "#,
        address_id.uuid(),
    )
    .execute(&shop.owner)
    .await
    .unwrap();
    shop.takes_up_to_posting(&homeless).await;
    assert!(matches!(refusal(shop.ships(&homeless).await), Rejection::AddressUndeliverable { .. }));
    shop.takes_up_to_posting(&at_home).await;
    shop.ships(&at_home).await.unwrap();
    assert_eq!(carrier_records(&shop).await, (1, 0));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_expired_reservation_is_not_shipped(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.places(&order).await;
    shop.reserves_for(&order, Duration::ZERO).await.unwrap();
    stock::release_expired(&shop.db, 10).await.unwrap();
    assert_eq!(refusal(shop.ships(&order).await), Rejection::ReservationExpired);
    assert_eq!(refusal(shop.ships(&order).await), Rejection::ReservationExpired);
    assert_eq!(carrier_records(&shop).await, (0, 0));
    assert_eq!(shop.pieces_of(HEART).await, (100, 0, 0, 100));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_booking_whose_answer_is_lost_is_found_again_and_not_repeated(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    trouble(&shop, &order.key(StepName::ShipOrder).to_string(), "book-lost", 1).await;
    assert_unavailable(shop.ships(&order).await, None);
    shop.ships(&order).await.unwrap();
    assert_eq!(carrier_records(&shop).await, (1, 0));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_booking_whose_answer_is_lost_is_called_off_all_the_same(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    trouble(&shop, "GB", "book-lost", 1).await;
    assert_unavailable(shop.ships(&order).await, None);
    shop.cancels_shipment(&order).await.unwrap();
    shop.cancels_shipment(&order).await.unwrap();
    assert_eq!(carrier_records(&shop).await, (0, 1));
    assert_eq!(shop.pieces_of(HEART).await, (94, 6, 0, 100));
    assert_eq!(shop.events_of(&order).await.last().unwrap(), "shipment.cancelled");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_carrier_in_trouble_is_asked_again_or_reported_as_it_says(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    trouble(&shop, "GB", "book-unavailable", 1).await;
    assert_unavailable(shop.ships(&order).await, A_SECOND);
    trouble(&shop, "GB", "book-broken", 1).await;
    invalid_answer(shop.ships(&order).await);
    assert_eq!(carrier_records(&shop).await, (0, 0));
    shop.ships(&order).await.unwrap();
    trouble(&shop, "GB", "cancel-unavailable", 1).await;
    assert_unavailable(shop.cancels_shipment(&order).await, A_SECOND);
    trouble(&shop, "GB", "cancel-broken", 1).await;
    invalid_answer(shop.cancels_shipment(&order).await);
    assert_eq!(carrier_records(&shop).await, (1, 0));
    shop.cancels_shipment(&order).await.unwrap();
    assert_eq!(carrier_records(&shop).await, (0, 1));
}

/// The sandbox, with an answer that is held up until it is told to go on.
struct HeldUp<'shop> {
    carrier: &'shop SandboxCarrier,
    booked: Notify,
    go_on: Notify,
}

#[async_trait]
impl Carrier for HeldUp<'_> {
    async fn book(&self, booking: &Booking) -> Result<Shipment, CarrierError> {
        let shipment = self.carrier.book(booking).await;
        self.booked.notify_one();
        self.go_on.notified().await;
        shipment
    }

    async fn cancel(&self, reference: StepKey) -> Result<Option<Shipment>, CarrierError> {
        self.carrier.cancel(reference).await
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_zombie_parcel_is_not_sent_after_its_order_was_unwound(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    let carrier = HeldUp { carrier: &shop.carrier, booked: Notify::new(), go_on: Notify::new() };
    let unwind = async {
        carrier.booked.notified().await;
        shop.cancels_shipment(&order).await.unwrap();
        shop.releases(&order).await.unwrap();
        carrier.go_on.notify_one();
    };
    let (worker, key) = (another_worker(), order.key(StepName::ShipOrder));
    let (answer, ()) = futures::join!(ship(&shop.db, &worker, &carrier, key), unwind);
    assert_eq!(refusal(answer), LATE);
    assert_eq!(carrier_records(&shop).await, (0, 1));
    assert_eq!(shop.pieces_of(HEART).await, (100, 0, 0, 100));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_reservation_that_expires_while_the_carrier_answers_is_not_shipped(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.places(&order).await;
    shop.reserves_for(&order, Duration::ZERO).await.unwrap();
    let carrier = HeldUp { carrier: &shop.carrier, booked: Notify::new(), go_on: Notify::new() };
    let sweep = async {
        carrier.booked.notified().await;
        stock::release_expired(&shop.db, 10).await.unwrap();
        carrier.go_on.notify_one();
    };
    let (worker, key) = (another_worker(), order.key(StepName::ShipOrder));
    let (answer, ()) = futures::join!(ship(&shop.db, &worker, &carrier, key), sweep);
    assert_eq!(refusal(answer), Rejection::ReservationExpired);
    assert_eq!(carrier_records(&shop).await, (0, 1));
    assert_eq!(shop.pieces_of(HEART).await, (100, 0, 0, 100));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_parcel_that_has_left_for_good_is_accepted_once_and_its_goods_are_sold(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    let key = order.key(StepName::ShipOrder).to_string();
    trouble(&shop, &key, "book-lost", 1).await;
    assert_unavailable(shop.ships(&order).await, None);
    shop.unwinds(&order).await;
    trouble(&shop, "GB", "cancel-broken", 1).await;
    invalid_answer(shop.cancels_shipment(&order).await);

    shop.accepts_shipment(&order).await.unwrap();
    assert_eq!(shop.pieces_of(HEART).await, (94, 0, 6, 100));
    assert_eq!(shop.fulfilment_of(&order).await, "shipped");
    assert_eq!(shop.events_of(&order).await.last().unwrap(), "order.shipped");
    let decided = shop.events_of(&order).await.iter().rev().nth(1).cloned();
    assert_eq!(decided.as_deref(), Some("order.attention-resolved"), "its own note was skipped");
    let unknown = Shipment { tracking: key };
    assert_eq!(shop.ships(&order).await.unwrap(), unknown, "the tombstone is gone");
    let (row, events) = (shop.row_of(&order).await, shop.events_of(&order).await);
    shop.accepts_shipment(&order).await.unwrap();
    assert_eq!(shop.row_of(&order).await, row);
    assert_eq!(shop.events_of(&order).await, events);
    assert_eq!(shop.pieces_of(HEART).await, (94, 0, 6, 100));
    assert_eq!(carrier_records(&shop).await, (1, 0));
    shop.recognises(&order).await.unwrap();
    assert_eq!(shop.status_of(&order).await, "completed");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_parcel_that_was_on_record_keeps_its_tracking_number_when_it_is_accepted(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    let shipment = shop.ships(&order).await.unwrap();
    shop.unwinds(&order).await;
    trouble(&shop, "GB", "cancel-broken", 1).await;
    invalid_answer(shop.cancels_shipment(&order).await);
    shop.accepts_shipment(&order).await.unwrap();
    assert_eq!(shop.ships(&order).await.unwrap(), shipment);
    assert_eq!(shop.pieces_of(HEART).await, (94, 0, 6, 100));
    let recorded = sqlx::query!("select tracking, cancelled_at from shipping.shipments");
    let recorded = recorded.fetch_one(&shop.db).await.unwrap();
    assert_eq!((recorded.tracking, recorded.cancelled_at), (shipment.tracking, None));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn only_a_shipment_that_was_to_be_recalled_is_accepted(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    shop.accepts_shipment(&order).await.unwrap();
    assert_eq!(shop.fulfilment_of(&order).await, "reserved");
    assert_eq!(shop.pieces_of(HEART).await, (94, 6, 0, 100));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_parcel_that_is_accepted_after_its_reservation_expired_takes_its_goods_all_the_same(
    db: PgPool,
) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.places(&order).await;
    shop.reserves_for(&order, Duration::ZERO).await.unwrap();
    trouble(&shop, "GB", "book-lost", 1).await;
    assert_unavailable(shop.ships(&order).await, None);
    shop.unwinds(&order).await;
    trouble(&shop, "GB", "cancel-broken", 1).await;
    invalid_answer(shop.cancels_shipment(&order).await);
    assert_eq!(stock::release_expired(&shop.db, 10).await.unwrap(), 1, "while a person decides");
    shop.accepts_shipment(&order).await.unwrap();
    assert_eq!(shop.fulfilment_of(&order).await, "shipped");
    assert_eq!(shop.pieces_of(HEART).await, (94, 0, 6, 100));
    shop.accepts_shipment(&order).await.unwrap();
    assert_eq!(shop.pieces_of(HEART).await, (94, 0, 6, 100));
    let moved = sqlx::query_scalar!(
        r#"
        select array_agg(reason order by movement_id) as "reasons!"
        from inventory.movements where sku = $1
        "#,
        HEART,
    );
    let moved = moved.fetch_one(&shop.db).await.unwrap();
    assert_eq!(moved, ["received", "reserved", "expired", "sold"]);
}
