//! Money of a completed order is refunded once and posted, and never more than was paid.

use activities::refunds::{issue, withdraw};
use activities::{ActivityFault, orders};
use domain::event::{OrderEvent, RefundRequested};
use domain::refund::{Ask, Claimed, Left, Parts, RefundId, RefundLine, RefundState};
use domain::{Currency, Decision, Money, Order, Quantity, Rejection, StepKey, StepName};
use futures::future::join_all;
use runtime::schema::MIGRATIONS;
use rust_decimal::Decimal;
use sqlx::PgPool;
use testkit::pounds;
use workflows::order::UnwindingNote;

use crate::support::{
    HEART, RUN, Shop, TROUBLES, assert_unavailable, cancelled, fails, invalid_answer, not_open,
    order, refusal, sku,
};

/// An order that is paid, handed over and posted.
pub(crate) async fn completed(shop: &Shop, number: u32) -> Order {
    let order = order(number);
    shop.takes_up_to_posting(&order).await;
    shop.ships(&order).await.unwrap();
    shop.recognises(&order).await.unwrap();
    order
}

pub(crate) fn key(order: &Order, number: u32) -> StepKey {
    RefundId { order_id: order.order_id, number }.key(order.record_version)
}

pub(crate) async fn issues(shop: &Shop, order: &Order, number: u32) -> Result<(), ActivityFault> {
    issue(&shop.db, &shop.provider, key(order, number)).await
}

async fn withdraws(shop: &Shop, order: &Order, number: u32) -> Result<(), ActivityFault> {
    withdraw(&shop.db, &shop.provider, key(order, number)).await
}

/// The parts of an amount, after these refunds.
pub(crate) fn parts(order: &Order, before: &[Claimed], ask: &Ask) -> Parts {
    Left::of(&order.lines, &order.totals, before).unwrap().parts_of(ask).unwrap()
}

fn claimed(parts: Parts) -> Claimed {
    Claimed { parts, lines: vec![] }
}

/// The outcome of a request.
pub(crate) type Answer = (String, Option<i32>);

/// Requests a refund under its own key, as the starter does.
pub(crate) async fn asks(
    shop: &Shop,
    order: &Order,
    number: u32,
    before: &[Claimed],
    parts: Parts,
) -> Answer {
    asks_as(shop, order, number, before, parts, &format!("request {number}")).await
}

async fn asks_as(
    shop: &Shop,
    order: &Order,
    number: u32,
    before: &[Claimed],
    parts: Parts,
    request: &str,
) -> Answer {
    let Parts { goods, goods_tax, shipping, shipping_tax } = parts;
    let amounts = [goods, goods_tax, shipping, shipping_tax].map(Money::amount).to_vec();
    let event = OrderEvent::RefundRequested(RefundRequested {
        number,
        amount: parts.total().unwrap(),
        lines: vec![],
        reason: "arrived broken".to_owned(),
        requested_by: "Ada".to_owned(),
    });
    let so_far = before.iter().map(|one| one.parts.total().unwrap());
    let so_far = Money::sum(order.totals.total.currency(), so_far).unwrap();
    let answer = sqlx::query!(
        r#"select outcome as "outcome!", refund as "refund?"
           from payments.request_refund($1, $2, $3, $4, $5, $6, $7)"#,
        order.order_id.uuid(),
        i32::try_from(number).unwrap(),
        so_far.amount(),
        request,
        format!("v1:{}", parts.total().unwrap()),
        &amounts,
        event.data().unwrap(),
    )
    .fetch_one(&shop.starter)
    .await
    .unwrap();
    (answer.outcome, answer.refund)
}

pub(crate) fn requested(number: i32) -> Answer {
    ("requested".to_owned(), Some(number))
}

pub(crate) fn refused(outcome: &str) -> Answer {
    (outcome.to_owned(), None)
}

pub(crate) async fn state_of(shop: &Shop, order: &Order, number: u32) -> RefundState {
    activities::refunds::state(&shop.db, key(order, number)).await.unwrap()
}

