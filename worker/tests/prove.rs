//! A check that cannot fail shows nothing. Here every promise that `ordersaga prove` checks is
//! violated by hand, in a shop that is otherwise consistent, and the check must find it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::default_trait_access,
    reason = "what cannot be prepared or read fails its test"
)]

mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::{env, fs};

use activities::catalogue::{Article, Stocking};
use activities::payment::sandbox::SandboxProvider;
use activities::shipping::sandbox::SandboxCarrier;
use activities::stock::ArticleQueues;
use activities::{Activities, disputes, ledger, orders, payment, refunds, shipping, stock};
use domain::dispute::{DisputeFacts, DisputeStatus, Movement, MovementKind};
use domain::event::{OrderEvent, RefundRequested};
use domain::refund::{Ask, Left, Parts, RefundId};
use domain::{AddressId, Ending, Money, Order, OrderId, Rejection, StepKey, StepName};
use runtime::database::Database;
use runtime::schema::MIGRATIONS;
use sqlx::PgPool;
use support::{Shop, ended, order, put_on_record, until_listed};
use temporalio_client::WorkflowTerminateOptions;
use uuid::Uuid;
use worker::prove::{
    Finding, ProveError, RecentProof, Verdict, look_at_inboxes, look_at_logs, prove, prove_recent,
    put_in_place, table,
};
use workflows::order::{CancelRequest, EndNote, OrderSaga, UnwindingNote, signal_payload};

const SHIPPED: Uuid = Uuid::from_u128(1);
const REJECTED: Uuid = Uuid::from_u128(2);
const ADDRESS: Uuid = Uuid::from_u128(3);

/// A shop with one order that was shipped to an address and delivered, and one that was charged and
/// unwound.
async fn trade(db: &PgPool) {
    let articles: Vec<_> = order()
        .lines
        .into_iter()
        .map(|line| Article {
            sku: line.sku,
            name: "AN ARTICLE".to_owned(),
            unit_price: line.unit_price,
        })
        .collect();
    let stocking = Stocking { pieces: 10, cost_percent: 60.into() };
    activities::catalogue::load(db, &articles, stocking).await.unwrap();
    let database = Database::of(db.clone());
    let hands = Activities {
        db: database.clone(),
        articles: ArticleQueues::default(),
        provider: Arc::new(SandboxProvider::new(database.clone(), 0)),
        carrier: Arc::new(SandboxCarrier::new(database)),
        settings: activities::Settings {
            reservation_ttl: std::time::Duration::from_hours(1),
            ask_again_for: std::time::Duration::ZERO,
        },
    };
    sqlx::raw_sql(
        "insert into customers.addresses
            (address_id, customer_id, name, line1, city, postal_code, country)
         values ('00000000-0000-0000-0000-000000000003', '17850', 'Ada Lovelace',
            '12 St James''s Square', 'London', 'SW1Y 4JH', 'GB')",
    )
    .execute(db)
    .await
    .unwrap();
    let mut shipped = Order { order_id: OrderId::of(SHIPPED), ..order() };
    shipped.ship_to.address_id = Some(AddressId::of(ADDRESS));
    go_forward(&hands, &shipped).await;
    let key = shipped.key(StepName::ShipOrder);
    shipping::ship(db, &hands.articles, hands.carrier.as_ref(), key).await.unwrap();
    let recognise = shipped.key(StepName::RecogniseRevenue);
    ledger::recognise_revenue(db, recognise, "a run").await.unwrap();

    let rejected = Order { order_id: OrderId::of(REJECTED), ..order() };
    go_forward(&hands, &rejected).await;
    let key = |step| -> StepKey { rejected.key(step) };
    let rejection = Rejection::CardDeclined { decline_code: "later".to_owned() };
    let ending = Ending::Rejected { rejection };
    let unwinding = UnwindingNote { order_id: rejected.order_id, ending: ending.clone() };
    orders::note_unwinding(db, &unwinding, "a run").await.unwrap();
    let provider = hands.provider.as_ref();
    payment::refund(db, provider, key(StepName::CapturePayment)).await.unwrap();
    ledger::reverse(db, key(StepName::PostEntries)).await.unwrap();
    payment::void(db, provider, key(StepName::AuthorisePayment)).await.unwrap();
    stock::release(db, &hands.articles, key(StepName::ReserveStock)).await.unwrap();
    let end = EndNote { order_id: rejected.order_id, status: ending.into() };
    orders::note_end(db, &end).await.unwrap();
    give_back_a_part(&hands, &shipped).await;
    dispute_and_win(db, &shipped).await;
    let delivering = sqlx::query_scalar!(
        r#"select outcome as "outcome!" from orders.deliver($1, null, 'web-shop')"#,
        shipped.order_id.uuid(),
    );
    assert_eq!(delivering.fetch_one(db).await.unwrap(), "recorded");
}

/// The customer's bank takes the order's payment back, for a fee, and returns it.
async fn dispute_and_win(db: &PgPool, order: &Order) {
    let payment_reference = sqlx::query_scalar!(
        "select provider_reference from payments.charges where order_id = $1",
        order.order_id.uuid(),
    );
    let amount = order.totals.total;
    let moved = |reference: &str, kind, amount| {
        let reference = reference.to_owned();
        Movement { reference, kind, amount }
    };
    let withdrawn = vec![
        moved("txn_1", MovementKind::Withdrawn, amount),
        moved("txn_1", MovementKind::Fee, testkit::pounds("15.00")),
    ];
    let taken = DisputeFacts {
        dispute_id: "dp_1".to_owned(),
        payment_reference: payment_reference.fetch_one(db).await.unwrap(),
        amount,
        status: DisputeStatus::NeedsResponse,
        reason: "fraudulent".to_owned(),
        evidence_due: None,
        movements: withdrawn.clone(),
    };
    let back = moved("txn_2", MovementKind::Reinstated, amount);
    let movements = withdrawn.into_iter().chain([back]).collect();
    let won = DisputeFacts { status: DisputeStatus::Won, movements, ..taken.clone() };
    for snapshot in [taken, won] {
        disputes::apply(db, &snapshot).await.unwrap();
    }
}

/// A refund of a tenth of the payment.
async fn give_back_a_part(hands: &Activities, order: &Order) {
    let amount = order.totals.total.percent(10.into()).unwrap();
    let left = Left::of(&order.lines, &order.totals, &[]).unwrap();
    let parts = left.parts_of(&Ask::Amount(amount)).unwrap();
    let Parts { goods, goods_tax, shipping, shipping_tax } = parts;
    let amounts = [goods, goods_tax, shipping, shipping_tax].map(Money::amount).to_vec();
    let asked = OrderEvent::RefundRequested(RefundRequested {
        number: 1,
        amount,
        lines: vec![],
        reason: "arrived broken".to_owned(),
        requested_by: "Ada".to_owned(),
    });
    let outcome = sqlx::query_scalar!(
        r#"select outcome as "outcome!"
           from payments.request_refund($1, 1, 0, 'a request', 'v1:', $2, $3)"#,
        order.order_id.uuid(),
        &amounts,
        asked.data().unwrap(),
    );
    assert_eq!(outcome.fetch_one(hands.db.statements()).await.unwrap(), "requested");
    let refund = RefundId { order_id: order.order_id, number: 1 };
    let key = refund.key(order.record_version);
    refunds::issue(&hands.db, hands.provider.as_ref(), key).await.unwrap();
}

