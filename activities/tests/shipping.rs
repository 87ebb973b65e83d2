//! One order, one parcel, and its goods leave the stock together with it.

use std::time::Duration;

use activities::shipping::port::{
    Booking, Capabilities, Carrier, CarrierError, Consignment, ShipmentId,
};
use activities::shipping::sandbox::SandboxCarrier;
use activities::shipping::{cancel, ship};
use activities::stock;
use async_trait::async_trait;
use domain::{AddressId, Order, Rejection, Shipment, StepName};
use runtime::schema::MIGRATIONS;
use sqlx::PgPool;
use tokio::sync::Notify;

use crate::support::{
    HEART, Shop, TROUBLES, another_worker, assert_unavailable, breakage, country, fails,
    invalid_answer, order, order_of, refusal, sent_to,
};

const LATE: Rejection = Rejection::AlreadyUndone { step: StepName::ShipOrder };
const A_SECOND: Option<Duration> = Some(Duration::from_secs(1));

/// The carrier's records: parcels to pick up, and cancelled parcels. A draft does not count.
async fn carrier_records(shop: &Shop) -> (i64, i64) {
    let row = sqlx::query!(
        r#"
        select
            count(*) filter (where state = 'purchased') as "to_fetch!",
            count(*) filter (where state = 'cancelled' and purchased_at is not null)
                as "called_off!"
        from sandbox_carrier.shipments
        "#
    );
    let row = row.fetch_one(&shop.db).await.unwrap();
    (row.to_fetch, row.called_off)
}

/// Injects a fault into the carrier's next call of this kind.
async fn trouble(shop: &Shop, whom: &str, call: &str, behaviour: &str) {
    sqlx::query!(
        "insert into sandbox_carrier.behaviours (call, whom, behaviour, retry_after, remaining)
         values ($1, $2, $3, '1', 1)",
        call,
        whom,
        behaviour,
    )
    .execute(&shop.owner)
    .await
    .unwrap();
}

/// Removes all faults of the carrier.
async fn no_more_trouble(shop: &Shop) {
    sqlx::query!("delete from sandbox_carrier.behaviours").execute(&shop.owner).await.unwrap();
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
        "insert into sandbox_carrier.shipments (reference, country, pieces) values ($1, 'GB', 8)",
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
    trouble(&shop, &order.key(StepName::ShipOrder).to_string(), "purchase", "lost").await;
    assert_unavailable(shop.ships(&order).await, None);
    shop.ships(&order).await.unwrap();
    assert_eq!(carrier_records(&shop).await, (1, 0));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_booking_whose_answer_is_lost_is_called_off_all_the_same(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    trouble(&shop, "GB", "purchase", "lost").await;
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
    for call in ["draft", "purchase"] {
        trouble(&shop, "GB", call, "unavailable").await;
        assert_unavailable(shop.ships(&order).await, A_SECOND);
        trouble(&shop, "GB", call, "html").await;
        invalid_answer(shop.ships(&order).await);
    }
    assert_eq!(carrier_records(&shop).await, (0, 0));
    shop.ships(&order).await.unwrap();
    for call in ["look-up", "cancel"] {
        trouble(&shop, "GB", call, "unavailable").await;
        assert_unavailable(shop.cancels_shipment(&order).await, A_SECOND);
        trouble(&shop, "GB", call, "html").await;
        invalid_answer(shop.cancels_shipment(&order).await);
    }
    assert_eq!(carrier_records(&shop).await, (1, 0));
    shop.cancels_shipment(&order).await.unwrap();
    assert_eq!(carrier_records(&shop).await, (0, 1));
}

/// The point at which a call to the carrier is delayed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    BeforeDraft,
    AfterDraft,
    BeforePurchase,
    AfterPurchase,
    BeforeCancel,
}

/// The sandbox, with calls that block until they are released.
struct HeldUp<'shop> {
    carrier: &'shop SandboxCarrier,
    moment: Moment,
    reached: Notify,
    go_on: Notify,
}

impl<'shop> HeldUp<'shop> {
    fn at(moment: Moment, shop: &'shop Shop) -> Self {
        Self { carrier: &shop.carrier, moment, reached: Notify::new(), go_on: Notify::new() }
    }

