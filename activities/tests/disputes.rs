//! Disputes are recorded and posted once, whatever the order of the snapshots; the parcel is held,
//! nothing is refunded twice, and an operator is asked.

use std::time::Duration;

use activities::disputes::{Applied, apply};
use activities::shipping::port::{
    Booking, Capabilities, Carrier, CarrierError, Consignment, ShipmentId,
};
use activities::{ActivityFault, payment, shipping};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use domain::dispute::{DisputeFacts, DisputeStatus, Movement, MovementKind};
use domain::refund::Ask;
use domain::{Money, Order, Rejection, StepName};
use runtime::schema::MIGRATIONS;
use rust_decimal::Decimal;
use sqlx::PgPool;
use strum::IntoEnumIterator as _;
use testkit::pounds;

use crate::refunds::{asks, completed, debit_of, issues, parts, refused, requested};
use crate::shipping::loses_parcel;
use crate::support::{
    Shop, another_worker, assert_unavailable, cancelled, invalid_answer, order, refusal,
};

/// The retry delay while a dispute is open.
const SOON: Option<Duration> = Some(Duration::from_secs(30));

const FEE: &str = "15.00";

/// The provider's id of the order's payment.
async fn payment_of(shop: &Shop, order: &Order) -> String {
    let reference = sqlx::query_scalar!(
        "select provider_reference from payments.charges where order_id = $1",
        order.order_id.uuid(),
    );
    reference.fetch_one(&shop.db).await.unwrap()
}

fn moved(reference: &str, kind: MovementKind, amount: Money) -> Movement {
    Movement { reference: reference.to_owned(), kind, amount }
}

fn withdrawn(order: &Order) -> Vec<Movement> {
    vec![
        moved("txn_1", MovementKind::Withdrawn, order.totals.total),
        moved("txn_1", MovementKind::Fee, pounds(FEE)),
    ]
}

fn reinstated(order: &Order) -> Vec<Movement> {
    let back = moved("txn_2", MovementKind::Reinstated, order.totals.total);
    withdrawn(order).into_iter().chain([back]).collect()
}

fn due() -> DateTime<Utc> {
    DateTime::from_timestamp(1_793_534_400, 0).unwrap()
}

/// A dispute about the order's whole payment.
async fn facts(
    shop: &Shop,
    order: &Order,
    status: DisputeStatus,
    movements: Vec<Movement>,
) -> DisputeFacts {
    let payment_reference = payment_of(shop, order).await;
    DisputeFacts {
        dispute_id: format!("dp_{payment_reference}"),
        payment_reference,
        amount: order.totals.total,
        status,
        reason: "fraudulent".to_owned(),
        evidence_due: Some(due()),
        movements,
    }
}

/// The bank has taken the payment, and waits for an answer.
async fn is_disputed(shop: &Shop, order: &Order) {
    let taken = facts(shop, order, DisputeStatus::NeedsResponse, withdrawn(order)).await;
    assert_eq!(apply(&shop.db, &taken).await.unwrap(), Applied::Changed);
}

async fn is_won(shop: &Shop, order: &Order) {
    let won = facts(shop, order, DisputeStatus::Won, reinstated(order)).await;
    assert_eq!(apply(&shop.db, &won).await.unwrap(), Applied::Changed);
}

async fn is_lost(shop: &Shop, order: &Order) {
    let lost = facts(shop, order, DisputeStatus::Lost, withdrawn(order)).await;
    assert_eq!(apply(&shop.db, &lost).await.unwrap(), Applied::Changed);
}

/// The balances of the order's entries: payment clearing, disputed payments, fees and losses.
async fn balances(shop: &Shop, order: &Order) -> [Decimal; 4] {
    [
        debit_of(shop, order, "payment-clearing").await,
        debit_of(shop, order, "disputed-payments").await,
        debit_of(shop, order, "dispute-fees").await,
        debit_of(shop, order, "dispute-losses").await,
    ]
}

fn signed(amount: &str) -> Decimal {
    amount.parse().unwrap()
}

fn fee() -> Decimal {
    signed(FEE)
}

fn total(order: &Order) -> Decimal {
    order.totals.total.amount()
}