/// The sums claimed and refunded of the order's payment, by the shop's records.
pub(crate) async fn record_of(shop: &Shop, order: &Order) -> (Money, Money) {
    let row = sqlx::query!(
        "select refund_claimed, refunded from payments.charges where order_id = $1",
        order.order_id.uuid(),
    );
    let row = row.fetch_one(&shop.db).await.unwrap();
    (pounds(&row.refund_claimed.to_string()), pounds(&row.refunded.to_string()))
}

/// The provider's records: the state and amount of each refund.
async fn provider_records(shop: &Shop, order: &Order) -> Vec<(String, Money)> {
    let rows = sqlx::query!(
        r#"
        select refunds.state, refunds.amount
        from sandbox_provider.refunds join sandbox_provider.payments using (payment_id)
        where merchant_reference = $1 order by refund_id
        "#,
        order.order_id.to_string(),
    );
    let rows = rows.fetch_all(&shop.db).await.unwrap();
    rows.into_iter().map(|row| (row.state, pounds(&row.amount.to_string()))).collect()
}

fn succeeded(amount: Money) -> (String, Money) {
    ("succeeded".to_owned(), amount)
}

/// The debits of the order's entries on an account.
pub(crate) async fn debit_of(shop: &Shop, order: &Order, account: &str) -> Decimal {
    let sum = sqlx::query_scalar!(
        r#"
        select coalesce(sum(case side when 'debit' then amount else -amount end), 0) as "sum!"
        from ledger.entries join ledger.transactions using (transaction_id)
        where order_id = $1 and account = $2
        "#,
        order.order_id.uuid(),
        account,
    );
    sum.fetch_one(&shop.db).await.unwrap()
}

async fn told_of_refunds(shop: &Shop, order: &Order) -> Vec<String> {
    let mut events = shop.events_of(order).await;
    events.retain(|event| event.contains("refund"));
    events
}

/// Injects a fault into the next call of this kind.
async fn trouble(shop: &Shop, call: &str, behaviour: &str) {
    sqlx::query!(
        "insert into sandbox_provider.behaviours (call, whom, behaviour, remaining)
         values ($1, '*', $2, 1)",
        call,
        behaviour,
    )
    .execute(&shop.owner)
    .await
    .unwrap();
}

async fn no_more_trouble(shop: &Shop) {
    sqlx::query!("delete from sandbox_provider.behaviours").execute(&shop.owner).await.unwrap();
}

/// Decides the pending refunds at the provider.
async fn refunds_are(shop: &Shop, state: &str) {
    sqlx::query!("update sandbox_provider.refunds set state = $1 where state = 'pending'", state)
        .execute(&shop.owner)
        .await
        .unwrap();
}

