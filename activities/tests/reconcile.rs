//! Provider and shop are compared exactly; a difference is reported once, until it is gone; and
//! payouts are posted once.

use activities::payment::port::PaymentProvider;
use activities::reconcile::{Amount, Asked, Report, reconcile, rehearse};
use activities::{ActivityFault, disputes};
use chrono::DateTime;
use domain::Order;
use domain::dispute::{DisputeFacts, DisputeStatus, Movement, MovementKind};
use domain::refund::RefundId;
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;
use testkit::pounds;

use crate::refunds::completed;
use crate::stripe::{Scripted, Stripe, answers, lost};
use crate::support::{
    Shop, TROUBLES, assert_unavailable, cancelled, fails, not_open, order, paid_with,
};

/// A reconciliation of all of a test's payments.
fn always(name: &str) -> Asked {
    Asked {
        name: name.to_owned(),
        from: Some(DateTime::UNIX_EPOCH),
        to: DateTime::from_timestamp(4_000_000_000, 0),
        days: 30,
    }
}

async fn runs(shop: &Shop, name: &str) -> Result<Report, ActivityFault> {
    reconcile(&shop.db, &shop.provider, &always(name)).await
}

async fn compares(shop: &Shop, name: &str) -> Report {
    runs(shop, name).await.unwrap()
}

/// Executes a statement as the owner of the schemas.
async fn does(shop: &Shop, statement: &'static str) {
    sqlx::raw_sql(statement).execute(&shop.owner).await.unwrap();
}

/// An order that was cancelled after its payment was authorised.
async fn called_off(shop: &Shop, number: u32) -> Order {
    let order = order(number);
    shop.places(&order).await;
    shop.authorises(&order).await.unwrap();
    shop.unwinds(&order).await;
    shop.voids(&order).await.unwrap();
    shop.ends(&order, cancelled("changed my mind")).await;
    order
}

/// Each open difference, as `kind subject: there, here`.
fn told(report: &Report) -> Vec<String> {
    let amount = |amount: &Option<Amount>| match amount {
        Some(Amount { amount, currency }) => format!("{amount} {currency}"),
        None => "nothing".to_owned(),
    };
    let line = |one: &activities::reconcile::Difference| {
        let (there, here) = (amount(&one.at_provider), amount(&one.in_shop));
        format!("{} {}: {there}, {here}", one.kind.name(), one.subject)
    };
    report.differences.iter().map(line).collect()
}

/// The total of every order here.
const TOTAL: &str = "46.38";

/// Damages a completed order by a statement of the owner's; expects one report, and its end after
/// the repair.
async fn is_told(db: PgPool, damage: &'static str, expected: &[&str], repair: &'static str) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    assert_eq!(order.totals.total.amount().to_string(), TOTAL);
    does(&shop, damage).await;
    let first = compares(&shop, "first").await;
    assert_eq!(told(&first), expected);
    let count = i64::try_from(expected.len()).unwrap();
    assert_eq!((first.opened, first.closed, first.found), (count, 0, count));
    let again = compares(&shop, "again").await;
    assert_eq!(told(&again), expected);
    assert_eq!((again.opened, again.closed, again.found), (0, 0, count));
    does(&shop, repair).await;
    let gone = compares(&shop, "gone").await;
    assert_eq!((gone.opened, gone.closed, gone.found), (0, count, 0), "{:?}", told(&gone));
}

macro_rules! differences {
    ($($name:ident: $damage:literal, [$($told:literal),+], $repair:literal;)*) => {
        $(
            #[sqlx::test(migrator = "MIGRATIONS")]
            async fn $name(db: PgPool) {
                is_told(db, $damage, &[$($told),+], $repair).await;
            }
        )*
    };
}