fn nothing() -> Decimal {
    Decimal::ZERO
}

/// The balance of clearing after the fee.
fn less_the_fee(order: &Order) -> Decimal {
    order.totals.total.checked_sub(pounds(FEE)).unwrap().amount()
}

/// The keys of the disputes' journal entries, which are those of the movements.
async fn booked(shop: &Shop, order: &Order) -> Vec<String> {
    let keys = sqlx::query_scalar!(
        "select key from ledger.transactions where order_id = $1 and key like 'dispute:%'
         order by transaction_id",
        order.order_id.uuid(),
    );
    keys.fetch_all(&shop.db).await.unwrap()
}

async fn told_of_disputes(shop: &Shop, order: &Order) -> Vec<String> {
    let mut events = shop.events_of(order).await;
    events.retain(|event| event.contains("dispute"));
    events
}

/// Whether an operator is asked to answer the order's first dispute, and whether somebody has dealt
/// with it.
async fn asked_and_released(shop: &Shop, order: &Order) -> (bool, bool) {
    let row = sqlx::query!(
        r#"select asked_at is not null as "is_asked!", released_at is not null as "is_released!"
           from payments.disputes where order_id = $1 and number = 1"#,
        order.order_id.uuid(),
    );
    let row = row.fetch_one(&shop.db).await.unwrap();
    (row.is_asked, row.is_released)
}

/// Records that somebody has dealt with the order's first dispute, as the starter does.
async fn releases(shop: &Shop, order: &Order) -> String {
    let outcome = sqlx::query_scalar!(
        r#"select payments.release_dispute($1, 1, 'Ada', 'the customer has called') as "outcome!""#,
        order.order_id.uuid(),
    );
    outcome.fetch_one(&shop.starter).await.unwrap()
}

async fn shipments_of(shop: &Shop, order: &Order, state: &str) -> i64 {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from sandbox_carrier.shipments
           where starts_with(reference, $1) and state = $2"#,
        order.order_id.to_string(),
        state,
    );
    count.fetch_one(&shop.db).await.unwrap()
}

async fn refunds_at_the_provider(shop: &Shop, order: &Order) -> i64 {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!"
           from sandbox_provider.refunds join sandbox_provider.payments using (payment_id)
           where merchant_reference = $1"#,
        order.order_id.to_string(),
    );
    count.fetch_one(&shop.db).await.unwrap()
}