    async fn pass(&self, moment: Moment) {
        if self.moment == moment {
            self.reached.notify_one();
            self.go_on.notified().await;
        }
    }
}

#[async_trait]
impl Carrier for HeldUp<'_> {
    fn capabilities(&self) -> Capabilities {
        self.carrier.capabilities()
    }

    async fn draft(&self, booking: &Booking) -> Result<ShipmentId, CarrierError> {
        self.pass(Moment::BeforeDraft).await;
        let drafted = self.carrier.draft(booking).await;
        self.pass(Moment::AfterDraft).await;
        drafted
    }

    async fn purchase(&self, shipment: &ShipmentId) -> Result<Consignment, CarrierError> {
        self.pass(Moment::BeforePurchase).await;
        let purchased = self.carrier.purchase(shipment).await;
        self.pass(Moment::AfterPurchase).await;
        purchased
    }

    async fn cancel(&self, shipment: &ShipmentId) -> Result<Consignment, CarrierError> {
        self.pass(Moment::BeforeCancel).await;
        self.carrier.cancel(shipment).await
    }

    async fn look_up(&self, shipment: &ShipmentId) -> Result<Consignment, CarrierError> {
        self.carrier.look_up(shipment).await
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_zombie_parcel_is_not_sent_wherever_its_undo_overtakes_it(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let ends = [
        (Moment::BeforeDraft, 0),
        (Moment::AfterDraft, 0),
        (Moment::BeforePurchase, 0),
        (Moment::AfterPurchase, 1),
    ];
    for (number, (moment, called_off)) in (1..).zip(ends) {
        let order = order(number);
        shop.takes_up_to_posting(&order).await;
        let carrier = HeldUp::at(moment, &shop);
        let unwind = async {
            carrier.reached.notified().await;
            shop.cancels_shipment(&order).await.unwrap();
            shop.releases(&order).await.unwrap();
            carrier.go_on.notify_one();
        };
        let (worker, key) = (another_worker(), order.key(StepName::ShipOrder));
        let (answer, ()) = futures::join!(ship(&shop.db, &worker, &carrier, key), unwind);
        assert_eq!(refusal(answer), LATE, "overtaken at {moment:?}");
        assert_eq!(carrier_records(&shop).await, (0, called_off), "overtaken at {moment:?}");
        assert_eq!(shop.pieces_of(HEART).await, (100, 0, 0, 100));
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_label_that_is_bought_between_the_undos_question_and_its_cancel_is_called_off(
    db: PgPool,
) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    let buying = HeldUp::at(Moment::BeforePurchase, &shop);
    let cancelling = HeldUp::at(Moment::BeforeCancel, &shop);
    let (worker, undoer) = (another_worker(), another_worker());
    let key = order.key(StepName::ShipOrder);
    let zombie = async {
        assert_eq!(refusal(ship(&shop.db, &worker, &buying, key).await), LATE);
        assert_eq!(carrier_records(&shop).await, (1, 0));
        cancelling.go_on.notify_one();
    };
    let undo = async {
        buying.reached.notified().await;
        cancel(&shop.db, &undoer, &cancelling, key).await.unwrap();
    };
    let conductor = async {
        cancelling.reached.notified().await;
        buying.go_on.notify_one();
    };
    futures::join!(zombie, undo, conductor);
    assert_eq!(carrier_records(&shop).await, (0, 1));
    assert_eq!(shop.pieces_of(HEART).await, (94, 6, 0, 100));
    assert_eq!(shop.events_of(&order).await.last().unwrap(), "shipment.cancelled");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_parcel_whose_worker_died_is_called_off_by_its_undo(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    let held_up = HeldUp::at(Moment::AfterPurchase, &shop);
    let (worker, key) = (another_worker(), order.key(StepName::ShipOrder));
    tokio::select! {
        _ = ship(&shop.db, &worker, &held_up, key) => unreachable!("it is held up"),
        () = held_up.reached.notified() => {}
    }
    assert_eq!(carrier_records(&shop).await, (1, 0));
    shop.cancels_shipment(&order).await.unwrap();
    shop.cancels_shipment(&order).await.unwrap();
    assert_eq!(carrier_records(&shop).await, (0, 1));
    assert_eq!(shop.pieces_of(HEART).await, (94, 6, 0, 100));
}

/// The request is in flight when its connection breaks, and arrives when everything is over.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_purchase_that_lands_after_its_undo_finds_nothing(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    trouble(&shop, &order.order_id.to_string(), "purchase", "late").await;
    assert_unavailable(shop.ships(&order).await, None);
    shop.cancels_shipment(&order).await.unwrap();
    assert_eq!(shop.carrier.land_late_requests().await.unwrap(), 1);
    assert_eq!(carrier_records(&shop).await, (0, 0));
    assert_eq!(shop.pieces_of(HEART).await, (94, 6, 0, 100));
    assert_eq!(shop.events_of(&order).await.last().unwrap(), "ledger.posted", "nothing to tell");
    assert_eq!(shop.carrier.land_late_requests().await.unwrap(), 0, "it lands once");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_purchase_that_lands_when_its_goods_are_gone_finds_nothing(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.places(&order).await;
    shop.reserves_for(&order, Duration::ZERO).await.unwrap();
    trouble(&shop, "GB", "purchase", "late").await;
    assert_unavailable(shop.ships(&order).await, None);
    stock::release_expired(&shop.db, 10).await.unwrap();
    assert_eq!(refusal(shop.ships(&order).await), Rejection::ReservationExpired);
    assert_eq!(shop.carrier.land_late_requests().await.unwrap(), 1);
    assert_eq!(carrier_records(&shop).await, (0, 0));
    assert_eq!(shop.pieces_of(HEART).await, (100, 0, 0, 100));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_another_attempt_has_bought_is_called_off_before_a_refusal_is_answered(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.places(&order).await;
    shop.reserves_for(&order, Duration::ZERO).await.unwrap();
    let held_up = HeldUp::at(Moment::AfterPurchase, &shop);
    let refused = async {
        held_up.reached.notified().await;
        stock::release_expired(&shop.db, 10).await.unwrap();
        assert_eq!(refusal(shop.ships(&order).await), Rejection::ReservationExpired);
        assert_eq!(carrier_records(&shop).await, (0, 1));
        held_up.go_on.notify_one();
    };
    let (worker, key) = (another_worker(), order.key(StepName::ShipOrder));
    let (answer, ()) = futures::join!(ship(&shop.db, &worker, &held_up, key), refused);
    assert_eq!(refusal(answer), Rejection::ReservationExpired);
    assert_eq!(carrier_records(&shop).await, (0, 1));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_carrier_that_forgets_references_has_one_parcel(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    trouble(&shop, "*", "draft", "lost").await;
    assert_unavailable(shop.ships(&order).await, None);
    trouble(&shop, "*", "draft", "forgets").await;
    shop.ships(&order).await.unwrap();
    assert_eq!(carrier_records(&shop).await, (1, 0));
    let drafts = sqlx::query_scalar!(
        r#"select count(*) as "count!" from sandbox_carrier.shipments where state = 'drafted'"#
    );
    assert_eq!(drafts.fetch_one(&shop.db).await.unwrap(), 1, "and nobody purchases the other");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_shipment_that_the_carrier_has_called_off_is_refused(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    trouble(&shop, "*", "purchase", "lost").await;
    assert_unavailable(shop.ships(&order).await, None);
    carrier_calls_off(&shop).await;
    assert_eq!(refusal(shop.ships(&order).await), Rejection::CancelledByCarrier);
    assert_eq!(refusal(shop.ships(&order).await), Rejection::CancelledByCarrier);
    assert_eq!(shop.events_of(&order).await.last().unwrap(), "shipment.refused");
    shop.cancels_shipment(&order).await.unwrap();
    assert_eq!(shop.pieces_of(HEART).await, (94, 6, 0, 100));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_draft_that_the_carrier_has_called_off_is_refused_for_the_same_reason(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    let held_up = HeldUp::at(Moment::BeforePurchase, &shop);
    let calls_off = async {
        held_up.reached.notified().await;
        carrier_calls_off(&shop).await;
        held_up.go_on.notify_one();
    };
    let (worker, key) = (another_worker(), order.key(StepName::ShipOrder));
    let (answer, ()) = futures::join!(ship(&shop.db, &worker, &held_up, key), calls_off);
    assert_eq!(refusal(answer), Rejection::CancelledByCarrier);
    assert_eq!(carrier_records(&shop).await, (0, 0));
    assert_eq!(shop.pieces_of(HEART).await, (94, 6, 0, 100));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_shipment_that_is_not_found_is_waited_for_only_as_long_as_the_carrier_may_lag(
    db: PgPool,
) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    trouble(&shop, "*", "purchase", "lost").await;
    assert_unavailable(shop.ships(&order).await, None);
    // Stored an hour in the future: however long this test takes, the carrier may lag.
    was_drafted(&shop, -3_600).await;
    trouble(&shop, "*", "look-up", "not-found").await;
    assert_unavailable(shop.ships(&order).await, None);
    was_drafted(&shop, 3_600).await;
    trouble(&shop, "*", "look-up", "not-found").await;
    invalid_answer(shop.ships(&order).await);
    shop.ships(&order).await.unwrap();
    trouble(&shop, "*", "look-up", "not-found").await;
    invalid_answer(shop.cancels_shipment(&order).await);
    shop.cancels_shipment(&order).await.unwrap();
    assert_eq!(carrier_records(&shop).await, (0, 1));
}

/// The carrier cancels all its shipments.
async fn carrier_calls_off(shop: &Shop) {
    sqlx::query!("update sandbox_carrier.shipments set state = 'cancelled', cancelled_at = now()")
        .execute(&shop.owner)
        .await
        .unwrap();
}

/// Sets how long ago the shop stored its shipments' ids.
async fn was_drafted(shop: &Shop, seconds_ago: i32) {
    sqlx::query!(
        "update shipping.shipments set recorded_at = now() - make_interval(secs => $1::integer)",
        seconds_ago,
    )
    .execute(&shop.owner)
    .await
    .unwrap();
}

/// An order for one piece, with everything before its parcel done.
async fn to_be_shipped(shop: &Shop, number: u32) -> Order {
    let order = order_of(number, &[(HEART, 1)]);
    shop.takes_up_to_posting(&order).await;
    order
}

/// Every fault of each of these calls.
fn cells(calls: [&'static str; 2]) -> impl Iterator<Item = (&'static str, &'static str)> {
    calls.into_iter().flat_map(|call| TROUBLES.map(|behaviour| (call, behaviour)))
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whatever_goes_wrong_at_the_carrier_an_order_has_one_parcel_in_the_end(db: PgPool) {
    let shop = Shop::stocked(db).await;
    for (number, (call, behaviour)) in (1..).zip(cells(["draft", "purchase"])) {
        let order = to_be_shipped(&shop, number).await;
        trouble(&shop, "*", call, behaviour).await;
        fails(behaviour, shop.ships(&order)).await;
        no_more_trouble(&shop).await;
        shop.ships(&order).await.unwrap();
        shop.carrier.land_late_requests().await.unwrap();
        let parcels = (i64::from(number), 0);
        assert_eq!(carrier_records(&shop).await, parcels, "{call}: {behaviour}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whatever_goes_wrong_at_the_carrier_no_parcel_is_left_of_an_order_that_is_undone(
    db: PgPool,
) {
    let shop = Shop::stocked(db).await;
    for (number, (call, behaviour)) in (1..).zip(cells(["draft", "purchase"])) {
        let order = to_be_shipped(&shop, number).await;
        trouble(&shop, "*", call, behaviour).await;
        fails(behaviour, shop.ships(&order)).await;
        no_more_trouble(&shop).await;
        shop.cancels_shipment(&order).await.unwrap();
        shop.carrier.land_late_requests().await.unwrap();
        assert_eq!(refusal(shop.ships(&order).await), LATE);
        shop.releases(&order).await.unwrap();
        assert_eq!(carrier_records(&shop).await.0, 0, "{call}: {behaviour}");
        assert_eq!(shop.pieces_of(HEART).await, (100, 0, 0, 100), "{call}: {behaviour}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whatever_goes_wrong_while_a_parcel_is_called_off_it_is_called_off_once(db: PgPool) {
    let shop = Shop::stocked(db).await;
    for (number, (call, behaviour)) in (1..).zip(cells(["look-up", "cancel"])) {
        let order = to_be_shipped(&shop, number).await;
        shop.ships(&order).await.unwrap();
        trouble(&shop, "*", call, behaviour).await;
        fails(behaviour, shop.cancels_shipment(&order)).await;
        no_more_trouble(&shop).await;
        shop.cancels_shipment(&order).await.unwrap();
        shop.carrier.land_late_requests().await.unwrap();
        shop.releases(&order).await.unwrap();
        let called_off = (0, i64::from(number));
        assert_eq!(carrier_records(&shop).await, called_off, "{call}: {behaviour}");
        assert_eq!(shop.pieces_of(HEART).await, (100, 0, 0, 100), "{call}: {behaviour}");
        let events = shop.events_of(&order).await;
        let cancelled = events.iter().filter(|event| *event == "shipment.cancelled").count();
        assert_eq!(cancelled, 1, "{call}: {behaviour}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_reservation_that_expires_while_the_carrier_answers_is_not_shipped(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.places(&order).await;
    shop.reserves_for(&order, Duration::ZERO).await.unwrap();
    let carrier = HeldUp::at(Moment::AfterPurchase, &shop);
    let sweep = async {
        carrier.reached.notified().await;
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
    trouble(&shop, &key, "purchase", "lost").await;
    assert_unavailable(shop.ships(&order).await, None);
    shop.unwinds(&order).await;
    trouble(&shop, "GB", "cancel", "has-left").await;
    breakage(shop.cancels_shipment(&order).await);

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
    trouble(&shop, "GB", "cancel", "has-left").await;
    breakage(shop.cancels_shipment(&order).await);
    shop.accepts_shipment(&order).await.unwrap();
    assert_eq!(shop.ships(&order).await.unwrap(), shipment);
    assert_eq!(shop.pieces_of(HEART).await, (94, 0, 6, 100));
    let recorded = sqlx::query!("select tracking, cancelled_at from shipping.shipments");
    let recorded = recorded.fetch_one(&shop.db).await.unwrap();
    assert_eq!((recorded.tracking, recorded.cancelled_at), (Some(shipment.tracking), None));
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
    trouble(&shop, "GB", "purchase", "lost").await;
    assert_unavailable(shop.ships(&order).await, None);
    shop.unwinds(&order).await;
    trouble(&shop, "GB", "cancel", "has-left").await;
    breakage(shop.cancels_shipment(&order).await);
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

/// The order's record is older than its parcel, and `recover` has found that out.
pub(crate) async fn loses_parcel(shop: &Shop, order: &Order) {
    let id = order.order_id.uuid();
    let forgotten = sqlx::query!("delete from shipping.shipments where order_id = $1", id);
    forgotten.execute(&shop.owner).await.unwrap();
    let step = sqlx::query!(
        "delete from orders.step_keys where order_id = $1 and step = 'ship-order'",
        id,
    );
    step.execute(&shop.owner).await.unwrap();
    let noticed = sqlx::query!("insert into orders.set_back (order_id) values ($1)", id);
    noticed.execute(&shop.owner).await.unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_a_lost_run_has_handed_over_is_called_off_though_the_record_was_set_back(db: PgPool) {
    let shop = Shop::stocked(db).await;
    for (number, behaviour) in (1..).zip(TROUBLES) {
        let order = to_be_shipped(&shop, number).await;
        shop.ships(&order).await.unwrap();
        loses_parcel(&shop, &order).await;
        trouble(&shop, "*", "draft", behaviour).await;
        fails(behaviour, shop.cancels_shipment(&order)).await;
        no_more_trouble(&shop).await;
        shop.cancels_shipment(&order).await.unwrap();
        shop.cancels_shipment(&order).await.unwrap();
        shop.carrier.land_late_requests().await.unwrap();
        assert_eq!(carrier_records(&shop).await, (0, i64::from(number)), "{behaviour}");
        assert_eq!(refusal(shop.ships(&order).await), LATE);
        shop.releases(&order).await.unwrap();
    }
}