differences! {
    a_payment_that_the_shop_does_not_know_is_told:
        "insert into sandbox_provider.payments (idempotency_key, merchant_reference, amount,
             captured, currency, token, state)
         values ('a', 'another shop', 5, 5, 'GBP', 'tok_visa', 'captured')",
        ["not-in-shop sandbox-payment-2: 5.00 GBP, nothing"],
        "delete from sandbox_provider.payments where payment_id = 2";
    a_payment_that_the_provider_does_not_know_is_told:
        "update payments.charges set provider_reference = 'sandbox-payment-7';
         update sandbox_provider.payments set state = 'voided', captured = 0",
        ["not-at-provider sandbox-payment-7: nothing, 46.38 GBP"],
        "update payments.charges set provider_reference = 'sandbox-payment-1';
         update sandbox_provider.payments set state = 'captured', captured = amount";
    a_penny_too_little_is_told:
        "update sandbox_provider.payments set captured = captured - 0.01",
        ["amounts-differ sandbox-payment-1: 46.37 GBP, 46.38 GBP"],
        "update sandbox_provider.payments set captured = amount";
    another_currency_is_told_although_the_amount_is_the_same:
        "update sandbox_provider.payments set currency = 'EUR'",
        ["amounts-differ sandbox-payment-1: 46.38 EUR, 46.38 GBP"],
        "update sandbox_provider.payments set currency = 'GBP'";
    money_that_the_provider_has_not_taken_is_told:
        "update sandbox_provider.payments set state = 'voided', captured = 0",
        ["captured-only-here sandbox-payment-1: 0.00 GBP, 46.38 GBP"],
        "update sandbox_provider.payments set state = 'captured', captured = amount";
    money_given_back_at_the_provider_is_told:
        "insert into sandbox_provider.refunds (idempotency_key, payment_id, amount, state)
         values ('by hand', 1, 5, 'succeeded')",
        ["refunded-only-there sandbox-payment-1: 5.00 GBP, 0.00 GBP"],
        "delete from sandbox_provider.refunds";
    money_that_was_not_given_back_is_told:
        "update payments.charges set refunded = 5",
        ["refunded-only-here sandbox-payment-1: 0.00 GBP, 5.00 GBP"],
        "update payments.charges set refunded = 0";
    a_refund_that_failed_after_it_was_booked_is_told:
        "update payments.charges set refunded = 5;
         insert into payments.refunds (refund_key, charge_key, provider_reference, currency, amount)
         select 'a-refund', charge_key, 'sandbox-refund-1', 'GBP', 5 from payments.charges;
         insert into sandbox_provider.refunds (idempotency_key, payment_id, amount, state)
         values ('a-refund', 1, 5, 'failed')",
        ["refund-failed-there sandbox-payment-1: 0.00 GBP, 5.00 GBP"],
        "insert into sandbox_provider.refunds (idempotency_key, payment_id, amount, state)
         values ('a-refund', 1, 5, 'succeeded')";
    a_second_charge_for_an_order_is_told:
        "insert into sandbox_provider.payments (idempotency_key, merchant_reference, amount,
             captured, currency, token, state, created_at)
         select 'another', merchant_reference, amount, captured, currency, token, state,
             created_at - interval '1 hour'
         from sandbox_provider.payments",
        ["charged-twice sandbox-payment-2: 46.38 GBP, nothing"],
        "insert into sandbox_provider.refunds (idempotency_key, payment_id, amount, state)
         values ('by hand', 2, 46.38, 'succeeded')";
    a_payment_in_an_unknown_currency_is_told:
        "update sandbox_provider.payments set currency = 'QQQ'",
        ["unreadable sandbox-payment-1: nothing, 46.38 GBP"],
        "update sandbox_provider.payments set currency = 'GBP'";
}