async fn gives_back(shop: &Shop, order: &Order) -> Result<(), ActivityFault> {
    payment::refund(&shop.db, &shop.provider, order.key(StepName::CapturePayment)).await
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_a_bank_takes_back_is_booked_once_and_an_operator_is_asked(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    let taken = facts(&shop, &order, DisputeStatus::NeedsResponse, withdrawn(&order)).await;
    let (one, other) = futures::join!(apply(&shop.db, &taken), apply(&shop.db, &taken));
    let mut answers = [one.unwrap(), other.unwrap()];
    answers.sort_by_key(|answer| *answer == Applied::Known);
    assert_eq!(answers, [Applied::Changed, Applied::Known]);
    assert_eq!(apply(&shop.db, &taken).await.unwrap(), Applied::Known);

    assert_eq!(shop.payment_of(&order).await, "disputed");
    assert_eq!(shop.status_of(&order).await, "completed");
    assert_eq!(asked_and_released(&shop, &order).await, (true, false));
    assert_eq!(balances(&shop, &order).await, [signed("-15"), total(&order), fee(), nothing()]);
    let dispute = &taken.dispute_id;
    let keys = ["withdrawn", "fee"].map(|kind| format!("dispute:{dispute}:txn_1:{kind}"));
    assert_eq!(booked(&shop, &order).await, keys);
    let told = ["order.dispute-opened", "ledger.dispute-posted", "ledger.dispute-posted"];
    assert_eq!(told_of_disputes(&shop, &order).await, told);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn in_whatever_order_snapshots_come_the_record_is_the_same(db: PgPool) {
    use DisputeStatus as S;
    let shop = Shop::stocked(db).await;
    for (number, places) in
        (1..).zip([[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1], [3, 3, 0, 3]])
    {
        let order = completed(&shop, number).await;
        let course = [
            facts(&shop, &order, S::WarningNeedsResponse, vec![]).await,
            facts(&shop, &order, S::NeedsResponse, withdrawn(&order)).await,
            facts(&shop, &order, S::UnderReview, withdrawn(&order)).await,
            facts(&shop, &order, S::Won, reinstated(&order)).await,
        ];
        for place in places {
            let before = shop.row_of(&order).await;
            let applied = apply(&shop.db, &course[place]).await.unwrap();
            let is_unchanged = shop.row_of(&order).await == before;
            assert_eq!(applied == Applied::Known, is_unchanged, "{places:?} at {place}");
        }
        assert_eq!(shop.payment_of(&order).await, "paid", "{places:?}");
        let expected = [less_the_fee(&order), nothing(), fee(), nothing()];
        assert_eq!(balances(&shop, &order).await, expected, "{places:?}");
        assert_eq!(booked(&shop, &order).await.len(), 3, "{places:?}");
        assert!(!asked_and_released(&shop, &order).await.0, "{places:?}");
        let closed = told_of_disputes(&shop, &order).await;
        let closed = closed.iter().filter(|it| *it == "order.dispute-closed").count();
        assert_eq!(closed, 1, "{places:?}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_question_of_the_banks_takes_no_money_and_leaves_the_payment_as_it_is(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    let asked = facts(&shop, &order, DisputeStatus::WarningNeedsResponse, vec![]).await;
    apply(&shop.db, &asked).await.unwrap();
    assert_eq!(shop.payment_of(&order).await, "paid");
    assert_eq!(asked_and_released(&shop, &order).await, (true, false));
    // A refund ends an inquiry.
    let part = parts(&order, &[], &Ask::Amount(pounds("10.00")));
    assert_eq!(asks(&shop, &order, 1, &[], part).await, requested(1));
    issues(&shop, &order, 1).await.unwrap();
    let closed = facts(&shop, &order, DisputeStatus::WarningClosed, vec![]).await;
    apply(&shop.db, &closed).await.unwrap();
    assert_eq!(shop.payment_of(&order).await, "partially-refunded");
    assert_eq!(asked_and_released(&shop, &order).await, (false, false));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_dispute_that_is_won_makes_the_payment_what_it_was(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    let part = parts(&order, &[], &Ask::Amount(pounds("10.00")));
    asks(&shop, &order, 1, &[], part).await;
    issues(&shop, &order, 1).await.unwrap();
    is_disputed(&shop, &order).await;
    assert_eq!(shop.payment_of(&order).await, "disputed");
    // The bank does not know of the refund: more is withdrawn than was left.
    assert_eq!(debit_of(&shop, &order, "payment-clearing").await, signed("-25"));
    is_won(&shop, &order).await;
    assert_eq!(shop.payment_of(&order).await, "partially-refunded");
    assert_eq!(debit_of(&shop, &order, "disputed-payments").await, nothing());
    let left = order.totals.total.checked_sub(pounds("25.00")).unwrap();
    assert_eq!(debit_of(&shop, &order, "payment-clearing").await, left.amount());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_is_lost_is_written_off_and_recovered_if_the_bank_thinks_again(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    is_disputed(&shop, &order).await;
    is_lost(&shop, &order).await;
    assert_eq!(shop.payment_of(&order).await, "refunded");
    let lost = [signed("-15"), nothing(), fee(), total(&order)];
    assert_eq!(balances(&shop, &order).await, lost);
    is_won(&shop, &order).await;
    assert_eq!(shop.payment_of(&order).await, "paid");
    let won = [less_the_fee(&order), nothing(), fee(), nothing()];
    assert_eq!(balances(&shop, &order).await, won);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn of_two_disputes_of_a_payment_one_that_is_open_counts(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    is_disputed(&shop, &order).await;
    let first = facts(&shop, &order, DisputeStatus::NeedsResponse, vec![]).await;
    let second = DisputeFacts { dispute_id: "dp_another".to_owned(), ..first };
    assert_eq!(apply(&shop.db, &second).await.unwrap(), Applied::Changed);
    is_won(&shop, &order).await;
    assert_eq!(shop.payment_of(&order).await, "disputed");
    let second = DisputeFacts { status: DisputeStatus::Won, ..second };
    apply(&shop.db, &second).await.unwrap();
    assert_eq!(shop.payment_of(&order).await, "paid");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_parcel_is_held_while_a_dispute_is_open_and_goes_out_once_it_is_won(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = order(1);
    shop.takes_up_to_posting(&order).await;
    is_disputed(&shop, &order).await;
    assert_unavailable(shop.ships(&order).await, SOON);
    assert_eq!(shop.fulfilment_of(&order).await, "reserved");
    assert_eq!(shipments_of(&shop, &order, "drafted").await, 0, "nobody was asked to fetch it");
    is_won(&shop, &order).await;
    shop.ships(&order).await.unwrap();
    assert_eq!(shop.fulfilment_of(&order).await, "shipped");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_parcel_that_the_record_has_lost_is_called_off_whatever_the_bank_says(db: PgPool) {
    let shop = Shop::stocked(db).await;
    for (number, is_decided) in [(1, false), (2, true)] {
        let order = order(number);
        shop.takes_up_to_posting(&order).await;
        shop.ships(&order).await.unwrap();
        loses_parcel(&shop, &order).await;
        is_disputed(&shop, &order).await;
        if is_decided {
            is_lost(&shop, &order).await;
        }
        shop.cancels_shipment(&order).await.unwrap();
        assert_eq!(shipments_of(&shop, &order, "purchased").await, 0);
        assert_eq!(shipments_of(&shop, &order, "cancelled").await, 1);
    }
}

/// A carrier that delays its answer until a customer's bank has taken the payment back.
struct Meanwhile<'a> {
    shop: &'a Shop,
    dispute: DisputeFacts,
}

#[async_trait]
impl Carrier for Meanwhile<'_> {
    fn capabilities(&self) -> Capabilities {
        self.shop.carrier.capabilities()
    }

    async fn draft(&self, booking: &Booking) -> Result<ShipmentId, CarrierError> {
        apply(&self.shop.db, &self.dispute).await.unwrap();
        self.shop.carrier.draft(booking).await
    }

    async fn purchase(&self, shipment: &ShipmentId) -> Result<Consignment, CarrierError> {
        self.shop.carrier.purchase(shipment).await
    }

    async fn cancel(&self, shipment: &ShipmentId) -> Result<Consignment, CarrierError> {
        self.shop.carrier.cancel(shipment).await
    }

    async fn look_up(&self, shipment: &ShipmentId) -> Result<Consignment, CarrierError> {
        self.shop.carrier.look_up(shipment).await
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_dispute_that_comes_while_a_parcel_is_drafted_holds_it(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = order(1);
    shop.takes_up_to_posting(&order).await;
    let dispute = facts(&shop, &order, DisputeStatus::NeedsResponse, withdrawn(&order)).await;
    let carrier = Meanwhile { shop: &shop, dispute };
    let key = order.key(StepName::ShipOrder);
    let held = shipping::ship(&shop.db, &another_worker(), &carrier, key).await;
    assert_unavailable(held, SOON);
    assert_eq!(shipments_of(&shop, &order, "purchased").await, 0);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_parcel_whose_label_is_bought_is_recorded_though_a_dispute_came_meanwhile(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = order(1);
    shop.takes_up_to_posting(&order).await;
    sqlx::query!(
        "insert into sandbox_carrier.behaviours (call, whom, behaviour, remaining)
         values ('purchase', '*', 'lost', 1)",
    )
    .execute(&shop.owner)
    .await
    .unwrap();
    assert_unavailable(shop.ships(&order).await, None);
    is_disputed(&shop, &order).await;
    shop.ships(&order).await.unwrap();
    assert_eq!(shop.fulfilment_of(&order).await, "shipped");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn somebody_who_has_dealt_with_a_dispute_lets_the_parcel_go(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = order(1);
    shop.takes_up_to_posting(&order).await;
    let asked = facts(&shop, &order, DisputeStatus::WarningNeedsResponse, vec![]).await;
    apply(&shop.db, &asked).await.unwrap();
    assert_unavailable(shop.ships(&order).await, SOON);
    assert_eq!(releases(&shop, &order).await, "released");
    assert_eq!(releases(&shop, &order).await, "not-open", "once");
    assert_eq!(asked_and_released(&shop, &order).await, (false, true));
    // The inquiry was dealt with, but not the dispute that followed from it.
    is_disputed(&shop, &order).await;
    assert_eq!(asked_and_released(&shop, &order).await, (true, false));
    assert_unavailable(shop.ships(&order).await, SOON);
    assert_eq!(releases(&shop, &order).await, "released");
    let review = facts(&shop, &order, DisputeStatus::UnderReview, withdrawn(&order)).await;
    apply(&shop.db, &review).await.unwrap();
    shop.ships(&order).await.unwrap();
    let told: Vec<_> = told_of_disputes(&shop, &order).await;
    assert_eq!(told.iter().filter(|it| *it == "order.dispute-released").count(), 2);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_whose_payment_was_lost_is_undone_without_giving_the_money_back_again(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = order(1);
    shop.takes_up_to_posting(&order).await;
    is_disputed(&shop, &order).await;
    is_lost(&shop, &order).await;
    assert_eq!(refusal(shop.ships(&order).await), Rejection::PaymentDisputed);
    shop.unwinds(&order).await;
    shop.cancels_shipment(&order).await.unwrap();
    shop.refunds(&order).await.unwrap();
    shop.refunds(&order).await.unwrap();
    shop.reverses(&order).await.unwrap();
    shop.releases(&order).await.unwrap();
    shop.ends(&order, cancelled("the customer has the money")).await;
    assert_eq!(refunds_at_the_provider(&shop, &order).await, 0);
    assert_eq!(shop.payment_of(&order).await, "refunded");
    // Only the fee remains as a cost.
    assert_eq!(balances(&shop, &order).await, [signed("-15"), nothing(), fee(), nothing()]);
    assert_eq!(debit_of(&shop, &order, "customer-deposits").await, nothing());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_payment_that_a_bank_has_is_given_back_only_once_it_is_the_shops_again(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = order(1);
    shop.takes_up_to_posting(&order).await;
    is_disputed(&shop, &order).await;
    shop.unwinds(&order).await;
    assert_unavailable(gives_back(&shop, &order).await, SOON);
    assert_eq!(refunds_at_the_provider(&shop, &order).await, 0);
    is_won(&shop, &order).await;
    gives_back(&shop, &order).await.unwrap();
    shop.reverses(&order).await.unwrap();
    assert_eq!(refunds_at_the_provider(&shop, &order).await, 1);
    assert_eq!(shop.payment_of(&order).await, "refunded");
    assert_eq!(balances(&shop, &order).await, [signed("-15"), nothing(), fee(), nothing()]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_payment_that_a_bank_has_is_not_given_back_by_a_refund(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    let part = parts(&order, &[], &Ask::Amount(pounds("10.00")));
    // A refund was requested before, and has not been processed yet.
    assert_eq!(asks(&shop, &order, 1, &[], part).await, requested(1));
    is_disputed(&shop, &order).await;
    let why = "the customer's bank disputes the payment".to_owned();
    assert_eq!(refusal(issues(&shop, &order, 1).await), Rejection::RefundFailed { why });
    assert_eq!(refunds_at_the_provider(&shop, &order).await, 0);
    let other = completed(&shop, 2).await;
    is_disputed(&shop, &other).await;
    assert_eq!(asks(&shop, &other, 1, &[], part).await, refused("not-refundable"));

    // Once the dispute is won, a person has the refund retried.
    is_won(&shop, &order).await;
    issues(&shop, &order, 1).await.unwrap();
    assert_eq!(shop.payment_of(&order).await, "partially-refunded");
    is_lost(&shop, &other).await;
    assert_eq!(asks(&shop, &other, 1, &[], part).await, refused("not-refundable"), "it is lost");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_that_was_on_its_way_does_not_end_a_dispute(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    let part = parts(&order, &[], &Ask::Amount(pounds("10.00")));
    asks(&shop, &order, 1, &[], part).await;
    sqlx::query!(
        "insert into sandbox_provider.behaviours (call, whom, behaviour, remaining)
         values ('refund', '*', 'lost', 1)",
    )
    .execute(&shop.owner)
    .await
    .unwrap();
    assert_unavailable(issues(&shop, &order, 1).await, None);
    is_disputed(&shop, &order).await;
    // It was made, and its answer was lost.
    issues(&shop, &order, 1).await.unwrap();
    assert_eq!(shop.payment_of(&order).await, "disputed");
    is_won(&shop, &order).await;
    assert_eq!(shop.payment_of(&order).await, "partially-refunded");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn more_time_to_answer_is_news_and_less_is_old(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    is_disputed(&shop, &order).await;
    let taken = facts(&shop, &order, DisputeStatus::NeedsResponse, withdrawn(&order)).await;
    let later = due().checked_add_signed(TimeDelta::days(7));
    let longer = DisputeFacts { evidence_due: later, ..taken.clone() };
    assert_eq!(apply(&shop.db, &longer).await.unwrap(), Applied::Changed);
    assert_eq!(apply(&shop.db, &taken).await.unwrap(), Applied::Known);
    let kept = sqlx::query_scalar!("select evidence_due from payments.disputes");
    assert_eq!(kept.fetch_one(&shop.db).await.unwrap(), later);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_dispute_of_nobodys_payment_is_not_this_shops(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    let taken = facts(&shop, &order, DisputeStatus::NeedsResponse, withdrawn(&order)).await;
    let elsewhere = DisputeFacts { payment_reference: "pi_elsewhere".to_owned(), ..taken };
    assert_eq!(apply(&shop.db, &elsewhere).await.unwrap(), Applied::Unmatched);
    assert_eq!(told_of_disputes(&shop, &order).await, Vec::<String>::new());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_cannot_be_in_a_dispute_leaves_nothing_on_record(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    let good = facts(&shop, &order, DisputeStatus::NeedsResponse, withdrawn(&order)).await;
    let euros = Money::new(Decimal::ONE, domain::Currency::EUR).unwrap();
    for (what, bad) in [
        ("an id", DisputeFacts { dispute_id: "dp\0".to_owned(), ..good.clone() }),
        (
            "a movement of nothing",
            DisputeFacts {
                movements: vec![moved("txn_1", MovementKind::Withdrawn, pounds("0"))],
                ..good.clone()
            },
        ),
        (
            "a movement of the shop's",
            DisputeFacts {
                movements: vec![moved("txn_1", MovementKind::Lost, pounds("1"))],
                ..good.clone()
            },
        ),
        (
            "money of another currency that was withdrawn",
            DisputeFacts {
                movements: vec![moved("txn_1", MovementKind::Withdrawn, euros)],
                ..good.clone()
            },
        ),
    ] {
        let told = invalid_answer(apply(&shop.db, &bad).await);
        assert!(told.contains("recording a dispute"), "{what}: {told}");
    }
    assert_eq!(told_of_disputes(&shop, &order).await, Vec::<String>::new());
    assert_eq!(booked(&shop, &order).await, Vec::<String>::new());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_database_knows_the_same_disputes_as_the_shop(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    is_disputed(&shop, &order).await;
    for status in DisputeStatus::iter() {
        let row = sqlx::query!(
            "update payments.disputes set status = $1 returning is_open, has_payment",
            status.name(),
        );
        let row = row.fetch_one(&shop.owner).await.unwrap();
        let twins = (status.is_open(), status.has_payment());
        assert_eq!((row.is_open, row.has_payment), twins, "{status:?}");
    }
    for kind in MovementKind::iter() {
        sqlx::query!(
            "insert into payments.dispute_movements (dispute_id, reference, kind, currency, amount)
             select dispute_id, 'by hand', $1, 'GBP', 1 from payments.disputes",
            kind.name(),
        )
        .execute(&shop.owner)
        .await
        .unwrap();
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_a_dispute_has_moved_is_never_changed(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    is_disputed(&shop, &order).await;
    for statement in [
        "update payments.dispute_movements set amount = 1",
        "delete from payments.dispute_movements",
    ] {
        assert!(sqlx::raw_sql(statement).execute(&shop.owner).await.is_err(), "{statement}");
    }
}
