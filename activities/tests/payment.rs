//! Nobody pays twice, and nobody pays for an order that was unwound.

use std::time::Duration;

use activities::ActivityFault;
use activities::payment::lists::ProviderLists;
use activities::payment::port::{
    Capabilities, Payment, PaymentId, PaymentProvider, ProviderError, Refund,
};
use activities::payment::sandbox::SandboxProvider;
use activities::payment::{authorise, capture, refund};
use async_trait::async_trait;
use domain::payment::PaymentState;
use domain::{Charge, Money, Order, Rejection, StepKey, StepName};
use runtime::database::Database;
use runtime::schema::MIGRATIONS;
use sqlx::PgPool;
use testkit::pounds;
use tokio::sync::Notify;

use crate::support::{
    Shop, TROUBLES, assert_unavailable, fails, invalid_answer, order, paid_with, refusal,
};

const LATE: Rejection = Rejection::AlreadyUndone { step: StepName::AuthorisePayment };
const LATE_CAPTURE: Rejection = Rejection::AlreadyUndone { step: StepName::CapturePayment };
const A_SECOND: Option<Duration> = Some(Duration::from_secs(1));

/// The provider's records: each payment's state, and the number of its refunds.
async fn provider_records(shop: &Shop) -> Vec<(String, i64)> {
    let rows = sqlx::query!(
        r#"
        select
            payments.state,
            count(refund_id) filter (where refunds.state = 'succeeded') as "refunds!"
        from sandbox_provider.payments left join sandbox_provider.refunds using (payment_id)
        group by payment_id order by payment_id
        "#
    );
    let rows = rows.fetch_all(&shop.db).await.unwrap();
    rows.into_iter().map(|row| (row.state, row.refunds)).collect()
}

/// The shop's records: the sums captured and refunded.
async fn shop_records(shop: &Shop) -> (Money, Money) {
    let row = sqlx::query!(
        r#"
        select coalesce(sum(captured), 0) as "captured!", coalesce(sum(refunded), 0) as "refunded!"
        from payments.charges
        "#
    );
    let row = row.fetch_one(&shop.db).await.unwrap();
    (pounds(&row.captured.to_string()), pounds(&row.refunded.to_string()))
}