async fn go_forward(hands: &Activities, order: &Order) {
    let Activities { db, articles, provider, settings, .. } = hands;
    let placed = serde_json::to_value(order.placed()).unwrap();
    put_on_record(db.transactions(), order, &placed).await;
    let key = |step| order.key(step);
    let ttl = settings.reservation_ttl;
    stock::reserve(db, articles, ttl, key(StepName::ReserveStock)).await.unwrap();
    let provider = provider.as_ref();
    payment::authorise(db, provider, key(StepName::AuthorisePayment)).await.unwrap();
    payment::capture(db, provider, key(StepName::CapturePayment)).await.unwrap();
    ledger::post(db, key(StepName::PostEntries)).await.unwrap();
}

fn find<'a>(findings: &'a [Finding], promise: &str) -> &'a Finding {
    findings.iter().find(|finding| finding.promise == promise).expect("a check of this promise")
}

/// The promises that only a proof of everything shows.
const ONLY_WHOLE: &[&str] = &[
    "the sums of each closing are those of its entries",
    "what the provider paid out and kept is booked",
    "money that customers have transferred is booked",
    "stock = what reservations and movements add up to",
    "what the warehouse moved is booked",
    "the inventory account is what the goods in the house cost",
    "invoices and credit notes are numbered without a gap",
];

/// Violations that a recent proof does not find, because their order has no event.
const WITHOUT_EVENTS: &[&str] =
    &["an_order_without_events_is_found", "money_taken_for_no_order_is_found"];

/// A proof of what changed on the last day.
async fn proven_lately(db: &PgPool) -> RecentProof {
    prove_recent(db, None, 24).await.unwrap()
}

fn assert_found(findings: &[Finding], promise: &str) {
    let Verdict::Broken { times, examples } = &find(findings, promise).verdict else {
        panic!("not found:\n{}", table(findings));
    };
    assert!(*times > 0 && !examples.is_empty(), "{}", table(findings));
}

/// A promise that holds in a consistent shop is found broken after the violation: by a proof of
/// everything, and by a recent one, because the shop's orders have just changed.
async fn is_found(db: &PgPool, name: &str, promise: &str, violation: &'static str) {
    trade(db).await;
    let (before, lately) = (prove(db, None).await.unwrap(), proven_lately(db).await);
    for findings in [&before, &lately.findings] {
        assert!(!findings.iter().any(Finding::is_broken), "{}", table(findings));
    }
    sqlx::raw_sql(violation).execute(db).await.unwrap();
    assert_found(&prove(db, None).await.unwrap(), promise);
    let lately = proven_lately(db).await.findings;
    if ONLY_WHOLE.contains(&promise) {
        assert!(matches!(find(&lately, promise).verdict, Verdict::NotShown(_)));
    } else if WITHOUT_EVENTS.contains(&name) {
        assert!(!find(&lately, promise).is_broken(), "{}", table(&lately));
    } else {
        assert_found(&lately, promise);
    }
}

macro_rules! violations {
    ($($name:ident: $promise:literal, $violation:literal;)*) => {
        $(
            #[sqlx::test(migrator = "MIGRATIONS")]
            async fn $name(db: PgPool) {
                is_found(&db, stringify!($name), $promise, $violation).await;
            }
        )*

        const PROMISES_BROKEN: &[&str] = &[$($promise),*];
    };
}