/// The refund is made at the provider, which decides later.
async fn pends(shop: &Shop, order: &Order, number: u32) {
    trouble(shop, "refund", "pending").await;
    assert_unavailable(issues(shop, order, number).await, None);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_part_and_then_the_rest_is_given_back_once_and_booked(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    let first = parts(&order, &[], &Ask::Amount(pounds("10.00")));
    assert_eq!(asks(&shop, &order, 1, &[], first).await, requested(1));
    let (one, other) = futures::join!(issues(&shop, &order, 1), issues(&shop, &order, 1));
    one.unwrap();
    other.unwrap();
    issues(&shop, &order, 1).await.unwrap();
    assert_eq!(provider_records(&shop, &order).await, [succeeded(pounds("10.00"))]);
    assert_eq!(record_of(&shop, &order).await, (pounds("10.00"), pounds("10.00")));
    assert_eq!(shop.payment_of(&order).await, "partially-refunded");
    let left = order.totals.total.checked_sub(pounds("10.00")).unwrap();
    assert_eq!(debit_of(&shop, &order, "payment-clearing").await, left.amount());

    let before = [claimed(first)];
    let rest = parts(&order, &before, &Ask::Amount(left));
    assert_eq!(asks(&shop, &order, 2, &before, rest).await, requested(2));
    issues(&shop, &order, 2).await.unwrap();
    assert_eq!(shop.payment_of(&order).await, "refunded");
    assert_eq!(shop.status_of(&order).await, "completed");
    for account in ["payment-clearing", "shipping-income", "sales-tax-payable"] {
        assert_eq!(debit_of(&shop, &order, account).await, Decimal::ZERO, "{account}");
    }
    let goods = order.totals.subtotal.checked_sub(order.totals.discount).unwrap();
    assert_eq!(debit_of(&shop, &order, "refunds").await, goods.amount());
    let each = ["order.refund-requested", "order.refund-succeeded", "ledger.refund-posted"];
    assert_eq!(told_of_refunds(&shop, &order).await, [each, each].concat());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn of_twenty_requests_at_once_one_is_taken_and_a_repeat_is_that_one(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    let all = parts(&order, &[], &Ask::Amount(order.totals.total));
    let keys: Vec<_> = (0..20).map(|number| format!("request {number}")).collect();
    let asked = keys.iter().map(|key| asks_as(&shop, &order, 1, &[], all, key));
    let answers = join_all(asked).await;
    let taken = answers.iter().filter(|answer| **answer == requested(1)).count();
    let waiting = answers.iter().filter(|answer| **answer == refused("under-way")).count();
    assert_eq!((taken, waiting), (1, 19), "{answers:?}");
    assert_eq!(record_of(&shop, &order).await, (order.totals.total, pounds("0")));

    let place = answers.iter().position(|answer| *answer == requested(1)).unwrap();
    let repeated = asks_as(&shop, &order, 1, &[], all, &keys[place]).await;
    assert_eq!(repeated, ("repeated".to_owned(), Some(1)));
    let other = parts(&order, &[], &Ask::Amount(pounds("1.00")));
    let other = asks_as(&shop, &order, 1, &[], other, &keys[place]).await;
    assert_eq!(other, ("other-request".to_owned(), Some(1)));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn however_many_refunds_are_asked_for_they_are_no_more_than_was_paid(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    let mut before: Vec<Claimed> = vec![];
    for number in 1.. {
        let left = Left::of(&order.lines, &order.totals, &before).unwrap().total().unwrap();
        if left.is_zero() {
            break;
        }
        let amount = if left.amount() < Decimal::from(5) { left } else { pounds("5.00") };
        let part = parts(&order, &before, &Ask::Amount(amount));
        let asked = asks(&shop, &order, number, &before, part).await;
        assert_eq!(asked, requested(i32::try_from(number).unwrap()));
        issues(&shop, &order, number).await.unwrap();
        before.push(claimed(part));
    }
    let nothing = pounds("0");
    let penny = Parts {
        goods: pounds("0.01"),
        goods_tax: nothing,
        shipping: nothing,
        shipping_tax: nothing,
    };
    let number = u32::try_from(before.len()).unwrap().checked_add(1).unwrap();
    assert_eq!(asks(&shop, &order, number, &before, penny).await, refused("not-refundable"));
    assert_eq!(record_of(&shop, &order).await, (order.totals.total, order.totals.total));
    let by_hand = sqlx::query!("update payments.charges set refund_claimed = captured + 0.01")
        .execute(&shop.owner)
        .await
        .unwrap_err();
    let constraint = by_hand.as_database_error().and_then(|error| error.constraint());
    assert_eq!(constraint, Some("charges_refunds_at_most_captured"));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_was_not_paid_cannot_be_asked_for(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = order(1);
    let part = parts(&order, &[], &Ask::Amount(pounds("1.00")));
    assert_eq!(asks(&shop, &order, 1, &[], part).await, refused("not-refundable"), "not placed");
    shop.takes_up_to_posting(&order).await;
    assert_eq!(asks(&shop, &order, 1, &[], part).await, refused("not-refundable"), "not shipped");
    shop.ships(&order).await.unwrap();
    shop.recognises(&order).await.unwrap();

    let euros = |part: Money| Money::new(part.amount(), Currency::EUR).unwrap();
    let foreign = Parts {
        goods: euros(part.goods),
        goods_tax: euros(part.goods_tax),
        shipping: euros(part.shipping),
        shipping_tax: euros(part.shipping_tax),
    };
    assert_eq!(asks(&shop, &order, 1, &[], foreign).await, refused("too-much"), "in euros");
    let too_much = Parts { goods: order.totals.total, ..part };
    assert_eq!(asks(&shop, &order, 1, &[], too_much).await, refused("too-much"));
    let more_goods =
        Parts { goods: order.totals.subtotal.checked_add(pounds("0.01")).unwrap(), ..part };
    assert_eq!(asks(&shop, &order, 1, &[], more_goods).await, refused("too-much"), "of one part");
    assert_eq!(asks(&shop, &order, 2, &[], part).await, refused("changed"), "the first is missing");
    let before = [claimed(part)];
    assert_eq!(asks(&shop, &order, 1, &before, part).await, refused("changed"), "none is claimed");
    assert_eq!(record_of(&shop, &order).await, (pounds("0"), pounds("0")));
    assert_eq!(told_of_refunds(&shop, &order).await, Vec::<String>::new());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whatever_goes_wrong_while_money_is_given_back_it_is_given_back_once(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let cells = ["look-up", "refund"].into_iter().flat_map(|call| TROUBLES.map(|it| (call, it)));
    for (number, (call, behaviour)) in (1..).zip(cells) {
        let order = completed(&shop, number).await;
        let part = parts(&order, &[], &Ask::Amount(pounds("10.00")));
        asks(&shop, &order, 1, &[], part).await;
        trouble(&shop, call, behaviour).await;
        fails(behaviour, issues(&shop, &order, 1)).await;
        no_more_trouble(&shop).await;
        issues(&shop, &order, 1).await.unwrap();
        shop.provider.land_late_requests().await.unwrap();
        let records = provider_records(&shop, &order).await;
        assert_eq!(records, [succeeded(pounds("10.00"))], "{call}: {behaviour}");
        let recorded = record_of(&shop, &order).await;
        assert_eq!(recorded, (pounds("10.00"), pounds("10.00")), "{call}: {behaviour}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_that_is_pending_is_waited_for_and_one_that_failed_is_told(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    let part = parts(&order, &[], &Ask::Amount(pounds("10.00")));
    asks(&shop, &order, 1, &[], part).await;
    pends(&shop, &order, 1).await;
    assert_unavailable(issues(&shop, &order, 1).await, None);
    assert_eq!(state_of(&shop, &order, 1).await, RefundState::Pending);
    assert_eq!(shop.payment_of(&order).await, "paid", "until it is decided");
    refunds_are(&shop, "failed").await;
    let why = "the bank does not take it".to_owned();
    assert_eq!(refusal(issues(&shop, &order, 1).await), Rejection::RefundFailed { why });
    assert_eq!(debit_of(&shop, &order, "refunds").await, Decimal::ZERO, "nothing was given back");
    assert_eq!(record_of(&shop, &order).await, (pounds("10.00"), pounds("0")));

    // A person has it retried.
    issues(&shop, &order, 1).await.unwrap();
    let records = [("failed".to_owned(), pounds("10.00")), succeeded(pounds("10.00"))];
    assert_eq!(provider_records(&shop, &order).await, records);
    assert_eq!(state_of(&shop, &order, 1).await, RefundState::Succeeded);
    let told = ["order.refund-requested", "order.refund-succeeded", "ledger.refund-posted"];
    assert_eq!(told_of_refunds(&shop, &order).await, told);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_that_fails_while_it_is_asked_for_is_looked_up_and_told(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    let part = parts(&order, &[], &Ask::Amount(pounds("10.00")));
    asks(&shop, &order, 1, &[], part).await;
    let fails_at_once = "
        create function sandbox_provider.fails_at_once() returns trigger language plpgsql as
            $$ begin new.state := 'failed'; return new; end $$;
        create trigger fails_at_once before insert on sandbox_provider.refunds
            for each row execute function sandbox_provider.fails_at_once()";
    sqlx::raw_sql(fails_at_once).execute(&shop.owner).await.unwrap();
    let why = "the bank does not take it".to_owned();
    assert_eq!(refusal(issues(&shop, &order, 1).await), Rejection::RefundFailed { why });
    let recovers = "drop trigger fails_at_once on sandbox_provider.refunds";
    sqlx::raw_sql(recovers).execute(&shop.owner).await.unwrap();
    issues(&shop, &order, 1).await.unwrap();
    let records = [("failed".to_owned(), pounds("10.00")), succeeded(pounds("10.00"))];
    assert_eq!(provider_records(&shop, &order).await, records);
    assert_eq!(record_of(&shop, &order).await, (pounds("10.00"), pounds("10.00")));
}

/// The provider has no such refund, and no money for it: the shop cannot fix that.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn money_that_a_person_gave_back_at_the_provider_is_not_given_back_again(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    let part = parts(&order, &[], &Ask::Amount(pounds("10.00")));
    asks(&shop, &order, 1, &[], part).await;
    sqlx::query!(
        "insert into sandbox_provider.refunds (idempotency_key, payment_id, amount, state)
         select 'by hand', payment_id, captured, 'succeeded'
         from sandbox_provider.payments where merchant_reference = $1",
        order.order_id.to_string(),
    )
    .execute(&shop.owner)
    .await
    .unwrap();
    invalid_answer(issues(&shop, &order, 1).await);
    assert_eq!(provider_records(&shop, &order).await, [succeeded(order.totals.total)]);
    assert_eq!(record_of(&shop, &order).await, (pounds("10.00"), pounds("0")));
    withdraws(&shop, &order, 1).await.unwrap();
    assert_eq!(state_of(&shop, &order, 1).await, RefundState::Failed, "a person gives it up");
    assert_eq!(record_of(&shop, &order).await, (pounds("0"), pounds("0")));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_that_is_given_up_frees_its_amount_and_cannot_be_carried_out(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    let all = parts(&order, &[], &Ask::Amount(order.totals.total));
    asks(&shop, &order, 1, &[], all).await;
    withdraws(&shop, &order, 1).await.unwrap();
    withdraws(&shop, &order, 1).await.unwrap();
    assert_eq!(state_of(&shop, &order, 1).await, RefundState::Cancelled, "nobody was asked");
    assert_eq!(not_open(issues(&shop, &order, 1).await), None);

    assert_eq!(asks(&shop, &order, 2, &[], all).await, requested(2), "all of it is free");
    pends(&shop, &order, 2).await;
    refunds_are(&shop, "failed").await;
    refusal(issues(&shop, &order, 2).await);
    withdraws(&shop, &order, 2).await.unwrap();
    assert_eq!(state_of(&shop, &order, 2).await, RefundState::Failed);
    assert_eq!(not_open(issues(&shop, &order, 2).await), None);
    assert_eq!(record_of(&shop, &order).await, (pounds("0"), pounds("0")));
    assert_eq!(shop.payment_of(&order).await, "paid");
    let told = [
        "order.refund-requested",
        "order.refund-cancelled",
        "order.refund-requested",
        "order.refund-failed",
    ];
    assert_eq!(told_of_refunds(&shop, &order).await, told);
    assert_eq!(not_open(issues(&shop, &order, 3).await), None, "nobody asked for a third");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_that_is_being_given_up_is_not_asked_for_any_more(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    let part = parts(&order, &[], &Ask::Amount(pounds("10.00")));
    asks(&shop, &order, 1, &[], part).await;
    trouble(&shop, "refund", "unavailable").await;
    assert_unavailable(issues(&shop, &order, 1).await, None);
    // The run that gives it up is lost before the provider has answered.
    trouble(&shop, "look-up", "unavailable").await;
    assert_unavailable(withdraws(&shop, &order, 1).await, None);
    assert_eq!(state_of(&shop, &order, 1).await, RefundState::Pending);
    assert_eq!(not_open(issues(&shop, &order, 1).await), None);
    assert_eq!(state_of(&shop, &order, 1).await, RefundState::Failed);

    asks(&shop, &order, 2, &[], part).await;
    sqlx::query!("update payments.refund_requests set given_up_at = now() where number = 2")
        .execute(&shop.owner)
        .await
        .unwrap();
    assert_eq!(not_open(issues(&shop, &order, 2).await), None);
    assert_eq!(state_of(&shop, &order, 2).await, RefundState::Cancelled, "nobody was asked");
    assert_eq!(provider_records(&shop, &order).await, []);
    assert_eq!(record_of(&shop, &order).await, (pounds("0"), pounds("0")));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn money_that_was_given_back_is_booked_though_the_refund_is_given_up(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    let part = parts(&order, &[], &Ask::Amount(pounds("10.00")));
    asks(&shop, &order, 1, &[], part).await;
    trouble(&shop, "refund", "lost").await;
    assert_unavailable(issues(&shop, &order, 1).await, None);
    withdraws(&shop, &order, 1).await.unwrap();
    assert_eq!(state_of(&shop, &order, 1).await, RefundState::Succeeded);
    assert_eq!(record_of(&shop, &order).await, (pounds("10.00"), pounds("10.00")));
    let left = order.totals.total.checked_sub(pounds("10.00")).unwrap();
    assert_eq!(debit_of(&shop, &order, "payment-clearing").await, left.amount());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn goods_are_given_back_at_what_they_cost_with_their_tax(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    let lines = vec![RefundLine { sku: sku(HEART), quantity: Quantity::new(2).unwrap() }];
    let hearts = parts(&order, &[], &Ask::Goods { lines, with_shipping: false });
    // Two of £2.95, and 20 % tax.
    assert_eq!(hearts.total().unwrap(), pounds("7.08"));
    asks(&shop, &order, 1, &[], hearts).await;
    issues(&shop, &order, 1).await.unwrap();
    assert_eq!(debit_of(&shop, &order, "refunds").await, pounds("5.90").amount());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_of_which_a_refund_was_asked_for_is_not_taken_back(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    let part = parts(&order, &[], &Ask::Amount(pounds("10.00")));
    asks(&shop, &order, 1, &[], part).await;
    let note = UnwindingNote { order_id: order.order_id, ending: cancelled("changed my mind") };
    let ended = not_open(orders::note_unwinding(&shop.db, &note, RUN).await);
    assert_eq!(ended.unwrap()["status"], "completed");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_that_needs_a_person_is_shown_with_its_order_that_has_ended(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    let needs_a_person = async || {
        let waits = sqlx::query_scalar!(
            r#"select attention is not null as "waits!" from orders.orders where order_id = $1"#,
            order.order_id.uuid(),
        );
        waits.fetch_one(&shop.db).await.unwrap()
    };
    shop.needs_a_person(&order, StepName::IssueRefund, "the refund failed").await;
    assert!(needs_a_person().await);
    shop.decides(&order, StepName::IssueRefund, 1, Decision::Retry).await;
    assert!(!needs_a_person().await);
    assert_eq!(shop.status_of(&order).await, "completed");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_else_is_noted_late_leaves_an_order_that_has_ended_alone(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    shop.needs_a_person(&order, StepName::ShipOrder, "a late note").await;
    let attention = sqlx::query_scalar!(
        "select attention from orders.orders where order_id = $1",
        order.order_id.uuid(),
    );
    assert_eq!(attention.fetch_one(&shop.db).await.unwrap(), None);
}