fn once(state: &str, refunds: i64) -> Vec<(String, i64)> {
    vec![(state.to_owned(), refunds)]
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_charge_takes_the_money_once_however_often_it_is_asked(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    let (first, second) = futures::join!(shop.authorises(&order), shop.authorises(&order));
    let authorisation = first.unwrap();
    assert_eq!(second.unwrap(), authorisation);
    assert_eq!(shop.payment_of(&order).await, "authorised");
    let (first, second) = futures::join!(shop.captures(&order), shop.captures(&order));
    first.unwrap();
    second.unwrap();
    assert_eq!(shop.authorises(&order).await.unwrap(), authorisation);
    shop.captures(&order).await.unwrap();
    let of_the_order = provider_records(&shop).await;
    let captured = of_the_order.iter().filter(|(state, _)| state == "captured").count();
    assert_eq!(captured, 1, "{of_the_order:?}");
    assert_eq!(shop_records(&shop).await, (order.totals.total, pounds("0")));
    let events = ["order.placed", "payment.authorised", "payment.captured"];
    assert_eq!(shop.events_of(&order).await, events);
    assert_eq!(shop.status_of(&order).await, "processing");
    assert_eq!(shop.payment_of(&order).await, "paid", "the customer's money is where it is");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn refunding_twice_gives_the_money_back_once(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    shop.charges(&order).await.unwrap();
    let (first, second) = futures::join!(shop.refunds(&order), shop.refunds(&order));
    first.unwrap();
    second.unwrap();
    shop.refunds(&order).await.unwrap();
    assert_eq!(provider_records(&shop).await, once("captured", 1));
    assert_eq!(shop_records(&shop).await, (order.totals.total, order.totals.total));
    let events = ["order.placed", "payment.authorised", "payment.captured", "payment.refunded"];
    assert_eq!(shop.events_of(&order).await, events);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_authorisation_that_is_undone_moves_no_money(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    shop.authorises(&order).await.unwrap();
    shop.refunds(&order).await.unwrap();
    shop.refunds(&order).await.unwrap();
    assert_eq!(refusal(shop.captures(&order).await), LATE_CAPTURE);
    assert_eq!(refusal(shop.authorises(&order).await), LATE);
    assert_eq!(provider_records(&shop).await, once("voided", 0));
    assert_eq!(shop_records(&shop).await, (pounds("0"), pounds("0")));
    let events = ["order.placed", "payment.authorised", "payment.voided"];
    assert_eq!(shop.events_of(&order).await, events);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_authorisation_that_has_expired_is_not_captured(db: PgPool) {
    let (shop, order) = (Shop::on(db), paid_with(order(1), "tok_expires_0"));
    shop.places(&order).await;
    shop.authorises(&order).await.unwrap();
    assert_eq!(refusal(shop.captures(&order).await), Rejection::AuthorisationExpired);
    assert_eq!(refusal(shop.captures(&order).await), Rejection::AuthorisationExpired);
    shop.refunds(&order).await.unwrap();
    let events = ["order.placed", "payment.authorised", "payment.expired"];
    assert_eq!(shop.events_of(&order).await, events);
    assert_eq!(shop.payment_of(&order).await, "voided");
    assert_eq!(shop_records(&shop).await, (pounds("0"), pounds("0")));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_authorisation_that_has_expired_is_asked_for_again_and_that_one_is_captured(db: PgPool) {
    let (shop, order) = (Shop::on(db), paid_with(order(1), "tok_expires_1000"));
    shop.places(&order).await;
    let first = shop.authorises(&order).await.unwrap();
    let again = shop.authorises_again(&order).await.unwrap();
    assert_ne!(first.provider_reference, again.provider_reference);
    assert_eq!(shop.authorises_again(&order).await.unwrap(), again);
    assert_eq!(shop.authorises(&order).await.unwrap(), first, "a reset asks in the same order");
    shop.captures(&order).await.unwrap();
    let payments = [("voided".to_owned(), 0), ("captured".to_owned(), 0)];
    assert_eq!(provider_records(&shop).await, payments);
    assert_eq!(shop_records(&shop).await, (order.totals.total, pounds("0")));
    assert_eq!(shop.payment_of(&order).await, "paid");
    shop.refunds(&order).await.unwrap();
    assert_eq!(shop_records(&shop).await, (order.totals.total, order.totals.total));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_provider_that_forgets_keys_authorises_and_captures_one_payment(db: PgPool) {
    let (shop, order) = (Shop::on(db), paid_with(order(1), "tok_forgetful"));
    shop.places(&order).await;
    let (first, second) = futures::join!(shop.authorises(&order), shop.authorises(&order));
    assert_eq!(first.unwrap(), second.unwrap());
    shop.charges(&order).await.unwrap();
    let states = provider_records(&shop).await.into_iter().map(|(state, _)| state);
    assert_eq!(states.filter(|state| state != "opened").collect::<Vec<_>>(), ["captured"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_payment_that_is_not_found_yet_is_asked_about_again(db: PgPool) {
    let (shop, order) = (Shop::on(db), paid_with(order(1), "tok_lags_2"));
    shop.places(&order).await;
    shop.authorises(&order).await.unwrap();
    was_opened(&shop, -3_600).await;
    for _ in 0..2 {
        assert_unavailable(shop.refunds(&order).await, None);
    }
    shop.refunds(&order).await.unwrap();
    assert_eq!(provider_records(&shop).await, once("voided", 0));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_payment_that_is_not_found_is_waited_for_only_as_long_as_the_provider_may_lag(
    db: PgPool,
) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    trouble(&shop, "*", "authorise", "lost", None).await;
    assert_unavailable(shop.authorises(&order).await, None);
    // Stored an hour in the future: however long this test takes, the provider may lag.
    was_opened(&shop, -3_600).await;
    trouble(&shop, "*", "look-up", "not-found", None).await;
    assert_unavailable(shop.authorises(&order).await, None);
    was_opened(&shop, 3_600).await;
    trouble(&shop, "*", "look-up", "not-found", None).await;
    invalid_answer(shop.authorises(&order).await);
    shop.charges(&order).await.unwrap();
    for call in ["look-up", "refund"] {
        trouble(&shop, "*", call, "not-found", None).await;
        invalid_answer(shop.refunds(&order).await);
    }
    shop.refunds(&order).await.unwrap();
    assert_eq!(provider_records(&shop).await, once("captured", 1));
}

/// Sets how long ago the shop stored its payments' ids.
async fn was_opened(shop: &Shop, seconds_ago: i32) {
    sqlx::query!(
        "update payments.charges set recorded_at = now() - make_interval(secs => $1::integer)",
        seconds_ago,
    )
    .execute(&shop.owner)
    .await
    .unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_charge_that_comes_after_its_refund_leaves_the_money_alone(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    shop.refunds(&order).await.unwrap();
    assert_eq!(refusal(shop.charges(&order).await), LATE);
    assert_eq!(provider_records(&shop).await, [], "the provider is not even asked");
    assert_eq!(shop_records(&shop).await, (pounds("0"), pounds("0")));
    assert_eq!(shop.events_of(&order).await, ["order.placed"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_charge_that_was_refunded_is_not_made_again(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    shop.charges(&order).await.unwrap();
    shop.refunds(&order).await.unwrap();
    assert_eq!(refusal(shop.charges(&order).await), LATE);
    assert_eq!(refusal(shop.captures(&order).await), LATE_CAPTURE);
    assert_eq!(provider_records(&shop).await, once("captured", 1));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_declined_card_stays_declined(db: PgPool) {
    let shop = Shop::on(db);
    let cards =
        [(1, "tok_declined", "insufficient_funds"), (2, "tok_expired_card", "expired_card")];
    for (number, token, decline_code) in cards {
        let order = paid_with(order(number), token);
        let declined = Rejection::CardDeclined { decline_code: decline_code.to_owned() };
        shop.places(&order).await;
        assert_eq!(refusal(shop.charges(&order).await), declined);
        assert_eq!(refusal(shop.charges(&order).await), declined);
        shop.refunds(&order).await.unwrap();
        assert_eq!(refusal(shop.charges(&order).await), declined);
        assert_eq!(shop.events_of(&order).await, ["order.placed", "payment.declined"]);
        assert_eq!(shop.payment_of(&order).await, "declined");
    }
    assert_eq!(shop_records(&shop).await, (pounds("0"), pounds("0")));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn two_attempts_that_are_declined_at_once_are_one_refusal(db: PgPool) {
    let (shop, order) = (Shop::on(db), paid_with(order(1), "tok_declined"));
    shop.places(&order).await;
    let row = shop.holds_up_order(&order).await;
    let go_on = async {
        shop.until_waiting(2).await;
        row.commit().await.unwrap();
    };
    let (first, second, ()) = futures::join!(shop.charges(&order), shop.charges(&order), go_on);
    assert_eq!(refusal(first), refusal(second));
    assert_eq!(shop.events_of(&order).await, ["order.placed", "payment.declined"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_share_of_all_cards_is_declined_and_a_repeat_meets_the_same_luck(db: PgPool) {
    let shop = Shop::on(db.clone());
    let provider = SandboxProvider::new(Database::of(db), 50);
    let mut declined = Vec::new();
    for number in 1..=20 {
        let payment = provider.open(&order(number).charge(1)).await.unwrap();
        let first = provider.authorise(&payment).await.unwrap().state;
        assert_eq!(provider.authorise(&payment).await.unwrap().state, first);
        declined.push(first == PaymentState::Declined);
    }
    assert!(declined.contains(&true) && declined.contains(&false), "{declined:?}");
    assert_eq!(provider_records(&shop).await.len(), 20);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_capture_whose_answer_is_lost_is_found_again_and_not_repeated(db: PgPool) {
    let (shop, order) = (Shop::on(db), paid_with(order(1), "tok_charge_lost"));
    shop.places(&order).await;
    assert_unavailable(shop.charges(&order).await, None);
    assert_eq!(shop_records(&shop).await, (pounds("0"), pounds("0")), "the shop knows nothing yet");
    shop.charges(&order).await.unwrap();
    assert_eq!(provider_records(&shop).await, once("captured", 0));
    assert_eq!(shop_records(&shop).await, (order.totals.total, pounds("0")));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_capture_whose_answer_is_lost_is_refunded_all_the_same(db: PgPool) {
    let (shop, order) = (Shop::on(db), paid_with(order(1), "tok_charge_lost"));
    shop.places(&order).await;
    assert_unavailable(shop.charges(&order).await, None);
    shop.refunds(&order).await.unwrap();
    assert_eq!(provider_records(&shop).await, once("captured", 1));
    assert_eq!(shop_records(&shop).await, (order.totals.total, order.totals.total));
    let events = ["order.placed", "payment.authorised", "payment.refunded"];
    assert_eq!(shop.events_of(&order).await, events);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_provider_that_hears_everything_twice_takes_the_money_once(db: PgPool) {
    let (shop, order) = (Shop::on(db), paid_with(order(1), "tok_answer_twice"));
    shop.places(&order).await;
    shop.charges(&order).await.unwrap();
    assert_eq!(provider_records(&shop).await, once("captured", 0));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_charge_that_ran_out_of_time_is_found_by_its_repeat(db: PgPool) {
    let (shop, order) = (Shop::on(db), paid_with(order(1), "tok_slow_200"));
    shop.places(&order).await;
    let in_time = tokio::time::timeout(Duration::from_millis(100), shop.charges(&order)).await;
    assert!(in_time.is_err(), "the provider takes longer");
    shop.charges(&order).await.unwrap();
    assert_eq!(provider_records(&shop).await, once("captured", 0));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_provider_that_is_out_of_order_is_asked_again_when_it_said(db: PgPool) {
    let (shop, order) = (Shop::on(db), paid_with(order(1), "tok_unavailable_2"));
    shop.places(&order).await;
    assert_unavailable(shop.charges(&order).await, A_SECOND);
    assert_unavailable(shop.charges(&order).await, A_SECOND);
    shop.charges(&order).await.unwrap();
    assert_eq!(provider_records(&shop).await, once("captured", 0));
}

/// A person may have skipped the refund, because the money was returned in another way.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_undo_of_an_authorisation_leaves_money_alone_that_was_taken(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    shop.charges(&order).await.unwrap();
    shop.voids(&order).await.unwrap();
    assert_eq!(provider_records(&shop).await, once("captured", 0));
    shop.refunds(&order).await.unwrap();
    assert_eq!(provider_records(&shop).await, once("captured", 1));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_payment_whose_money_a_lost_run_has_taken_is_not_replaced(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    let first = shop.authorises(&order).await.unwrap();
    shop.captures(&order).await.unwrap();
    assert_eq!(shop.authorises_again(&order).await.unwrap(), first);
    assert_eq!(provider_records(&shop).await, once("captured", 0));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_that_is_not_answered_is_made_later_and_once(db: PgPool) {
    let (shop, order) = (Shop::on(db), paid_with(order(1), "tok_refund_unavailable_1"));
    shop.places(&order).await;
    shop.charges(&order).await.unwrap();
    assert_unavailable(shop.refunds(&order).await, A_SECOND);
    assert_eq!(refusal(shop.charges(&order).await), LATE_CAPTURE);
    shop.refunds(&order).await.unwrap();
    assert_eq!(provider_records(&shop).await, once("captured", 1));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_that_is_broken_works_once_the_provider_is_repaired(db: PgPool) {
    let (shop, order) = (Shop::on(db), paid_with(order(1), "tok_refund_broken"));
    shop.places(&order).await;
    shop.charges(&order).await.unwrap();
    let told = invalid_answer(shop.refunds(&order).await);
    assert_eq!(told, "the payment provider's answer makes no sense (refunding a payment)");
    assert_eq!(provider_records(&shop).await, once("captured", 0));
    sqlx::query!(
        "insert into sandbox_provider.repairs (idempotency_key) values ($1)",
        order.charge(1).key.to_string(),
    )
    .execute(&shop.owner)
    .await
    .unwrap();
    shop.refunds(&order).await.unwrap();
    assert_eq!(provider_records(&shop).await, once("captured", 1));
}

/// The point at which a call to the provider is delayed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    BeforeOpen,
    AfterOpen,
    BeforeAuthorise,
    AfterAuthorise,
    BeforeCapture,
    AfterCapture,
    BeforeVoid,
    /// The provider is busy with the payment, and refuses to void it.
    InsteadOfVoid,
}

/// The sandbox, with calls that block until they are released.
struct HeldUp<'shop> {
    provider: &'shop SandboxProvider,
    moment: Moment,
    reached: Notify,
    go_on: Notify,
}

impl<'shop> HeldUp<'shop> {
    fn at(moment: Moment, shop: &'shop Shop) -> Self {
        Self { provider: &shop.provider, moment, reached: Notify::new(), go_on: Notify::new() }
    }

    async fn pass(&self, moment: Moment) {
        if self.moment == moment {
            self.reached.notify_one();
            self.go_on.notified().await;
        }
    }
}

#[async_trait]
impl PaymentProvider for HeldUp<'_> {
    fn capabilities(&self) -> Capabilities {
        self.provider.capabilities()
    }

    async fn open(&self, charge: &Charge) -> Result<PaymentId, ProviderError> {
        self.pass(Moment::BeforeOpen).await;
        let opened = self.provider.open(charge).await;
        self.pass(Moment::AfterOpen).await;
        opened
    }

    async fn authorise(&self, payment: &PaymentId) -> Result<Payment, ProviderError> {
        self.pass(Moment::BeforeAuthorise).await;
        let authorised = self.provider.authorise(payment).await;
        self.pass(Moment::AfterAuthorise).await;
        authorised
    }

    async fn capture(&self, payment: &PaymentId, amount: Money) -> Result<Payment, ProviderError> {
        self.pass(Moment::BeforeCapture).await;
        let captured = self.provider.capture(payment, amount).await;
        self.pass(Moment::AfterCapture).await;
        captured
    }

    async fn void(&self, payment: &PaymentId) -> Result<Payment, ProviderError> {
        self.pass(Moment::BeforeVoid).await;
        if self.moment == Moment::InsteadOfVoid {
            return Err(ProviderError::MovedOn);
        }
        self.provider.void(payment).await
    }

    async fn refund(
        &self,
        payment: &PaymentId,
        refund_key: &str,
        amount: Money,
    ) -> Result<Payment, ProviderError> {
        self.provider.refund(payment, refund_key, amount).await
    }

    async fn look_up(&self, payment: &PaymentId) -> Result<Payment, ProviderError> {
        self.provider.look_up(payment).await
    }

    async fn look_up_refund(
        &self,
        payment: &PaymentId,
        refund_key: &str,
    ) -> Result<Option<Refund>, ProviderError> {
        self.provider.look_up_refund(payment, refund_key).await
    }

    fn lists(&self) -> &dyn ProviderLists {
        self.provider.lists()
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_zombie_leaves_nothing_set_aside_or_taken_wherever_its_undo_overtakes_it(db: PgPool) {
    let shop = Shop::on(db);
    let ends = [
        (Moment::BeforeOpen, "opened", 0),
        (Moment::AfterOpen, "opened", 0),
        (Moment::BeforeAuthorise, "voided", 0),
        (Moment::AfterAuthorise, "voided", 0),
        (Moment::BeforeCapture, "voided", 0),
        (Moment::AfterCapture, "captured", 1),
    ];
    let mut expected = Vec::new();
    for (number, (moment, state, refunds)) in (1..).zip(ends) {
        let order = order(number);
        shop.places(&order).await;
        let held_up = HeldUp::at(moment, &shop);
        let zombie = charges_through(&shop, &held_up, &order);
        let undo = async {
            held_up.reached.notified().await;
            shop.refunds(&order).await.unwrap();
            held_up.go_on.notify_one();
        };
        let (answer, ()) = futures::join!(zombie, undo);
        let late = matches!(moment, Moment::BeforeCapture | Moment::AfterCapture);
        let late = if late { LATE_CAPTURE } else { LATE };
        assert_eq!(refusal(answer), late, "overtaken at {moment:?}");
        expected.push((state.to_owned(), refunds));
        assert_eq!(provider_records(&shop).await, expected, "overtaken at {moment:?}");
    }
    let (captured, refunded) = shop_records(&shop).await;
    assert_eq!(captured, refunded);
}

async fn charges_through(
    shop: &Shop,
    provider: &HeldUp<'_>,
    order: &Order,
) -> Result<(), ActivityFault> {
    authorise(&shop.db, provider, order.key(StepName::AuthorisePayment)).await?;
    capture(&shop.db, provider, order.key(StepName::CapturePayment)).await
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_capture_between_the_undos_question_and_its_void_is_given_back_by_the_undo(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    let capturing = HeldUp::at(Moment::BeforeCapture, &shop);
    let voiding = HeldUp::at(Moment::BeforeVoid, &shop);
    let key = order.key(StepName::CapturePayment);
    let undo = async {
        capturing.reached.notified().await;
        refund(&shop.db, &voiding, key).await.unwrap();
    };
    let zombie = async {
        assert_eq!(refusal(charges_through(&shop, &capturing, &order).await), LATE_CAPTURE);
        assert_eq!(provider_records(&shop).await, once("captured", 0));
        voiding.go_on.notify_one();
    };
    let conductor = async {
        voiding.reached.notified().await;
        capturing.go_on.notify_one();
    };
    futures::join!(zombie, undo, conductor);
    assert_eq!(provider_records(&shop).await, once("captured", 1));
    assert_eq!(shop_records(&shop).await, (order.totals.total, order.totals.total));
    let events = ["order.placed", "payment.authorised", "payment.refunded"];
    assert_eq!(shop.events_of(&order).await, events);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_payment_that_cannot_be_voided_yet_does_not_count_as_replaced(db: PgPool) {
    let (shop, order) = (Shop::on(db), paid_with(order(1), "tok_expires_1000"));
    shop.places(&order).await;
    shop.authorises(&order).await.unwrap();
    let busy = HeldUp::at(Moment::InsteadOfVoid, &shop);
    let again = StepKey { attempt: 2, ..order.key(StepName::AuthorisePayment) };
    assert_unavailable(authorise(&shop.db, &busy, again).await, None);
    assert_eq!(provider_records(&shop).await, once("authorised", 0), "it holds money");
    shop.authorises_again(&order).await.unwrap();
    let payments = [("voided".to_owned(), 0), ("authorised".to_owned(), 0)];
    assert_eq!(provider_records(&shop).await, payments);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_authorisation_whose_worker_died_is_voided_by_its_undo(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    let held_up = HeldUp::at(Moment::AfterAuthorise, &shop);
    tokio::select! {
        _ = charges_through(&shop, &held_up, &order) => unreachable!("it is held up"),
        () = held_up.reached.notified() => {}
    }
    assert_eq!(provider_records(&shop).await, once("authorised", 0));
    shop.refunds(&order).await.unwrap();
    shop.refunds(&order).await.unwrap();
    assert_eq!(provider_records(&shop).await, once("voided", 0));
    assert_eq!(shop.events_of(&order).await, ["order.placed", "payment.voided"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_undo_needs_its_key_alone_whatever_a_newer_release_adds_to_the_order(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    sqlx::query!(
        r#"
        update orders.orders set
            terms = terms || '{"added_later":{"gift":true}}',
            lines = (
                select jsonb_agg(
                    line || '{"added_later":1}'
                    || jsonb_build_object('unit_price', line -> 'unit_price' || '{"added_later":1}')
                )
                from jsonb_array_elements(lines) as line
            )
        "#
    )
    .execute(&shop.owner)
    .await
    .unwrap();
    shop.cancels_shipment(&order).await.unwrap();
    shop.reverses(&order).await.unwrap();
    shop.refunds(&order).await.unwrap();
    shop.releases(&order).await.unwrap();
    assert_eq!(provider_records(&shop).await, once("captured", 1));
    assert_eq!(shop_records(&shop).await, (order.totals.total, order.totals.total));
    assert_eq!(shop.payment_of(&order).await, "refunded");
    assert_eq!(shop.fulfilment_of(&order).await, "cancelled");
}

/// Injects a fault into the provider's next call of this kind.
async fn trouble(shop: &Shop, whom: &str, call: &str, behaviour: &str, retry_after: Option<&str>) {
    sqlx::query!(
        "insert into sandbox_provider.behaviours (call, whom, behaviour, retry_after, remaining)
         values ($1, $2, $3, $4, 1)",
        call,
        whom,
        behaviour,
        retry_after,
    )
    .execute(&shop.owner)
    .await
    .unwrap();
}

/// Removes all faults of the provider.
async fn no_more_trouble(shop: &Shop) {
    sqlx::query!("delete from sandbox_provider.behaviours").execute(&shop.owner).await.unwrap();
}

/// Every fault of each of these calls.
fn cells(calls: &'static [&'static str]) -> impl Iterator<Item = (&'static str, &'static str)> {
    calls.iter().flat_map(|call| TROUBLES.map(|behaviour| (*call, behaviour)))
}

/// The numbers of payments that are captured, refunded, and authorised.
async fn standing(shop: &Shop) -> (usize, usize, usize) {
    let records = provider_records(shop).await;
    let count = |state: &str, refunds: i64| {
        records.iter().filter(|record| **record == (state.to_owned(), refunds)).count()
    };
    (count("captured", 0), count("captured", 1), count("authorised", 0))
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whatever_goes_wrong_at_the_provider_an_order_is_paid_once_in_the_end(db: PgPool) {
    let shop = Shop::on(db);
    let mut paid = 0;
    for (number, (call, behaviour)) in (1..).zip(cells(&["open", "authorise", "capture"])) {
        let order = order(number);
        shop.places(&order).await;
        trouble(&shop, &order.order_id.to_string(), call, behaviour, None).await;
        fails(behaviour, shop.charges(&order)).await;
        no_more_trouble(&shop).await;
        shop.charges(&order).await.unwrap();
        shop.provider.land_late_requests().await.unwrap();
        paid = number;
        assert_eq!(shop.payment_of(&order).await, "paid");
        assert_eq!(
            standing(&shop).await,
            (usize::try_from(paid).unwrap(), 0, 0),
            "{call}: {behaviour}"
        );
    }
    assert_eq!(paid, 24);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_token_orders_what_the_first_call_of_a_kind_meets(db: PgPool) {
    let shop = Shop::on(db);
    for (number, (call, behaviour)) in (1..).zip(cells(&["open", "authorise", "capture"])) {
        let order = paid_with(order(number), &format!("tok_first_{call}_{behaviour}"));
        shop.places(&order).await;
        fails(behaviour, shop.charges(&order)).await;
        shop.charges(&order).await.unwrap();
        shop.provider.land_late_requests().await.unwrap();
        let paid = (usize::try_from(number).unwrap(), 0, 0);
        assert_eq!(standing(&shop).await, paid, "{call}: {behaviour}");
    }
    let order = paid_with(order(99), "tok_first_capture_unavailable_30");
    shop.places(&order).await;
    assert_unavailable(shop.charges(&order).await, Some(Duration::from_secs(30)));
    shop.charges(&order).await.unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_part_of_what_is_set_aside_can_be_taken_and_only_that_is_given_back(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    let payment = PaymentId(shop.authorises(&order).await.unwrap().provider_reference);
    let taken = shop.provider.capture(&payment, pounds("1.00")).await.unwrap();
    assert_eq!((taken.state, taken.captured), (PaymentState::Captured, pounds("1.00")));
    // The rest was released.
    let again = shop.provider.capture(&payment, order.totals.total).await.unwrap();
    assert_eq!(again.captured, pounds("1.00"));
    shop.refunds(&order).await.unwrap();
    let refunded = sqlx::query_scalar!(
        r#"select sum(amount) as "amount!" from sandbox_provider.refunds where state = 'succeeded'"#
    );
    assert_eq!(pounds(&refunded.fetch_one(&shop.db).await.unwrap().to_string()), pounds("1.00"));
    assert_eq!(shop_records(&shop).await, (pounds("1.00"), pounds("1.00")));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn where_a_part_was_taken_that_part_is_told(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    let payment = PaymentId(shop.authorises(&order).await.unwrap().provider_reference);
    // By a person, at the provider.
    shop.provider.capture(&payment, pounds("1.00")).await.unwrap();
    shop.captures(&order).await.unwrap();
    shop.refunds(&order).await.unwrap();
    let told = sqlx::query!(
        r#"
        select type as kind, data #>> '{amount,amount}' as "amount!"
        from orders.order_events where order_id = $1 and type like 'payment.%' order by sequence
        "#,
        order.order_id.uuid(),
    );
    let told = told.fetch_all(&shop.db).await.unwrap();
    let told: Vec<_> = told.into_iter().map(|event| (event.kind, event.amount)).collect();
    let total = order.totals.total.amount().to_string();
    let amounts = [("authorised", total.as_str()), ("captured", "1.00"), ("refunded", "1.00")];
    let amounts = amounts.map(|(what, amount)| (format!("payment.{what}"), amount.to_owned()));
    assert_eq!(told, amounts);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_authorisation_that_ends_early_is_not_captured(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    shop.authorises(&order).await.unwrap();
    let expires = sqlx::query!("update sandbox_provider.payments set expires_at = now()");
    expires.execute(&shop.owner).await.unwrap();
    assert_eq!(refusal(shop.captures(&order).await), Rejection::AuthorisationExpired);
    assert_eq!(shop.payment_of(&order).await, "voided");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whatever_goes_wrong_at_the_provider_no_money_is_kept_of_an_order_that_is_undone(
    db: PgPool,
) {
    let shop = Shop::on(db);
    for (number, (call, behaviour)) in (1..).zip(cells(&["open", "authorise", "capture"])) {
        let order = order(number);
        shop.places(&order).await;
        trouble(&shop, &order.order_id.to_string(), call, behaviour, None).await;
        fails(behaviour, shop.charges(&order)).await;
        no_more_trouble(&shop).await;
        shop.refunds(&order).await.unwrap();
        shop.provider.land_late_requests().await.unwrap();
        refusal(shop.charges(&order).await);
        let (kept, _, set_aside) = standing(&shop).await;
        assert_eq!((kept, set_aside), (0, 0), "{call}: {behaviour}");
        let (captured, refunded) = shop_records(&shop).await;
        assert_eq!(captured, refunded, "{call}: {behaviour}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whatever_goes_wrong_while_an_authorisation_is_undone_nothing_stays_set_aside(db: PgPool) {
    let shop = Shop::on(db);
    for (number, (call, behaviour)) in (1..).zip(cells(&["look-up", "void"])) {
        let order = order(number);
        shop.places(&order).await;
        shop.authorises(&order).await.unwrap();
        trouble(&shop, "*", call, behaviour, None).await;
        fails(behaviour, shop.refunds(&order)).await;
        no_more_trouble(&shop).await;
        shop.refunds(&order).await.unwrap();
        shop.provider.land_late_requests().await.unwrap();
        assert_eq!(standing(&shop).await, (0, 0, 0), "{call}: {behaviour}");
        let events = ["order.placed", "payment.authorised", "payment.voided"];
        assert_eq!(shop.events_of(&order).await, events, "{call}: {behaviour}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whatever_goes_wrong_while_money_is_given_back_it_is_given_back_once(db: PgPool) {
    let shop = Shop::on(db);
    for (number, (call, behaviour)) in (1..).zip(cells(&["look-up", "refund"])) {
        let order = order(number);
        shop.places(&order).await;
        shop.charges(&order).await.unwrap();
        trouble(&shop, "*", call, behaviour, None).await;
        fails(behaviour, shop.refunds(&order)).await;
        no_more_trouble(&shop).await;
        shop.refunds(&order).await.unwrap();
        shop.provider.land_late_requests().await.unwrap();
        let given_back = (0, usize::try_from(number).unwrap(), 0);
        assert_eq!(standing(&shop).await, given_back, "{call}: {behaviour}");
        assert_eq!(shop.payment_of(&order).await, "refunded");
    }
}

/// The request is in flight when its connection breaks, and arrives when everything is over.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_undo_gives_back_what_a_person_has_left_of_the_payment(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    shop.charges(&order).await.unwrap();
    sqlx::raw_sql(
        "insert into sandbox_provider.refunds (idempotency_key, payment_id, amount, state)
         select 'by hand', payment_id, 3.00, 'succeeded' from sandbox_provider.payments",
    )
    .execute(&shop.owner)
    .await
    .unwrap();
    for _ in 0..2 {
        shop.refunds(&order).await.unwrap();
        let given = sqlx::query_scalar!(
            r#"select amount from sandbox_provider.refunds order by refund_id"#
        );
        let given = given.fetch_all(&shop.db).await.unwrap();
        let rest = order.totals.total.checked_sub(pounds("3.00")).unwrap();
        assert_eq!(given, [pounds("3.00").amount(), rest.amount()]);
    }
    assert_eq!(shop.payment_of(&order).await, "refunded");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_capture_that_lands_after_its_undo_finds_nothing_to_take(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    let key = order.key(StepName::AuthorisePayment).to_string();
    trouble(&shop, &key, "capture", "late", None).await;
    assert_unavailable(shop.charges(&order).await, None);
    shop.refunds(&order).await.unwrap();
    assert_eq!(shop.provider.land_late_requests().await.unwrap(), 1);
    assert_eq!(provider_records(&shop).await, once("voided", 0));
    assert_eq!(shop.payment_of(&order).await, "voided");
    assert_eq!(shop.provider.land_late_requests().await.unwrap(), 0, "it lands once");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_pause_that_the_provider_asks_for_is_kept_and_nonsense_is_not(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for (header, pause) in [
        (Some("30"), seconds(30)),
        (Some("3600"), seconds(3_600)),
        (Some("Fri, 31 Dec 9999 23:59:59 GMT"), seconds(3_600)),
        (Some("0"), None),
        (Some("Thu, 01 Jan 1970 00:00:00 GMT"), None),
        (Some("soon"), None),
        (None, None),
    ] {
        trouble(&shop, "*", "authorise", "unavailable", header).await;
        assert_unavailable(shop.authorises(&order).await, pause);
    }
    shop.authorises(&order).await.unwrap();
    assert_eq!(provider_records(&shop).await, once("authorised", 0));
}

/// Decides all pending refunds.
async fn refunds_are(shop: &Shop, state: &str) {
    sqlx::query!("update sandbox_provider.refunds set state = $1 where state = 'pending'", state,)
        .execute(&shop.owner)
        .await
        .unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_that_is_pending_is_waited_for_and_one_that_fails_is_asked_for_again(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    shop.charges(&order).await.unwrap();
    trouble(&shop, "*", "refund", "pending", None).await;
    assert_unavailable(shop.refunds(&order).await, None);
    assert_unavailable(shop.refunds(&order).await, None);
    assert_eq!(shop.payment_of(&order).await, "paid", "until it is decided");
    refunds_are(&shop, "failed").await;
    trouble(&shop, "*", "refund", "pending", None).await;
    assert_unavailable(shop.refunds(&order).await, None);
    assert_eq!(provider_records(&shop).await, once("captured", 0));
    refunds_are(&shop, "succeeded").await;
    shop.refunds(&order).await.unwrap();
    shop.refunds(&order).await.unwrap();
    assert_eq!(provider_records(&shop).await, once("captured", 1));
    assert_eq!(shop_records(&shop).await, (order.totals.total, order.totals.total));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_provider_that_has_forgotten_a_key_meanwhile_takes_the_money_once(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    trouble(&shop, "*", "open", "lost", None).await;
    assert_unavailable(shop.charges(&order).await, None);
    trouble(&shop, "*", "open", "forgets", None).await;
    shop.charges(&order).await.unwrap();
    let records = [("opened".to_owned(), 0), ("captured".to_owned(), 0)];
    assert_eq!(provider_records(&shop).await, records);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_approval_between_the_last_question_and_the_void_is_let_go_with_the_payment(db: PgPool) {
    let (shop, mut order) = (Shop::on(db), paid_with(order(1), "tok_needs_customer"));
    order.terms.approval_seconds = 900;
    shop.places(&order).await;
    shop.asks_for_money(&order, 1).await.unwrap();
    shop.time_is_over(&order).await;
    let voiding = HeldUp::at(Moment::BeforeVoid, &shop);
    let approval = async {
        voiding.reached.notified().await;
        assert!(shop.customer_answers(&order, true).await);
        voiding.go_on.notify_one();
    };
    let asked = authorise(&shop.db, &voiding, order.key(StepName::AuthorisePayment));
    let (answer, ()) = futures::join!(asked, approval);
    assert_eq!(refusal(answer), Rejection::PaymentNotApproved);
    assert_eq!(provider_records(&shop).await, once("voided", 0));
    shop.refunds(&order).await.unwrap();
    assert_eq!(provider_records(&shop).await, once("voided", 0));
}

/// The order's record is older than its payment, and `recover` has found that out.
async fn is_set_back(shop: &Shop, order: &Order) {
    let order = order.order_id.uuid();
    let forgotten = sqlx::query!("delete from payments.charges where order_id = $1", order);
    forgotten.execute(&shop.owner).await.unwrap();
    let forgotten = sqlx::query!("delete from orders.step_keys where order_id = $1", order);
    forgotten.execute(&shop.owner).await.unwrap();
    let noticed = sqlx::query!("insert into orders.set_back (order_id) values ($1)", order);
    noticed.execute(&shop.owner).await.unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_a_lost_run_has_taken_is_given_back_though_the_record_was_set_back(db: PgPool) {
    let shop = Shop::on(db);
    for (number, (call, behaviour)) in (1..).zip(cells(&["open"])) {
        let order = order(number);
        shop.places(&order).await;
        shop.charges(&order).await.unwrap();
        is_set_back(&shop, &order).await;
        trouble(&shop, "*", call, behaviour, None).await;
        fails(behaviour, shop.refunds(&order)).await;
        no_more_trouble(&shop).await;
        shop.refunds(&order).await.unwrap();
        shop.voids(&order).await.unwrap();
        shop.provider.land_late_requests().await.unwrap();
        let given_back = (0, usize::try_from(number).unwrap(), 0);
        assert_eq!(standing(&shop).await, given_back, "{behaviour}");
        let all = order.totals.total.times(number).unwrap();
        assert_eq!(shop_records(&shop).await, (all, all), "{behaviour}");
        assert_eq!(refusal(shop.authorises(&order).await), LATE);
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_a_lost_run_has_set_aside_is_let_go_though_the_record_was_set_back(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    shop.authorises(&order).await.unwrap();
    is_set_back(&shop, &order).await;
    shop.voids(&order).await.unwrap();
    assert_eq!(provider_records(&shop).await, once("voided", 0));
    assert_eq!(shop_records(&shop).await, (pounds("0"), pounds("0")));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_a_lost_run_has_given_back_is_known_though_the_record_was_set_back(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    shop.charges(&order).await.unwrap();
    shop.refunds(&order).await.unwrap();
    let refunds = sqlx::query!("delete from payments.refunds");
    refunds.execute(&shop.owner).await.unwrap();
    is_set_back(&shop, &order).await;
    shop.refunds(&order).await.unwrap();
    assert_eq!(provider_records(&shop).await, once("captured", 1));
    assert_eq!(shop_records(&shop).await, (order.totals.total, order.totals.total));
}