violations! {
    an_entry_that_was_changed_is_found:
        "debits = credits in each transaction and currency",
        "alter table ledger.entries disable trigger user;
         update ledger.entries set amount = amount + 0.01 where transaction_id = 2 and line = 1";
    a_cost_that_was_changed_past_the_books_is_found:
        "the inventory account is what the goods in the house cost",
        "alter table catalog.products disable trigger user;
         update catalog.products set unit_cost = unit_cost + 1";
    a_transaction_without_entries_is_found:
        "debits = credits in each transaction and currency",
        "alter table ledger.transactions disable trigger user;
         insert into ledger.transactions (key) values ('nothing')";
    a_transaction_balanced_across_currencies_is_found:
        "debits = credits in each transaction and currency",
        "alter table ledger.entries disable trigger user;
         update ledger.entries set currency = 'EUR' where transaction_id = 2 and line = 1";
    a_trial_balance_that_does_not_come_to_zero_is_found:
        "the balances of all accounts come to zero",
        "alter table ledger.entries disable trigger user;
         delete from ledger.entries where transaction_id = 2 and line = 1";
    an_entry_on_no_account_is_found:
        "the balances of all accounts come to zero",
        "alter table ledger.entries disable trigger user;
         alter table ledger.entries drop constraint entries_account_known;
         update ledger.entries set account = 'petty-cash' where transaction_id = 2 and line = 1";
    books_that_are_closed_with_other_sums_are_found:
        "the sums of each closing are those of its entries",
        "select ledger.close_books(1000);
         alter table ledger.entries disable trigger user;
         update ledger.entries set amount = amount + 1 where transaction_id = 2";
    an_entry_in_books_that_are_closed_is_found:
        "the sums of each closing are those of its entries",
        "select ledger.close_books(1000);
         alter table ledger.entries disable trigger user;
         insert into ledger.entries
         select transaction_id, line + 10, 'bank', side, amount, currency from ledger.entries
         where transaction_id = 2";
    a_payment_that_was_not_booked_is_found:
        "payment clearing = captured − refunded, at rest",
        "update payments.charges set captured = captured - 1, amount = amount - 1
         where order_id = '00000000-0000-0000-0000-000000000001'";
    a_booking_of_no_payment_is_found:
        "payment clearing = captured − refunded, at rest",
        "insert into ledger.transactions (key) values ('found on the street');
         insert into ledger.entries
         select max(transaction_id), 1, 'payment-clearing', 'debit', 5, 'GBP' from ledger.transactions
         union all
         select max(transaction_id), 2, 'sales', 'credit', 5, 'GBP' from ledger.transactions";
    a_payout_that_is_not_booked_is_found:
        "what the provider paid out and kept is booked",
        "insert into finance.runs (request, covers_from, covers_to)
         values ('by hand', '2026-01-01', '2026-01-02');
         insert into finance.payouts (payout, transaction, currency, amount, seen_in)
         select 'po_1', 'txn_1', 'GBP', 1, run_id from finance.runs";
    a_fee_that_nobody_kept_is_found:
        "what the provider paid out and kept is booked",
        "with booked as (
             insert into ledger.transactions (key) values ('balance-transaction:txn_1:fee')
             returning transaction_id
         )
         insert into ledger.entries (transaction_id, line, account, side, amount, currency)
         select transaction_id, line, account, side, 1, 'GBP' from booked, lateral (values
             (1, 'payment-fees', 'debit'), (2, 'payment-clearing', 'credit')
         ) as entry (line, account, side)";
    a_payout_that_went_to_another_account_is_found:
        "what the provider paid out and kept is booked",
        "with booked as (
             insert into ledger.transactions (key) values ('balance-transaction:txn_1:payout')
             returning transaction_id
         )
         insert into ledger.entries (transaction_id, line, account, side, amount, currency)
         select transaction_id, line, account, side, 1, 'GBP' from booked, lateral (values
             (1, 'sales', 'debit'), (2, 'payment-clearing', 'credit')
         ) as entry (line, account, side)";
    a_sale_booked_as_something_else_is_found:
        "the books say of each order what its own totals say, at rest",
        "alter table ledger.entries disable trigger user;
         update ledger.entries set account = 'shipping-income' where account = 'sales'";
    a_reversal_that_is_missing_is_found:
        "the books say of each order what its own totals say, at rest",
        "alter table ledger.entries disable trigger user;
         alter table ledger.transactions disable trigger user;
         delete from ledger.entries where transaction_id =
            (select transaction_id from ledger.transactions where reverses is not null);
         delete from ledger.transactions where reverses is not null";
    a_piece_from_nowhere_is_found:
        "available + reserved + sold = received, none below zero",
        "alter table inventory.stock drop constraint stock_conserved;
         update inventory.stock set on_hand = on_hand + 1 where sku = '22752'";
    stock_below_zero_is_found:
        "available + reserved + sold = received, none below zero",
        "alter table inventory.stock drop constraint stock_reserved_is_on_hand;
         update inventory.stock set reserved = on_hand + 1 where sku = '22752'";
    goods_set_aside_for_nobody_are_found:
        "stock = what reservations and movements add up to",
        "update inventory.stock set reserved = reserved + 1 where sku = '22752'";
    a_movement_that_is_missing_is_found:
        "stock = what reservations and movements add up to",
        "alter table inventory.movements disable trigger user;
         delete from inventory.movements where reason = 'released'";
    an_order_that_stands_unpaid_is_found:
        "an order is paid exactly if it stands",
        "update payments.charges set refunded = captured
         where order_id = '00000000-0000-0000-0000-000000000001'";
    an_order_that_is_off_and_paid_is_found:
        "an order is paid exactly if it stands",
        "update payments.charges set refunded = 0
         where order_id = '00000000-0000-0000-0000-000000000002'";
    money_taken_for_no_order_is_found:
        "an order is paid exactly if it stands",
        "insert into payments.charges
            (charge_key, order_id, provider_reference, currency, amount, captured, state)
         values ('x', '00000000-0000-0000-0000-000000000009', 'x', 'GBP', 1, 1, 'captured')";
    a_second_capture_is_found:
        "one capture, each refund once and no more than was taken, by the provider's own records",
        "insert into sandbox_provider.payments
            (idempotency_key, merchant_reference, amount, currency, token, state, captured)
         select 'another', merchant_reference, amount, currency, token, state, captured
         from sandbox_provider.payments
         where merchant_reference = '00000000-0000-0000-0000-000000000001'";
    a_second_refund_is_found:
        "one capture, each refund once and no more than was taken, by the provider's own records",
        "insert into sandbox_provider.refunds (idempotency_key, payment_id, amount)
         select 'another', payment_id, amount from sandbox_provider.refunds
         order by refund_id limit 1";
    a_refund_that_was_made_twice_is_found:
        "one capture, each refund once and no more than was taken, by the provider's own records",
        "drop index sandbox_provider.refunds_once_per_key;
         insert into sandbox_provider.refunds (idempotency_key, payment_id, amount)
         select idempotency_key, payment_id, amount from sandbox_provider.refunds
         order by refund_id desc limit 1";
    a_refund_of_less_is_found:
        "the provider's records and the shop's say the same, at rest",
        "update sandbox_provider.refunds set amount = amount - 0.01";
    a_capture_that_the_shop_does_not_know_is_found:
        "the provider's records and the shop's say the same, at rest",
        "alter table payments.refunds drop constraint refunds_charge_key_fkey;
         alter table payments.refund_requests drop constraint refund_requests_charge_key_fkey;
         alter table payments.disputes drop constraint disputes_charge_key_fkey;
         delete from payments.charges where order_id = '00000000-0000-0000-0000-000000000001'";
    a_capture_that_the_provider_does_not_know_is_found:
        "the provider's records and the shop's say the same, at rest",
        "update sandbox_provider.payments set state = 'voided', captured = 0
         where merchant_reference = '00000000-0000-0000-0000-000000000001'";
    a_refund_beyond_the_capture_is_found:
        "no more is refunded than was captured",
        "insert into payments.refunds (refund_key, charge_key, provider_reference, currency, amount)
         select 'another', charge_key, provider_reference, currency, amount from payments.refunds
         order by amount desc limit 1";
    a_refund_that_its_payment_does_not_know_of_is_found:
        "a payment knows what its refunds claim of it",
        "update payments.charges set refund_claimed = 0";
    a_transfer_that_came_and_was_not_booked_is_found:
        "money that customers have transferred is booked",
        "insert into bank.files (sha256) values ('a file');
         insert into bank.bookings (booking, file_id, statement)
         select 'a booking', file_id, 'S1' from bank.files;
         insert into bank.entries
            (booking, detail, is_credit, currency, amount, remittance, state)
         values ('a booking', 1, true, 'GBP', 5, '', 'unassigned')";
    a_refund_that_failed_and_is_booked_is_found:
        "a refund is booked exactly if it was given back",
        "update payments.refund_requests set state = 'failed', provider_reference = null";
    a_refund_that_is_booked_as_something_else_is_found:
        "the books say of each order what its own totals say, at rest",
        "update payments.refund_requests set goods = goods - 0.01, goods_tax = goods_tax + 0.01";
    an_order_that_is_refunded_and_looks_paid_is_found:
        "an order is paid exactly if it stands",
        "update orders.orders set payment_status = 'paid'
         where payment_status = 'partially-refunded'";
    a_refund_whose_money_came_back_and_that_still_counts_is_found:
        "no more is refunded than was captured",
        "update payments.refunds set returned_at = now()";
    a_refund_whose_money_came_back_and_that_is_still_booked_is_found:
        "a refund is booked exactly if it was given back",
        "update payments.refund_requests
         set state = 'pending', provider_reference = null, reversals = 1";
    a_refund_that_its_charge_does_not_show_is_found:
        "no more is refunded than was captured",
        "delete from payments.refunds";
    a_movement_of_a_dispute_that_is_booked_as_another_amount_is_found:
        "each movement of a dispute is booked once, as what it is",
        "alter table payments.dispute_movements disable trigger user;
         update payments.dispute_movements set amount = amount + 0.01 where kind = 'fee'";
    a_movement_of_a_dispute_that_is_booked_elsewhere_is_found:
        "each movement of a dispute is booked once, as what it is",
        "alter table ledger.entries disable trigger user;
         update ledger.entries set account = 'cost-of-goods' where account = 'dispute-fees'";
    a_movement_of_a_dispute_that_is_not_booked_is_found:
        "each movement of a dispute is booked once, as what it is",
        "insert into payments.dispute_movements (dispute_id, reference, kind, currency, amount)
         values ('dp_1', 'txn_3', 'fee', 'GBP', 1)";
    a_booking_that_no_dispute_has_moved_is_found:
        "each movement of a dispute is booked once, as what it is",
        "alter table payments.dispute_movements disable trigger user;
         delete from payments.dispute_movements where kind = 'reinstated'";
    a_lost_dispute_that_is_not_written_off_is_found:
        "what a dispute has lost is what was not reinstated",
        "alter table payments.dispute_movements disable trigger user;
         delete from payments.dispute_movements where kind = 'reinstated';
         update payments.disputes set status = 'lost'";
    an_order_whose_payment_a_bank_has_and_that_looks_paid_is_found:
        "an order is disputed as long as a bank has its payment",
        "update payments.disputes set status = 'under-review'";
    an_order_that_is_disputed_by_nobody_is_found:
        "an order is disputed as long as a bank has its payment",
        "update orders.orders set payment_status = 'disputed'
         where payment_status = 'partially-refunded'";
    a_dispute_that_nobody_is_asked_to_answer_is_found:
        "no dispute waits for an answer without asking an operator",
        "update payments.disputes set status = 'needs-response'";
    a_dispute_that_is_decided_and_still_to_be_answered_is_found:
        "no dispute waits for an answer without asking an operator",
        "update payments.disputes set asked_at = now()";
    an_invoice_with_a_cent_more_than_the_charge_is_found:
        "an invoice comes to its order's charge, to the coin",
        "insert into invoices.series (seller, kind, prefix, next_number)
         values ('GB1', 'invoice', 'INV-', 2);
         insert into invoices.invoices (series_id, serial, number, seller, kind, order_id, currency,
             tax_percent, net, tax, total, issued_at, ubl, cii, html, pdf)
         select series_id, 1, 'INV-000001', 'GB1', 'invoice', order_id, currency, 20,
             total - tax + 0.01, tax, total + 0.01, now(), '', '', '', ''
         from invoices.series, orders.orders
         where order_id = '00000000-0000-0000-0000-000000000001'";
    a_credit_note_of_another_amount_is_found:
        "a credit note comes to what it gives back, and all to their invoice at most",
        "insert into invoices.series (seller, kind, prefix, next_number)
         values ('GB1', 'invoice', 'INV-', 2), ('GB1', 'credit-note', 'CN-', 2);
         insert into invoices.invoices (series_id, serial, number, seller, kind, order_id, currency,
             tax_percent, net, tax, total, issued_at, ubl, cii, html, pdf)
         select series_id, 1, 'INV-000001', 'GB1', 'invoice', order_id, currency, 20, total - tax,
             tax, total, now(), '', '', '', ''
         from invoices.series, orders.orders
         where kind = 'invoice' and order_id = '00000000-0000-0000-0000-000000000001';
         insert into invoices.invoices (series_id, serial, number, seller, kind, order_id, refund,
             corrects, currency, tax_percent, net, tax, total, issued_at, ubl, cii, html, pdf)
         select series.series_id, 1, 'CN-000001', 'GB1', 'credit-note', order_id, 1, invoice_id,
             currency, 20, 0.01, 0, 0.01, now(), '', '', '', ''
         from invoices.series, invoices.invoices where series.kind = 'credit-note'";
    a_number_that_nothing_is_issued_under_is_found:
        "invoices and credit notes are numbered without a gap",
        "alter table invoices.series disable trigger user;
         insert into invoices.series (seller, kind, prefix, next_number)
         values ('GB1', 'invoice', 'INV-', 3)";
    an_order_that_was_sold_without_an_invoice_is_found:
        "every order that was sold has an invoice, is parked, or was sold within the hour",
        "insert into outbox.sinks (sink, created_at) values ('invoices', '2000-01-01');
         alter table orders.order_events disable trigger user;
         update orders.order_events set occurred_at = now() - interval '2 hours'
         where type = 'order.completed'";
    a_refund_without_a_credit_note_is_found:
        "every refund has a credit note, is parked, or was made within the hour",
        "insert into outbox.sinks (sink, created_at) values ('invoices', '2000-01-01');
         alter table orders.order_events disable trigger user;
         update orders.order_events set occurred_at = now() - interval '2 hours'
         where type = 'order.refund-succeeded'";
    a_mail_that_may_be_sent_once_and_was_sent_twice_is_found:
        "what may be sent to a customer once was sent once at most",
        "insert into mail.notifications
            (fact, template, channel, order_id, sequence, message_id, policy, transmissions)
         values ('1:1', 'shipped', 'mail', '00000000-0000-0000-0000-000000000001', 1,
            '1.1.shipped@example.org', 'at-most-once', 2)";
    a_mail_whose_sender_has_died_and_that_nobody_has_looked_at_is_found:
        "every mail is sent, skipped, parked, or under way for as long as its server may put it off",
        "insert into mail.notifications
            (fact, template, channel, order_id, sequence, message_id, policy, state, next_try_at)
         values ('1:1', 'shipped', 'mail', '00000000-0000-0000-0000-000000000001', 1,
            '1.1.shipped@example.org', 'at-most-once', 'sending', now() - interval '2 hours')";
    a_mail_that_is_put_off_without_end_is_found:
        "every mail is sent, skipped, parked, or under way for as long as its server may put it off",
        "insert into mail.notifications
            (fact, template, channel, order_id, sequence, message_id, policy, deferrals)
         values ('1:1', 'shipped', 'mail', '00000000-0000-0000-0000-000000000001', 1,
            '1.1.shipped@example.org', 'at-most-once', 31)";
    a_mail_that_nobody_sends_is_found:
        "every mail is sent, skipped, parked, or under way for as long as its server may put it off",
        "insert into mail.notifications
            (fact, template, channel, order_id, sequence, message_id, policy, next_try_at)
         values ('1:1', 'shipped', 'mail', '00000000-0000-0000-0000-000000000001', 1,
            '1.1.shipped@example.org', 'at-most-once', now() - interval '5 days')";
    an_event_that_is_missing_is_found:
        "an order's events are numbered without a gap",
        "alter table orders.order_events disable trigger user;
         delete from orders.order_events where sequence = 3";
    an_order_without_events_is_found:
        "an order's events are numbered without a gap",
        "alter table orders.order_events disable trigger user;
         delete from orders.order_events
         where order_id = '00000000-0000-0000-0000-000000000002'";
    a_message_that_is_missing_is_found:
        "each event has one message, in the order's own order",
        "delete from outbox.messages where sequence = 5";
    a_message_that_is_there_twice_is_found:
        "each event has one message, in the order's own order",
        "insert into outbox.messages (aggregatetype, aggregateid, sequence, type, payload)
         select aggregatetype, aggregateid, sequence, type, payload
         from outbox.messages where sequence = 5";
    messages_in_another_order_are_found:
        "each event has one message, in the order's own order",
        "update outbox.messages set sequence = case sequence when 2 then 3 else 2 end,
            type = case type when 'ordersaga.stock.reserved.v1'
                then 'ordersaga.payment.authorised.v1' else 'ordersaga.stock.reserved.v1' end
         where sequence in (2, 3)";
    a_message_that_says_something_else_is_found:
        "each event has one message, in the order's own order",
        "update outbox.messages set payload = '{}' where sequence = 2";
    a_row_that_its_events_do_not_come_to_is_found:
        "an order's row is what its events come to",
        "update orders.orders set payment_status = 'paid'
         where order_id = '00000000-0000-0000-0000-000000000002'";
    an_event_that_was_forged_is_found:
        "an order's row is what its events come to",
        "alter table orders.order_events disable trigger user;
         update orders.order_events set data = jsonb_set(data, '{tracking}', '\"X\"')
         where type = 'order.shipped'";
    a_message_delivered_before_its_elder_is_found:
        "messages are delivered, within an order in order",
        "update outbox.messages set published_at = now() where sequence = 2";
    a_message_that_does_not_reach_a_sink_is_found:
        "every message has reached every sink, is parked, or under way for an hour",
        "insert into outbox.sinks (sink) values ('kafka');
         insert into outbox.progress (sink, shard)
         select 'kafka', shard from generate_series(0, 7) as shard;
         update outbox.messages set created_at = now() - interval '2 hours' where sequence = 1";
    a_message_that_has_overtaken_a_parked_one_is_found:
        "messages are delivered, within an order in order",
        "insert into outbox.sinks (sink) values ('kafka');
         insert into outbox.progress (sink, shard, seen)
         select 'kafka', shard, pg_current_snapshot() from generate_series(0, 7) as shard;
         insert into outbox.parked (sink, position, aggregateid, sequence, refused)
         select 'kafka', position, aggregateid, sequence, 'too large'
         from outbox.messages where sequence = 2";
    an_outbox_of_another_cluster_is_found:
        "every message has reached every sink, is parked, or under way for an hour",
        "insert into outbox.sinks (sink) values ('kafka');
         update outbox.origin set cluster = cluster + 1";
    an_order_past_its_deadline_is_found:
        "nothing is open past its deadline",
        "update orders.orders set status_data = '{\"status\":\"processing\"}',
            fulfilment_status = 'reserved', updated_at = now() - interval '2 hours'";
    an_order_that_unwinds_without_a_word_is_found:
        "no order is unwound, or shipped and not booked, for a day without asking a person",
        "update orders.orders set status_data = '{\"status\":\"processing\"}',
            ending = '{\"status\":\"cancelled\",\"reason\":\"x\"}',
            updated_at = now() - interval '2 days'";
    a_delivered_order_that_is_not_booked_is_found:
        "no order is unwound, or shipped and not booked, for a day without asking a person",
        "update orders.orders set status_data = '{\"status\":\"processing\"}',
            updated_at = now() - interval '2 days' where fulfilment_status = 'delivered'";
    a_parcel_that_the_carrier_does_not_have_is_found:
        "the carrier has a parcel of each completed order, and of no other that is over",
        "update sandbox_carrier.shipments set state = 'cancelled', cancelled_at = now()";
    a_parcel_that_the_shop_knows_under_another_id_is_found:
        "the carrier has a parcel of each completed order, and of no other that is over",
        "update shipping.shipments set carrier_reference = 'sandbox-shipment-9'";
    an_authorisation_that_is_left_is_found:
        "no authorisation is left for an order that is over",
        "update sandbox_provider.payments set state = 'authorised'";
    a_payment_that_can_still_be_approved_is_found:
        "no authorisation is left for an order that is over",
        "update sandbox_provider.payments set state = 'awaiting-customer', decline_code = null";
    a_reservation_of_something_else_is_found:
        "lines, reservation, parcel and charge of an order are the same",
        "update inventory.reservation_lines set quantity = quantity + 1";
    a_charge_of_something_else_is_found:
        "lines, reservation, parcel and charge of an order are the same",
        "update payments.charges set amount = amount + 1";
    a_parcel_of_something_else_is_found:
        "lines, reservation, parcel and charge of an order are the same",
        "update shipping.shipments set pieces = pieces + 1";
    a_movement_that_is_not_booked_is_found:
        "what the warehouse moved is booked",
        "insert into inventory.movements (sku, quantity, reason, reference)
         values ('22752', 1, 'found', 'behind the shelf')";
    a_reservation_that_nobody_gives_back_is_found:
        "nothing is open past its deadline",
        "update inventory.reservations
         set state = 'held', expires_at = now() - interval '1 hour'";
    goods_held_for_an_order_that_is_over_are_found:
        "no goods are held for an order that is over",
        "update inventory.reservations set state = 'held'
         where order_id = '00000000-0000-0000-0000-000000000002'";
    a_shipped_order_whose_goods_are_not_sold_is_found:
        "no goods are held for an order that is over",
        "update inventory.reservations set state = 'expired'
         where order_id = '00000000-0000-0000-0000-000000000001'";
    an_order_that_was_placed_late_is_found:
        "one request is one order, as it was placed",
        "alter table orders.order_events disable trigger user;
         update orders.order_events set sequence = sequence + 100";
    an_order_that_was_changed_is_found:
        "one request is one order, as it was placed",
        "update orders.orders set lines = '[]'
         where order_id = '00000000-0000-0000-0000-000000000002'";
    a_card_number_in_an_event_is_found:
        "no card number, name or street in events and messages",
        "select orders.record('00000000-0000-0000-0000-000000000002', 'order.cancelled',
            '{\"reason\":\"my card is 4111 1111 1111 1111\"}')";
    a_name_in_a_message_is_found:
        "no card number, name or street in events and messages",
        "update outbox.messages set payload = '{\"to\":\"Ada Lovelace\"}' where sequence = 2";
    a_street_in_an_event_is_found:
        "no card number, name or street in events and messages",
        "select orders.record('00000000-0000-0000-0000-000000000001', 'order.cancelled',
            '{\"to\":\"12 St James''s Square\"}')";
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn every_promise_that_the_database_shows_is_broken_above(db: PgPool) {
    trade(&db).await;
    let findings = prove(&db, None).await.unwrap();
    let shown = findings
        .iter()
        .filter(|finding| finding.looked_at > 0 || finding.verdict == Verdict::Nothing)
        .map(|finding| finding.promise);
    let not_broken: BTreeSet<_> =
        shown.filter(|promise| !PROMISES_BROKEN.contains(promise)).collect();
    assert!(not_broken.is_empty(), "{not_broken:?}");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_empty_shop_shows_nothing(db: PgPool) {
    let lately = proven_lately(&db).await;
    assert_eq!(lately.orders, 0);
    for Finding { promise, verdict, .. } in
        prove(&db, None).await.unwrap().into_iter().chain(lately.findings)
    {
        assert!(
            matches!(verdict, Verdict::Nothing | Verdict::NotShown(_)),
            "{promise}: {verdict:?}"
        );
    }
}

/// A recent proof of orders that have just changed shows the same as a proof of everything.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_recent_proof_leaves_out_only_what_the_whole_history_adds_up_to(db: PgPool) {
    trade(&db).await;
    let everything = prove(&db, None).await.unwrap();
    let RecentProof { orders, findings } = proven_lately(&db).await;
    assert_eq!((orders, findings.len()), (2, everything.len()));
    for (whole, recent) in everything.iter().zip(&findings) {
        if ONLY_WHOLE.contains(&whole.promise) {
            assert_eq!(recent.promise, whole.promise);
            let Verdict::NotShown(why) = recent.verdict else { panic!("{recent:?}") };
            assert!(why.contains("a proof of everything"), "{why}");
        } else {
            assert_eq!(&Finding { things: whole.things, ..recent.clone() }, whole);
        }
    }
}