/// Settles a difference, as an operator does by the API.
async fn settles(shop: &Shop, difference_id: i64) -> bool {
    let settled = sqlx::query_scalar!(
        r#"select finance.settle_difference($1, 'eve', 'given back in cash') as "settled!""#,
        difference_id,
    );
    settled.fetch_one(&shop.starter).await.unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_a_person_has_settled_is_told_no_more_until_it_is_another_amount(db: PgPool) {
    let shop = Shop::stocked(db).await;
    completed(&shop, 1).await;
    does(&shop, "update payments.charges set refunded = 5").await;
    assert_eq!(compares(&shop, "first").await.found, 1);
    assert!(settles(&shop, 1).await);
    assert!(!settles(&shop, 1).await, "once");
    for name in ["second", "third"] {
        let quiet = compares(&shop, name).await;
        assert!(quiet.is_clean(), "{:?}", told(&quiet));
        assert_eq!((quiet.opened, quiet.closed), (0, 0));
    }
    does(&shop, "update payments.charges set refunded = 6").await;
    let changed = compares(&shop, "changed").await;
    assert_eq!(told(&changed), ["refunded-only-here sandbox-payment-1: 0.00 GBP, 6.00 GBP"]);
    assert_eq!((changed.opened, changed.closed, changed.found), (1, 1, 1));
    // Who settled the earlier difference is still on record.
    let kept = sqlx::query_scalar!(
        "select settled_by from finance.differences where closed_at is not null"
    );
    assert_eq!(kept.fetch_all(&shop.owner).await.unwrap(), [Some("eve".to_owned())]);
    let open = sqlx::query_scalar!(
        "select difference_id from finance.differences where closed_at is null"
    );
    let open = open.fetch_one(&shop.owner).await.unwrap();
    assert!(settles(&shop, open).await);
    does(&shop, "update payments.charges set refunded = 0").await;
    let gone = compares(&shop, "gone").await;
    assert_eq!((gone.opened, gone.closed, gone.found), (0, 1, 0));
    assert!(!settles(&shop, open).await, "it is gone");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_shop_in_order_differs_in_nothing_and_money_taken_for_an_ended_order_is_told(db: PgPool) {
    let shop = Shop::stocked(db).await;
    completed(&shop, 1).await;
    called_off(&shop, 2).await;
    let report = compares(&shop, "first").await;
    assert!(report.is_clean(), "{:?}", told(&report));
    assert_eq!((report.payments, report.refunds, report.payouts), (2, 0, 0));
    let late = "update sandbox_provider.payments set state = 'captured', captured = amount
                where state = 'voided'";
    does(&shop, late).await;
    let report = compares(&shop, "second").await;
    assert_eq!(told(&report), ["captured-only-there sandbox-payment-2: 46.38 GBP, 0.00 GBP"]);
}

/// The provider still holds the authorisation of a payment that the shop has voided.
const HELD: &str = "update sandbox_provider.payments
    set state = 'authorised', expires_at = now() + interval '1 day' where state = 'voided'";

async fn at_the_provider(shop: &Shop) -> Vec<String> {
    sqlx::query_scalar!("select state from sandbox_provider.payments order by payment_id")
        .fetch_all(&shop.owner)
        .await
        .unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_authorisation_that_is_left_on_an_order_which_is_over_is_voided(db: PgPool) {
    let shop = Shop::on(db);
    let order = called_off(&shop, 1).await;
    let events = shop.events_of(&order).await;
    does(&shop, HELD).await;
    let report = compares(&shop, "first").await;
    assert_eq!((report.voided, report.opened, report.found), (1, 0, 0));
    assert_eq!(at_the_provider(&shop).await, ["voided"]);
    // The order already has its event.
    assert_eq!(shop.events_of(&order).await, events);
    let again = compares(&shop, "again").await;
    assert_eq!((again.voided, again.found), (0, 0));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_shows_an_authorisation_which_was_left_is_told_that_it_is_voided(db: PgPool) {
    let shop = Shop::on(db);
    let order = order(1);
    shop.places(&order).await;
    shop.authorises(&order).await.unwrap();
    shop.unwinds(&order).await;
    shop.ends(&order, cancelled("changed my mind")).await;
    assert_eq!(compares(&shop, "first").await.voided, 1);
    assert_eq!(at_the_provider(&shop).await, ["voided"]);
    assert_eq!(shop.payment_of(&order).await, "voided");
    assert_eq!(shop.events_of(&order).await.last().unwrap(), "payment.voided");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_a_person_has_decided_to_leave_is_told_and_left(db: PgPool) {
    let shop = Shop::on(db);
    called_off(&shop, 1).await;
    does(&shop, HELD).await;
    does(
        &shop,
        "select orders.record(order_id, 'order.attention-resolved',
            '{\"step\":\"authorise-payment\",\"occurrence\":1,\"decision\":\"skip\",\"by\":\"Ada\",\"why\":\"I know\"}')
         from orders.orders",
    )
    .await;
    let report = compares(&shop, "first").await;
    assert_eq!(told(&report), ["authorised-and-left sandbox-payment-1: 46.38 GBP, 0.00 GBP"]);
    assert_eq!((report.voided, at_the_provider(&shop).await), (0, vec!["authorised".to_owned()]));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_authorisation_is_left_where_the_order_is_open_or_takes_it_for_paid(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let open = order(1);
    shop.places(&open).await;
    shop.authorises(&open).await.unwrap();
    completed(&shop, 2).await;
    does(
        &shop,
        "update orders.orders set updated_at = now() - interval '1 hour';
         update sandbox_provider.payments
         set state = 'authorised', captured = 0, expires_at = now() + interval '1 day'",
    )
    .await;
    let report = compares(&shop, "first").await;
    assert_eq!(report.voided, 0);
    assert_eq!(told(&report), ["captured-only-here sandbox-payment-2: 0.00 GBP, 46.38 GBP"]);
    assert_eq!(at_the_provider(&shop).await, ["authorised", "authorised"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_waits_for_what_is_decided_is_to_be_told_and_one_that_moves_is_not(
    db: PgPool,
) {
    let shop = Shop::on(db);
    let mut order = paid_with(order(1), "tok_needs_customer");
    order.terms.approval_seconds = 3_600;
    shop.places(&order).await;
    shop.asks_for_money(&order, 1).await.unwrap();
    assert!(compares(&shop, "undecided").await.hints.is_empty());
    assert!(shop.customer_answers(&order, true).await);
    assert!(compares(&shop, "moving").await.hints.is_empty());
    does(&shop, "update orders.orders set updated_at = now() - interval '1 hour'").await;
    let report = compares(&shop, "waiting").await;
    let [hint] = &report.hints[..] else { panic!("{:?}", report.hints) };
    assert_eq!(hint.workflow_id, order.order_id.workflow_id());
    assert_eq!(
        (hint.reference.as_str(), hint.status.as_str()),
        ("sandbox-payment-1", "authorised")
    );
    assert!(report.is_clean(), "{:?}", told(&report));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_that_waits_for_what_is_decided_is_to_be_told(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = completed(&shop, 1).await;
    let refund = RefundId { order_id: order.order_id, number: 1 };
    let key = refund.key(order.record_version).to_string();
    sqlx::query!(
        "insert into payments.refund_requests (order_id, number, charge_key, currency, amount, goods,
             goods_tax, shipping, shipping_tax, lines, reason, requested_by, request, fingerprint,
             state, updated_at)
         select order_id, 1, charge_key, 'GBP', 5, 5, 0, 0, 0, '[]', 'broken', 'Ada', 'r', 'v1:',
             'pending', now() - interval '1 hour'
         from payments.charges",
    )
    .execute(&shop.owner)
    .await
    .unwrap();
    sqlx::query!(
        "insert into sandbox_provider.refunds (idempotency_key, payment_id, amount, state)
         values ($1, 1, 5, 'pending')",
        key,
    )
    .execute(&shop.owner)
    .await
    .unwrap();
    assert!(compares(&shop, "undecided").await.hints.is_empty());
    does(&shop, "update sandbox_provider.refunds set state = 'succeeded'").await;
    let report = compares(&shop, "decided").await;
    let [hint] = &report.hints[..] else { panic!("{:?}", report.hints) };
    assert_eq!(hint.workflow_id, refund.workflow_id());
    // The record follows once the refund has been signalled.
    assert!(report.is_clean(), "{:?}", told(&report));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_list_of_many_pages_is_read_to_its_end(db: PgPool) {
    let shop = Shop::stocked(db).await;
    completed(&shop, 1).await;
    does(
        &shop,
        "insert into sandbox_provider.payments (idempotency_key, merchant_reference, amount,
             captured, currency, token, state)
         select 'a' || number, 'another shop', 5, case number when 250 then 5 else 0 end, 'GBP',
             'tok_visa', case number when 250 then 'captured' else 'voided' end
         from generate_series(1, 250) as number",
    )
    .await;
    let report = compares(&shop, "first").await;
    assert_eq!(report.payments, 251);
    assert_eq!(told(&report), ["not-in-shop sandbox-payment-251: 5.00 GBP, nothing"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_range_has_its_first_moment_and_not_its_last(db: PgPool) {
    let shop = Shop::on(db);
    does(
        &shop,
        "insert into sandbox_provider.payments (idempotency_key, merchant_reference, amount,
             captured, currency, token, state, created_at)
         select 'a' || second, 'another shop', 5, 5, 'GBP', 'tok_visa', 'captured',
             '2026-01-01 00:00:00+00'::timestamptz + make_interval(secs => second)
         from generate_series(0, 4) as second",
    )
    .await;
    let moment = |seconds: i64| DateTime::from_timestamp(seconds, 0);
    let (from, to) = (moment(1_767_225_601), moment(1_767_225_603));
    let asked = Asked { from, to, ..always("first") };
    let report = reconcile(&shop.db, &shop.provider, &asked).await.unwrap();
    assert_eq!(report.payments, 2);
    let subjects: Vec<_> = report.differences.iter().map(|one| one.subject.as_str()).collect();
    assert_eq!(subjects, ["sandbox-payment-2", "sandbox-payment-3"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_payment_at_the_border_of_the_range_is_asked_for_and_not_missed(db: PgPool) {
    let shop = Shop::stocked(db).await;
    completed(&shop, 1).await;
    // Opened before the range, and stored in it.
    does(&shop, "update sandbox_provider.payments set created_at = '2020-01-01'").await;
    let from = DateTime::from_timestamp(1_609_459_200, 0);
    let asked = Asked { from, ..always("first") };
    let report = reconcile(&shop.db, &shop.provider, &asked).await.unwrap();
    assert_eq!(report.payments, 0);
    assert!(report.is_clean(), "{:?}", told(&report));
    let seen = sqlx::query_scalar!("select standing from finance.provider_payments");
    assert_eq!(seen.fetch_all(&shop.db).await.unwrap(), ["known"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_page_that_does_not_come_whole_is_asked_for_again_from_where_the_run_was(db: PgPool) {
    let shop = Shop::stocked(db).await;
    completed(&shop, 1).await;
    for trouble in TROUBLES {
        sqlx::query!(
            "insert into sandbox_provider.behaviours (call, whom, behaviour, remaining)
             values ('list', '*', $1, 1)",
            trouble,
        )
        .execute(&shop.owner)
        .await
        .unwrap();
        fails(trouble, runs(&shop, trouble)).await;
        let report = compares(&shop, trouble).await;
        assert_eq!(report.payments, 1, "{trouble}");
        assert!(report.is_clean(), "{trouble}: {:?}", told(&report));
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn one_run_is_under_way_at_a_time_and_one_that_is_silent_is_taken_over(db: PgPool) {
    let shop = Shop::on(db);
    does(
        &shop,
        "insert into sandbox_provider.behaviours (call, whom, behaviour, remaining)
         values ('list', '*', 'unavailable', 1)",
    )
    .await;
    assert_unavailable(runs(&shop, "first").await, None);
    assert_unavailable(runs(&shop, "second").await, None);
    does(&shop, "update finance.runs set touched_at = now() - interval '6 minutes'").await;
    assert!(compares(&shop, "second").await.is_clean());
    assert_eq!(not_open(runs(&shop, "first").await), None);
    // A finished run is reported, and not executed again.
    does(
        &shop,
        "insert into sandbox_provider.payments (idempotency_key, merchant_reference, amount,
             captured, currency, token, state)
         values ('a', 'another shop', 5, 5, 'GBP', 'tok_visa', 'captured')",
    )
    .await;
    assert!(compares(&shop, "second").await.is_clean());
    assert!(!compares(&shop, "third").await.is_clean());
}

/// The rows of reconciliations, and the ledger entries without an order.
async fn traces(shop: &Shop) -> Vec<i64> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from finance.runs
           union all select count(*) from finance.differences
           union all select count(*) from finance.provider_payments
           union all select count(*) from finance.payouts
           union all select count(*) from ledger.transactions where order_id is null
               and key like 'balance-transaction:%'"#,
    )
    .fetch_all(&shop.owner)
    .await
    .unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_rehearsal_finds_the_same_and_leaves_no_trace(db: PgPool) {
    let shop = Shop::stocked(db).await;
    called_off(&shop, 1).await;
    completed(&shop, 2).await;
    does(&shop, HELD).await;
    does(
        &shop,
        "update payments.charges set refunded = 5 where captured > 0;
         select sandbox_provider.pay_out()",
    )
    .await;
    let rehearsed = rehearse(&shop.db, &shop.provider, &always("first")).await.unwrap();
    assert_eq!(traces(&shop).await, [0; 5]);
    assert_eq!(at_the_provider(&shop).await, ["authorised", "captured"]);
    let done = compares(&shop, "first").await;
    assert_eq!(told(&rehearsed), told(&done));
    assert_eq!((rehearsed.voided, rehearsed.payouts), (1, 1));
    assert_eq!((done.voided, done.payouts), (1, 1));
    assert_eq!(at_the_provider(&shop).await, ["voided", "captured"]);
}

// Payouts.

/// The balances of accounts, debits minus credits.
async fn balances(shop: &Shop) -> Vec<String> {
    sqlx::query_scalar!(
        r#"select account || ' ' || sum(case side when 'debit' then amount else -amount end) || ' '
               || currency as "balance!"
           from ledger.entries
           where account in ('payment-clearing', 'bank', 'payment-fees')
           group by account, currency order by account, currency"#,
    )
    .fetch_all(&shop.db)
    .await
    .unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_payout_and_its_fees_are_booked_once_and_nothing_is_left_in_clearing(db: PgPool) {
    let shop = Shop::stocked(db).await;
    completed(&shop, 1).await;
    completed(&shop, 2).await;
    assert_eq!(balances(&shop).await, ["payment-clearing 92.76 GBP"]);
    does(&shop, "select sandbox_provider.pay_out()").await;
    let booked = ["bank 91.36 GBP", "payment-clearing 0.00 GBP", "payment-fees 1.40 GBP"];
    for name in ["first", "again"] {
        let report = compares(&shop, name).await;
        assert!(report.is_clean(), "{:?}", told(&report));
        assert_eq!(report.payouts, 1);
        assert_eq!(balances(&shop).await, booked);
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_payout_with_something_in_it_that_no_order_shows_is_told(db: PgPool) {
    let shop = Shop::stocked(db).await;
    completed(&shop, 1).await;
    does(
        &shop,
        "select sandbox_provider.pay_out();
         insert into sandbox_provider.balance_transactions (payout_id, kind, currency, amount)
         values (1, 'other', 'GBP', -15), (1, 'fee', 'GBP', -2);
         update sandbox_provider.payouts set amount = amount - 17",
    )
    .await;
    let report = compares(&shop, "first").await;
    // A fee is posted, whatever it is for; the rest of the payout is unexplained.
    assert_eq!(told(&report), ["payout-differs sandbox-payout-1: 28.68 GBP, 43.68 GBP"]);
    let booked = ["bank 28.68 GBP", "payment-clearing 15.00 GBP", "payment-fees 2.70 GBP"];
    assert_eq!(balances(&shop).await, booked);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_payout_in_another_currency_than_its_payments_is_told(db: PgPool) {
    let shop = Shop::stocked(db).await;
    completed(&shop, 1).await;
    does(
        &shop,
        "select sandbox_provider.pay_out();
         update sandbox_provider.balance_transactions set currency = 'EUR';
         update sandbox_provider.payouts set currency = 'EUR'",
    )
    .await;
    let report = compares(&shop, "first").await;
    let differs = ["settled-in-another-currency sandbox-payout-1: 45.68 EUR, -0.70 EUR"];
    assert_eq!(told(&report), differs);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_payout_that_is_under_way_is_not_booked_and_one_that_comes_back_is_taken_back(
    db: PgPool,
) {
    let shop = Shop::stocked(db).await;
    completed(&shop, 1).await;
    does(
        &shop,
        "select sandbox_provider.pay_out(); update sandbox_provider.payouts set state = 'pending'",
    )
    .await;
    compares(&shop, "pending").await;
    assert_eq!(balances(&shop).await, ["payment-clearing 46.38 GBP"]);
    does(&shop, "update sandbox_provider.payouts set state = 'paid'").await;
    compares(&shop, "paid").await;
    let paid = ["bank 45.68 GBP", "payment-clearing 0.00 GBP", "payment-fees 0.70 GBP"];
    assert_eq!(balances(&shop).await, paid);
    does(&shop, "update sandbox_provider.payouts set state = 'failed'").await;
    let back = ["bank 0.00 GBP", "payment-clearing 45.68 GBP", "payment-fees 0.70 GBP"];
    for name in ["back", "again"] {
        assert!(compares(&shop, name).await.is_clean());
        assert_eq!(balances(&shop).await, back);
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_payout_that_is_not_itemised_is_booked_and_told(db: PgPool) {
    let shop = Shop::stocked(db).await;
    completed(&shop, 1).await;
    does(
        &shop,
        "select sandbox_provider.pay_out();
         update sandbox_provider.payouts set is_itemised = false",
    )
    .await;
    let report = compares(&shop, "first").await;
    assert_eq!(told(&report), ["payout-differs sandbox-payout-1: 45.68 GBP, 0.00 GBP"]);
    assert_eq!(balances(&shop).await, ["bank 45.68 GBP", "payment-clearing 0.70 GBP"]);
}

// Stripe.

fn page(items: &[Value], has_more: bool) -> Scripted {
    answers(200, &json!({"object": "list", "data": items, "has_more": has_more}))
}

fn none() -> Scripted {
    page(&[], false)
}

/// A payment of 46.38 pounds, of which this much is refunded.
fn taken(id: &str, currency: &str, given_back: u64) -> Value {
    json!({
        "id": id, "object": "payment_intent", "amount": 4_638, "amount_received": 4_638,
        "currency": currency, "status": "succeeded", "created": 1_767_225_600,
        "metadata": {}, "next_action": null, "last_payment_error": null,
        "latest_charge": {
            "id": "ch_1a", "object": "charge", "amount": 4_638, "amount_refunded": given_back,
            "refunded": given_back == 4_638, "payment_method_details": null,
        },
    })
}

async fn with_stripe(shop: &Shop, stripe: &Stripe, name: &str) -> Result<Report, ActivityFault> {
    let provider: &dyn PaymentProvider = &stripe.provider;
    reconcile(&shop.db, provider, &always(name)).await
}

/// A shop with a completed order that was paid by Stripe.
async fn paid_by_stripe(db: PgPool) -> Shop {
    let shop = Shop::stocked(db).await;
    completed(&shop, 1).await;
    does(&shop, "update payments.charges set provider_reference = 'pi_1a'").await;
    shop
}

const RANGE: &str = "created%5Bgte%5D=0&created%5Blt%5D=4000000000";

fn payments(after: &str) -> String {
    format!("GET /v1/payment_intents?{RANGE}&expand[]=data.latest_charge&limit=100{after}")
}

fn refunds() -> String {
    format!("GET /v1/refunds?{RANGE}&limit=100")
}

fn payouts() -> String {
    format!("GET /v1/payouts?{RANGE}&limit=100")
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn stripes_lists_are_read_page_by_page_and_a_broken_page_again(db: PgPool) {
    let shop = paid_by_stripe(db).await;
    let stripe = Stripe::that([
        page(&[taken("pi_2a", "gbp", 4_638)], true),
        lost(),
        page(&[taken("pi_1a", "gbp", 0)], false),
        none(),
        none(),
    ])
    .await;
    assert_unavailable(with_stripe(&shop, &stripe, "first").await, None);
    let report = with_stripe(&shop, &stripe, "first").await.unwrap();
    assert_eq!(report.payments, 2);
    assert!(report.is_clean(), "{:?}", told(&report));
    let (first, second) = (payments(""), payments("&starting_after=pi_2a"));
    stripe.was_asked(&[&first, &second, &second, &refunds(), &payouts()]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_page_of_stripes_is_longer_than_other_answers_and_leads_somewhere(db: PgPool) {
    let shop = paid_by_stripe(db).await;
    let mut long = taken("pi_1a", "gbp", 0);
    long["description"] = json!("a".repeat(100_000));
    let stripe = Stripe::that([page(&[long], false), none(), none()]).await;
    assert!(with_stripe(&shop, &stripe, "first").await.unwrap().is_clean());

    let stripe = Stripe::that([page(&[], true)]).await;
    let nowhere = with_stripe(&shop, &stripe, "second").await.unwrap_err();
    assert!(matches!(nowhere, ActivityFault::InvalidAnswer { .. }), "{nowhere:?}");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_stripe_took_in_another_currency_is_told_after_a_second_look(db: PgPool) {
    let shop = paid_by_stripe(db).await;
    let (pounds, euros) = (taken("pi_1a", "gbp", 0), taken("pi_1a", "eur", 0));
    let stripe = Stripe::that([
        page(std::slice::from_ref(&euros), false),
        none(),
        none(),
        answers(200, &euros),
    ])
    .await;
    let report = with_stripe(&shop, &stripe, "first").await.unwrap();
    assert_eq!(told(&report), ["amounts-differ pi_1a: 46.38 EUR, 46.38 GBP"]);
    // The list may be older than the payment itself.
    let stripe = Stripe::that([page(&[euros], false), none(), none(), answers(200, &pounds)]).await;
    let report = with_stripe(&shop, &stripe, "second").await.unwrap();
    assert_eq!((report.closed, report.found), (1, 0));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_that_fails_at_stripe_after_it_was_booked_is_told(db: PgPool) {
    let shop = paid_by_stripe(db).await;
    does(
        &shop,
        "update payments.charges set refunded = 5;
         insert into payments.refunds (refund_key, charge_key, provider_reference, currency, amount)
         select 'a-refund', charge_key, 're_1a', 'GBP', 5 from payments.charges",
    )
    .await;
    let failed = json!({
        "id": "re_1a", "object": "refund", "amount": 500, "currency": "gbp", "status": "failed",
        "payment_intent": "pi_1a", "metadata": {"refund_key": "a-refund"},
    });
    let payment = taken("pi_1a", "gbp", 0);
    let stripe = Stripe::that([
        none(),
        page(&[failed], false),
        // The refund is in the range, and its payment is older.
        answers(200, &payment),
        none(),
        answers(200, &payment),
    ])
    .await;
    let report = with_stripe(&shop, &stripe, "first").await.unwrap();
    assert_eq!(told(&report), ["refund-failed-there pi_1a: 0.00 GBP, 5.00 GBP"]);
    assert_eq!(report.refunds, 1);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_payment_that_stripe_has_not_decided_is_left_to_the_next_run(db: PgPool) {
    let shop = paid_by_stripe(db).await;
    let mut undecided = taken("pi_1a", "gbp", 0);
    undecided["status"] = json!("processing");
    let listed = page(std::slice::from_ref(&undecided), false);
    let stripe = Stripe::that([listed, none(), none()]).await;
    assert!(with_stripe(&shop, &stripe, "first").await.unwrap().is_clean());
    // So is one that seems to differ, if the second read is undecided.
    let euros = page(&[taken("pi_1a", "eur", 0)], false);
    let stripe = Stripe::that([euros, none(), none(), answers(200, &undecided)]).await;
    assert!(with_stripe(&shop, &stripe, "second").await.unwrap().is_clean());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_payout_of_stripes_is_booked_by_its_balance_transactions(db: PgPool) {
    let shop = paid_by_stripe(db).await;
    let payout = json!({
        "id": "po_1a", "object": "payout", "amount": 4_501, "currency": "gbp", "status": "paid",
        "automatic": true, "balance_transaction": "txn_out", "created": 1_767_225_600,
    });
    let settled = |id: &str, kind: &str, amount: i64, fee: i64, payment: Value| {
        json!({
            "id": id, "object": "balance_transaction", "amount": amount, "fee": fee,
            "currency": "gbp", "type": kind, "source": {"payment_intent": payment},
        })
    };
    let first = [
        settled("txn_out", "payout", -4_501, 0, Value::Null),
        settled("txn_1a", "charge", 4_638, 90, json!("pi_1a")),
    ];
    let second = [settled("txn_2a", "stripe_fee", -47, 0, Value::Null)];
    let script = || {
        [
            page(&[taken("pi_1a", "gbp", 0)], false),
            none(),
            page(std::slice::from_ref(&payout), false),
            page(&first, true),
            page(&second, false),
        ]
    };
    let settled = "GET /v1/balance_transactions?payout=po_1a&expand[]=data.source&limit=100";
    for name in ["first", "again"] {
        let stripe = Stripe::that(script()).await;
        let report = with_stripe(&shop, &stripe, name).await.unwrap();
        assert!(report.is_clean(), "{:?}", told(&report));
        let next = format!("{settled}&starting_after=txn_1a");
        stripe.was_asked(&[&payments(""), &refunds(), &payouts(), settled, &next]);
        let booked = ["bank 45.01 GBP", "payment-clearing 0.00 GBP", "payment-fees 1.37 GBP"];
        assert_eq!(balances(&shop).await, booked);
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_dispute_in_a_payout_is_booked_by_itself_whenever_it_is_heard_of(db: PgPool) {
    let shop = paid_by_stripe(db).await;
    let payout = json!({
        "id": "po_1a", "object": "payout", "amount": -1_590, "currency": "gbp", "status": "paid",
        "automatic": true, "balance_transaction": "txn_out", "created": 1_767_225_600,
    });
    let settled = |id: &str, kind: &str, amount: i64, fee: i64, source: Value| {
        json!({
            "id": id, "object": "balance_transaction", "amount": amount, "fee": fee,
            "currency": "gbp", "type": kind, "source": source,
        })
    };
    let of = |id: &str| json!({"id": id, "payment_intent": "pi_1a"});
    let items = [
        settled("txn_1a", "charge", 4_638, 90, of("ch_1a")),
        settled("txn_2a", "adjustment", -4_638, 1_500, of("du_1a")),
    ];
    let script = || {
        [
            page(&[taken("pi_1a", "gbp", 0)], false),
            none(),
            page(std::slice::from_ref(&payout), false),
            page(&items, false),
        ]
    };
    let before = with_stripe(&shop, &Stripe::that(script()).await, "before").await.unwrap();
    assert_eq!(told(&before), ["payout-differs po_1a: -15.90 GBP, 45.48 GBP"]);
    let booked = ["bank -15.90 GBP", "payment-clearing 61.38 GBP", "payment-fees 0.90 GBP"];
    assert_eq!(balances(&shop).await, booked);

    let moved = |kind, amount| Movement { reference: "txn_2a".to_owned(), kind, amount };
    let facts = DisputeFacts {
        dispute_id: "du_1a".to_owned(),
        payment_reference: "pi_1a".to_owned(),
        amount: pounds(TOTAL),
        status: DisputeStatus::NeedsResponse,
        reason: "general".to_owned(),
        evidence_due: None,
        movements: vec![
            moved(MovementKind::Withdrawn, pounds(TOTAL)),
            moved(MovementKind::Fee, pounds("15.00")),
        ],
    };
    disputes::apply(&shop.db, &facts).await.unwrap();
    let after = with_stripe(&shop, &Stripe::that(script()).await, "after").await.unwrap();
    assert!(after.is_clean(), "{:?}", told(&after));
    let booked = ["bank -15.90 GBP", "payment-clearing 0.00 GBP", "payment-fees 0.90 GBP"];
    assert_eq!(balances(&shop).await, booked);
}