/// Promises about each order; a shop of two orders has two things to check.
const OF_EACH_ORDER: &[&str] = &[
    "payment clearing = captured − refunded, at rest",
    "the books say of each order what its own totals say, at rest",
    "an order is paid exactly if it stands",
    "one capture, each refund once and no more than was taken, by the provider's own records",
    "the provider's records and the shop's say the same, at rest",
    "no more is refunded than was captured",
    "a payment knows what its refunds claim of it",
    "an order's events are numbered without a gap",
    "an order's row is what its events come to",
    "no goods are held for an order that is over",
    "one request is one order, as it was placed",
    "the carrier has a parcel of each completed order, and of no other that is over",
    "no authorisation is left for an order that is over",
    "lines, reservation, parcel and charge of an order are the same",
];

/// The rejected order and its messages are two days old.
const REJECTED_LONG_AGO: &str = "
    alter table orders.order_events disable trigger user;
    update orders.order_events set occurred_at = occurred_at - interval '2 days'
    where order_id = '00000000-0000-0000-0000-000000000002';
    update outbox.messages set created_at = created_at - interval '2 days'
    where aggregateid = '00000000-0000-0000-0000-000000000002';
    select ledger.close_books(1000)";

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_without_a_recent_event_is_checked_by_a_proof_of_everything_alone(db: PgPool) {
    trade(&db).await;
    sqlx::raw_sql(REJECTED_LONG_AGO).execute(&db).await.unwrap();
    let (everything, lately) = (prove(&db, None).await.unwrap(), proven_lately(&db).await);
    assert_eq!(lately.orders, 1);
    let counted =
        |promise| (find(&everything, promise).looked_at, find(&lately.findings, promise).looked_at);
    for promise in OF_EACH_ORDER {
        assert_eq!(counted(*promise), (2, 1), "{promise}");
    }
    for promise in [
        "debits = credits in each transaction and currency",
        "the balances of all accounts come to zero",
        "each event has one message, in the order's own order",
        "no card number, name or street in events and messages",
    ] {
        let (all, few) = counted(promise);
        assert!((1..all).contains(&few), "{promise}: {few} of {all}");
    }

    let violation = "update orders.orders set payment_status = 'paid' where status = 'rejected'";
    sqlx::raw_sql(violation).execute(&db).await.unwrap();
    assert_found(&prove(&db, None).await.unwrap(), "an order is paid exactly if it stands");
    let lately = proven_lately(&db).await.findings;
    assert!(!lately.iter().any(Finding::is_broken), "{}", table(&lately));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_recent_proof_checks_an_old_order_that_has_not_ended(db: PgPool) {
    trade(&db).await;
    sqlx::raw_sql(REJECTED_LONG_AGO).execute(&db).await.unwrap();
    let violation = "update orders.orders set status_data = '{\"status\":\"processing\"}',
            updated_at = now() - interval '2 days' where status = 'rejected'";
    sqlx::raw_sql(violation).execute(&db).await.unwrap();
    let lately = proven_lately(&db).await;
    assert_eq!(lately.orders, 2);
    assert_found(&lately.findings, "nothing is open past its deadline");
    assert_found(&lately.findings, "an order's row is what its events come to");
}

/// A recent proof adds what was booked since the last closing to the sums of that closing.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_recent_proof_counts_on_the_last_closing_of_the_books(db: PgPool) {
    const BALANCED: &str = "debits = credits in each transaction and currency";
    const TO_ZERO: &str = "the balances of all accounts come to zero";
    trade(&db).await;
    sqlx::raw_sql(REJECTED_LONG_AGO).execute(&db).await.unwrap();
    let run = async |statement: &'static str| {
        sqlx::raw_sql(statement).execute(&db).await.unwrap();
    };
    // An entry of the old order, in closed books.
    run("alter table ledger.entries disable trigger user;
         update ledger.entries set amount = amount + 1
         where line = 1 and transaction_id = (
             select max(transaction_id) from ledger.transactions
             where order_id = '00000000-0000-0000-0000-000000000002'
         )")
    .await;
    let lately = proven_lately(&db).await.findings;
    assert!(!lately.iter().any(Finding::is_broken), "{}", table(&lately));
    assert_found(&prove(&db, None).await.unwrap(), BALANCED);

    // An entry since the closing, which belongs to no order.
    run("alter table ledger.transactions disable trigger user;
         insert into ledger.transactions (key) values ('half');
         insert into ledger.entries
         select max(transaction_id), 1, 'sales', 'debit', 5, 'GBP' from ledger.transactions")
    .await;
    let lately = proven_lately(&db).await.findings;
    for promise in [BALANCED, TO_ZERO] {
        assert_found(&lately, promise);
    }
    run("delete from ledger.entries where transaction_id in (
             select transaction_id from ledger.transactions where key = 'half'
         );
         delete from ledger.transactions where key = 'half'")
    .await;
    assert!(!proven_lately(&db).await.findings.iter().any(Finding::is_broken));

    // The closing's own sums.
    run("alter table ledger.closings disable trigger user;
         update ledger.closings set sums = sums[2:]")
    .await;
    assert_found(&proven_lately(&db).await.findings, TO_ZERO);
}

/// Of an order that goes on, the recent messages are compared, as if the others had been removed.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_recent_proof_compares_an_orders_recent_messages(db: PgPool) {
    const MESSAGES: &str = "each event has one message, in the order's own order";
    trade(&db).await;
    let run = async |statement: &'static str| {
        sqlx::raw_sql(statement).execute(&db).await.unwrap();
    };
    run("alter table orders.order_events disable trigger user;
         update orders.order_events set occurred_at = occurred_at - interval '2 days'
         where sequence <= 3 and order_id = '00000000-0000-0000-0000-000000000001';
         update outbox.messages
         set created_at = created_at - interval '2 days',
             payload = case sequence when 2 then '{}' else payload end
         where sequence <= 3 and aggregateid = '00000000-0000-0000-0000-000000000001'")
    .await;
    let lately = proven_lately(&db).await.findings;
    assert_eq!(find(&lately, MESSAGES).verdict, Verdict::Holds);
    assert_found(&prove(&db, None).await.unwrap(), MESSAGES);
    run("delete from outbox.messages
         where sequence = 6 and aggregateid = '00000000-0000-0000-0000-000000000001'")
    .await;
    assert_found(&proven_lately(&db).await.findings, MESSAGES);
}

/// A shop with an external provider.
async fn trade_elsewhere(db: &PgPool) {
    trade(db).await;
    sqlx::raw_sql(
        "delete from sandbox_provider.refunds; delete from sandbox_provider.payments;
         update payments.charges set provider_reference = 'pi_' || order_id",
    )
    .execute(db)
    .await
    .unwrap();
}

async fn compared(db: &PgPool, statement: &'static str) -> Vec<Finding> {
    sqlx::raw_sql(statement).execute(db).await.unwrap();
    prove(db, None).await.unwrap()
}

const STANDS: &str =
    "what an order was paid with stands at the provider, by the last reconciliation";
const GIVEN_BACK: &str =
    "the provider has given back what the shop says, by the last reconciliation";

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_provider_elsewhere_is_judged_by_the_last_comparison_and_not_by_an_old_one(db: PgPool) {
    trade_elsewhere(&db).await;
    let never = prove(&db, None).await.unwrap();
    let Verdict::NotShown(why) = find(&never, STANDS).verdict else { panic!("{never:?}") };
    assert!(why.contains("run `ordersaga reconcile`"), "{why}");

    // A comparison that was given up shows nothing.
    let given_up = compared(
        &db,
        "insert into finance.runs (request, covers_from, covers_to, state, finished_at)
         values ('first', '2000-01-01', now(), 'abandoned', now())",
    );
    assert!(matches!(find(&given_up.await, STANDS).verdict, Verdict::NotShown(_)));

    let clean = compared(
        &db,
        "insert into finance.runs (request, covers_from, covers_to, state, finished_at, payments)
         values ('second', '2000-01-01', now() - interval '1 day', 'finished', now(), 2)",
    )
    .await;
    let found = find(&clean, STANDS);
    assert_eq!((&found.verdict, found.looked_at), (&Verdict::Holds, 2));
    let remark = found.remark.as_deref().unwrap();
    assert!(remark.contains("2 payments that were taken are in no range"), "{remark}");
    // The remark names the comparison.
    let told = sqlx::query_scalar::<_, String>(
        "select format('run %s of %s UTC over 2000-01-01 00:00 to %s', run_id,
             to_char(finished_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI'),
             to_char(covers_to at time zone 'UTC', 'YYYY-MM-DD HH24:MI'))
         from finance.runs where request = 'second'",
    );
    let told = told.fetch_one(&db).await.unwrap();
    assert!(remark.starts_with(&told), "{remark} is not of {told}");
    assert!(!clean.iter().any(Finding::is_broken), "{}", table(&clean));

    let differing = compared(
        &db,
        "insert into finance.differences (kind, subject, at_provider, at_provider_currency, in_shop,
             in_shop_currency, opened_in, seen_in)
         select 'refund-failed-there', 'pi_1a', 0, 'GBP', 5, 'GBP', run_id, run_id
         from finance.runs where request = 'second'",
    )
    .await;
    let broken = &find(&differing, GIVEN_BACK).verdict;
    let told = "pi_1a: refund-failed-there; the provider says 0 GBP, the shop 5 GBP".to_owned();
    assert_eq!(broken, &Verdict::Broken { times: 1, examples: vec![told] });
    assert_eq!(find(&differing, STANDS).verdict, Verdict::Holds);

    let old = compared(
        &db,
        "update finance.runs set finished_at = now() - interval '3 days' where state = 'finished'",
    );
    let Verdict::NotShown(why) = find(&old.await, GIVEN_BACK).verdict else { panic!("not old") };
    assert!(why.contains("is old"), "{why}");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_difference_that_a_person_has_settled_breaks_nothing_and_is_counted(db: PgPool) {
    trade_elsewhere(&db).await;
    let differing = compared(
        &db,
        "insert into finance.runs (request, covers_from, covers_to, state, finished_at, payments)
         values ('first', '2000-01-01', now() + interval '1 day', 'finished', now(), 2);
         insert into finance.differences (kind, subject, opened_in, seen_in)
         select 'not-at-provider', 'pi_1a', run_id, run_id from finance.runs",
    );
    assert!(find(&differing.await, STANDS).is_broken());
    let settled = compared(&db, "select finance.settle_difference(1, 'eve', 'it is paid in cash')");
    let settled = settled.await;
    let found = find(&settled, STANDS);
    assert_eq!(found.verdict, Verdict::Holds, "{}", table(&settled));
    let remark = found.remark.as_deref().unwrap();
    assert!(remark.contains("1 differences were settled by a person"), "{remark}");
}

/// The unwound order was paid through another provider than the shipped one.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_shop_that_has_changed_its_provider_is_judged_by_the_records_of_both(db: PgPool) {
    const SAME: &str = "the provider's records and the shop's say the same, at rest";
    trade(&db).await;
    let findings = compared(
        &db,
        "delete from sandbox_provider.refunds where payment_id in (
             select payment_id from sandbox_provider.payments
             where merchant_reference = '00000000-0000-0000-0000-000000000002'
         );
         delete from sandbox_provider.payments
         where merchant_reference = '00000000-0000-0000-0000-000000000002';
         update payments.charges set provider_reference = 'pi_1a'
         where order_id = '00000000-0000-0000-0000-000000000002'",
    )
    .await;
    assert!(!findings.iter().any(Finding::is_broken), "{}", table(&findings));
    let same = find(&findings, SAME);
    assert_eq!((&same.verdict, same.looked_at), (&Verdict::Holds, 1));
    assert!(matches!(find(&findings, STANDS).verdict, Verdict::NotShown(_)));
    let lost = compared(&db, "update sandbox_provider.payments set captured = captured - 1");
    assert!(find(&lost.await, SAME).is_broken());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_difference_that_was_closed_breaks_nothing(db: PgPool) {
    trade_elsewhere(&db).await;
    let findings = compared(
        &db,
        "insert into finance.runs (request, covers_from, covers_to, state, finished_at, payments)
         values ('first', '2000-01-01', now() + interval '1 day', 'finished', now(), 2);
         insert into finance.differences (kind, subject, opened_in, seen_in, closed_at, closed_in)
         select 'charged-twice', 'pi_1a', run_id, run_id, now(), run_id from finance.runs",
    )
    .await;
    assert!(!findings.iter().any(Finding::is_broken), "{}", table(&findings));
    let remark = find(&findings, STANDS).remark.as_deref().unwrap();
    assert!(remark.contains("0 payments that were taken are in no range"), "{remark}");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_waits_behind_a_parked_message_has_overtaken_nothing(db: PgPool) {
    const REACHED: &str =
        "every message has reached every sink, is parked, or under way for an hour";
    const IN_ORDER: &str = "messages are delivered, within an order in order";
    trade(&db).await;
    let nowhere = prove(&db, None).await.unwrap();
    assert!(matches!(find(&nowhere, IN_ORDER).verdict, Verdict::NotShown(_)));

    let waiting = compared(
        &db,
        "insert into outbox.sinks (sink) values ('kafka');
         insert into outbox.progress (sink, shard)
         select 'kafka', shard from generate_series(0, 7) as shard",
    )
    .await;
    let found = find(&waiting, REACHED);
    assert_eq!(found.verdict, Verdict::Holds);
    assert!(found.remark.as_deref().unwrap().ends_with(" are under way"), "{found:?}");

    let parked = compared(
        &db,
        "update outbox.progress set seen = pg_current_snapshot();
         insert into outbox.parked (sink, position, aggregateid, sequence, refused)
         select 'kafka', position, aggregateid, sequence, 'too large'
         from outbox.messages where sequence >= 2",
    )
    .await;
    assert_eq!(find(&parked, IN_ORDER).verdict, Verdict::Holds);
    let found = find(&parked, REACHED);
    assert_eq!(found.verdict, Verdict::Holds);
    assert!(found.remark.as_deref().unwrap().ends_with(" are parked"), "{found:?}");

    let overtaken = compared(&db, "delete from outbox.parked where sequence = 3");
    assert!(find(&overtaken.await, IN_ORDER).is_broken());

    // The sink works through a backlog, and has delivered only its first message.
    let backlog = compared(
        &db,
        "update outbox.progress set seen = '3:3:', reading = seen,
            after_position = (select min(position) from outbox.messages)",
    );
    assert_eq!(find(&backlog.await, IN_ORDER).verdict, Verdict::Holds);
}

/// A folder for a test's files.
fn folder() -> PathBuf {
    let folder = env::temp_dir().join(format!("ordersaga-prove-{}", Uuid::now_v7()));
    fs::create_dir(&folder).unwrap();
    folder
}

fn verdict_with<'a>(findings: &'a mut [Finding], shown: &Finding) -> &'a Verdict {
    put_in_place(findings, shown.clone());
    &find(findings, shown.promise).verdict
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn mails_that_were_sent_as_their_policy_allows_or_wait_for_their_turn_are_in_order(
    db: PgPool,
) {
    trade(&db).await;
    // One was sent twice, as its policy allows; one is parked; and one waits behind another of its
    // order, which its server has deferred for days.
    sqlx::raw_sql(
        "insert into mail.notifications
            (fact, template, channel, order_id, sequence, message_id, policy, state, why, deferrals,
             transmissions, next_try_at, sent_at, parked_at)
         select number, template, 'mail', '00000000-0000-0000-0000-000000000001', 1, number, policy,
            state, 'why', deferrals, transmissions, next_try_at,
            case state when 'sent' then now() end, case state when 'parked' then now() end
         from (values
            ('1', 'refunded', 'at-least-once', 'sent', 0, 2, now() - interval '9 days'),
            ('2', 'shipped', 'at-most-once', 'parked', 0, 1, now() - interval '9 days'),
            ('3', 'refunded', 'at-least-once', 'queued', 30, 0, now() + interval '1 hour'),
            ('4', 'refunded', 'at-most-once', 'queued', 0, 0, now() - interval '9 days')
         ) as mail (number, template, policy, state, deferrals, transmissions, next_try_at)
         order by number",
    )
    .execute(&db)
    .await
    .unwrap();
    let findings = prove(&db, None).await.unwrap();
    let once = find(&findings, "what may be sent to a customer once was sent once at most");
    assert_eq!((once.looked_at, &once.verdict), (2, &Verdict::Holds));
    let none_forgotten = find(
        &findings,
        "every mail is sent, skipped, parked, or under way for as long as its server may put it off",
    );
    assert_eq!((none_forgotten.looked_at, &none_forgotten.verdict), (4, &Verdict::Holds));
    assert_eq!(none_forgotten.remark.as_deref(), Some("2 are under way, 1 are parked"));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_log_that_names_a_customer_or_holds_a_secret_is_found(db: PgPool) {
    trade(&db).await;
    sqlx::raw_sql(
        "insert into customers.mail_preferences (customer_id, email)
         values ('17850', 'countess@example.org');
         insert into webhooks.endpoints (endpoint_id, url, fingerprint, created_by)
         values ('00000000-0000-0000-0000-000000000009', 'https://erp.example.org', 'one', 'Ada');
         insert into webhooks.secrets (endpoint_id, key, created_by)
         select endpoint_id, convert_to('a-key-of-twenty-four-byt', 'UTF8'), 'Ada'
         from webhooks.endpoints;
         insert into mail.notifications
            (fact, template, channel, order_id, sequence, message_id, policy, unsubscribe)
         values ('1:1', 'confirmed', 'mail', '00000000-0000-0000-0000-000000000001', 1,
            '1.1.confirmed@example.org', 'at-least-once', '0b1f9a52-9c1e-4a1a-8a39-5f2f3d0c7e11')",
    )
    .execute(&db)
    .await
    .unwrap();
    let mut findings = prove(&db, None).await.unwrap();
    let secrets = ["a-secret-of-the-shop".to_owned()];
    let logs = folder();
    let look = async |logs: PathBuf| look_at_logs(&db, &secrets, &[logs]).await;

    fs::write(logs.join("starter.log"), "INFO listening\nINFO order 1 is on record\n").unwrap();
    let well = look(logs.clone()).await.unwrap();
    assert_eq!(verdict_with(&mut findings, &well), &Verdict::Holds, "{well:?}");
    assert_eq!(well.looked_at, 2);

    for said in [
        "ERROR no carrier goes to 12 St James's Square",
        "WARN {\"to\":\"Ada Lovelace\"}",
        "DEBUG paid with tok_visa",
        "ERROR cannot sign in with a-secret-of-the-shop",
        "WARN no mail goes to countess@example.org",
        "DEBUG signing by whsec_YS1rZXktb2YtdHdlbnR5LWZvdXItYnl0",
        "INFO GET /v1/unsubscribe/0b1f9a52-9c1e-4a1a-8a39-5f2f3d0c7e11",
        "ERROR the card 4111 1111 1111 1111 is declined",
    ] {
        fs::write(logs.join("worker.log"), format!("INFO ready\n{said}\n")).unwrap();
        let found = look(logs.clone()).await.unwrap();
        let Verdict::Broken { times: 1, examples } = verdict_with(&mut findings, &found) else {
            panic!("{said}: {found:?}");
        };
        assert!(examples[0].starts_with("line 2 of ") && examples[0].contains("worker.log"));
        // The verdict does not repeat the private text.
        assert!(!examples[0].contains(&said[6..]), "{examples:?}");
    }
    let missing = look(logs.join("nothing.log")).await;
    assert!(matches!(missing, Err(ProveError::File { .. })), "{missing:?}");
    fs::remove_dir_all(logs).unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_effect_that_was_taken_twice_or_of_nothing_is_found(db: PgPool) {
    trade(&db).await;
    let mut findings = prove(&db, None).await.unwrap();
    let ids = sqlx::query_scalar::<_, String>("select id from outbox.messages order by position");
    let ids = ids.fetch_all(&db).await.unwrap();
    let inboxes = folder();
    let inbox = inboxes.join("takings");
    let look = async |ids: Vec<String>| {
        fs::write(&inbox, ids.join("\n")).unwrap();
        look_at_inboxes(&db, std::slice::from_ref(&inbox)).await.unwrap()
    };

    let all = look(ids.clone()).await;
    assert_eq!(verdict_with(&mut findings, &all), &Verdict::Holds);
    assert_eq!(all.remark, None);
    let behind = look(ids[..3].to_vec()).await;
    assert_eq!(behind.verdict, Verdict::Holds);
    assert!(behind.remark.unwrap().ends_with("events are still to be taken"));
    let twice = look([ids.as_slice(), &ids[4..5]].concat()).await;
    assert!(matches!(twice.verdict, Verdict::Broken { times: 1, .. }), "{twice:?}");
    let with_a_gap = look([&ids[..1], &ids[2..3]].concat()).await;
    assert!(with_a_gap.is_broken(), "{with_a_gap:?}");
    let made_up = look(vec![format!("{}:1", Uuid::from_u128(99))]).await;
    assert!(made_up.is_broken(), "{made_up:?}");
    fs::remove_dir_all(inboxes).unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_settled_by_hand_is_left_out_and_counted(db: PgPool) {
    trade(&db).await;
    sqlx::raw_sql(
        "select orders.record('00000000-0000-0000-0000-000000000002', 'order.attention-resolved',
            '{\"step\":\"capture-payment\",\"occurrence\":1,\"decision\":\"skip\",\"by\":\"Ada\",\"why\":\"paid by bank\"}');
         update payments.charges set refunded = 0
         where order_id = '00000000-0000-0000-0000-000000000002'",
    )
    .execute(&db)
    .await
    .unwrap();
    let findings = prove(&db, None).await.unwrap();
    let paid = find(&findings, "an order is paid exactly if it stands");
    assert_eq!(paid.verdict, Verdict::Holds);
    assert_eq!(
        paid.remark.as_deref(),
        Some(
            "1 orders are left out because a person decided to skip authorise-payment or capture-payment"
        )
    );
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn orders_and_workflows_that_do_not_match_are_found(db: PgPool) {
    const OPEN: &str = "an order that has not ended is under way or waits to be launched";
    const ON_RECORD: &str = "every workflow's order is on record";
    let shop = Shop::open(db).await;
    let shipped = shop.place(&order()).await;
    ended(&shipped).await;
    let mut waiting = order();
    waiting.terms.cancel_window_seconds = 600;
    let abandoned = shop.place(&waiting).await;
    shop.until_event(waiting.order_id, "payment.authorised").await;
    until_listed(&shop.client, "WorkflowType='OrderSaga'", 2).await;
    let findings = prove(&shop.db, Some(&shop.client)).await.unwrap();
    let lately = prove_recent(&shop.db, Some(&shop.client), 1).await.unwrap();
    for findings in [&findings, &lately.findings] {
        for promise in [OPEN, ON_RECORD] {
            assert_eq!(find(findings, promise).verdict, Verdict::Holds, "{}", table(findings));
        }
        assert_eq!(find(findings, ON_RECORD).looked_at, 2);
    }

    abandoned.terminate(WorkflowTerminateOptions::default()).await.unwrap();
    let open = "WorkflowType='OrderSaga' AND ExecutionStatus='Running'";
    until_listed(&shop.client, open, 0).await;
    sqlx::raw_sql("delete from orders.orders where status = 'completed'")
        .execute(&shop.db)
        .await
        .unwrap();
    let findings = prove(&shop.db, Some(&shop.client)).await.unwrap();
    let lately = prove_recent(&shop.db, Some(&shop.client), 1).await.unwrap();
    for findings in [findings, lately.findings] {
        for (promise, number) in [(OPEN, 1), (ON_RECORD, 1)] {
            let Verdict::Broken { times, .. } = find(&findings, promise).verdict else {
                panic!("{promise}:\n{}", table(&findings));
            };
            assert_eq!(times, number, "{}", table(&findings));
        }
    }
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_card_number_in_a_history_is_found(db: PgPool) {
    let shop = Shop::open(db).await;
    let mut order = order();
    order.terms.cancel_window_seconds = 600;
    let handle = shop.place(&order).await;
    shop.until_event(order.order_id, "payment.authorised").await;
    let reason = "charge 4111-1111-1111-1111 instead".to_owned();
    let cancel = signal_payload(&CancelRequest { reason }).unwrap();
    handle.signal(OrderSaga::cancel_signal, cancel, Default::default()).await.unwrap();
    ended(&handle).await;
    until_listed(&shop.client, "WorkflowType='OrderSaga'", 1).await;
    let findings = prove(&shop.db, Some(&shop.client)).await.unwrap();
    let lately = prove_recent(&shop.db, Some(&shop.client), 1).await.unwrap();
    for findings in [findings, lately.findings] {
        assert_found(&findings, "no card number, name or street in histories (the newest)");
    }
    shop.close().await;
}
