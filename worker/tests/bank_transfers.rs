//! Orders that wait for a bank transfer, against a real Temporal server and a real database: paid
//! by a bank file, cancelled meanwhile, or never paid.

#![expect(
    clippy::default_trait_access,
    clippy::unwrap_used,
    reason = "the SDK's options are left at their defaults, and what cannot be prepared or read \
              fails its test"
)]

mod support;

use activities::payment::bank_transfer::BankTransferProvider;
use activities::payment::bank_transfer::import::Became;
use activities::payment::bank_transfer::list::next;
use activities::reconcile::{Asked, reconcile};
use chrono::DateTime;
use domain::{Order, OrderStatus, Rejection};
use runtime::schema::MIGRATIONS;
use saga::StepState;
use sqlx::PgPool;
use support::bank::{account, reference, take_in, transfer};
use support::{Code, OrderHandle, Shop, Traces, ended, order};
use worker::bank::tell_news;
use worker::prove::{Verdict, prove};
use workflows::order::{CancelDecision, CancelRequest, OrderSaga, OrderView};

/// A shop whose customers pay by transfer.
async fn open(db: PgPool) -> Shop {
    Shop::open_with(Code { bank: Some(account()), ..Code::default() }, db).await
}

/// An order whose customer has this many seconds to pay.
fn to_be_paid_within(seconds: u32) -> Order {
    let mut order = order();
    order.terms.approval_seconds = seconds;
    order
}

const A_WEEK: u32 = 604_800;

async fn until_its_the_customers_turn(shop: &Shop, handle: &OrderHandle) {
    let waits = |view: &OrderView| view.steps.iter().any(|step| step.state == StepState::Waiting);
    shop.until_view(handle, waits).await;
}

/// The result of importing a transfer of a share of the order's total, in hundredths.
async fn transfers(shop: &Shop, order: &Order, name: &str, percent: u32) -> Became {
    let amount = order.totals.total.percent(percent.into()).unwrap().amount();
    let imported = take_in(&shop.db, &transfer(name, amount, &reference(order))).await;
    imported.found[0].became
}

async fn events_of_the_payment(shop: &Shop, order: &Order) -> Vec<String> {
    let mut events = shop.events_on_record(order.order_id).await;
    events.retain(|event| event.starts_with("payment."));
    events
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_waits_for_its_money_is_paid_by_a_file_and_ships(db: PgPool) {
    let shop = open(db).await;
    let order = to_be_paid_within(A_WEEK);
    let handle = shop.place(&order).await;
    until_its_the_customers_turn(&shop, &handle).await;
    shop.assert_proven().await;
    let became = transfers(&shop, &order, "B1", 100).await;
    assert_eq!(became, Became::Paid { order: order.order_id, surplus: None });
    assert_eq!(tell_news(&shop.db, &shop.client).await.unwrap(), 1);
    assert_eq!(tell_news(&shop.db, &shop.client).await.unwrap(), 0, "told twice");
    assert_eq!(ended(&handle).await, OrderStatus::Completed);
    let events = ["payment.awaiting-customer", "payment.authorised", "payment.captured"];
    assert_eq!(events_of_the_payment(&shop, &order).await, events);
    assert_eq!(shop.traces(order.order_id).await, Traces::of_a_sale());
    assert_eq!(next(&shop.db, &account()).await.unwrap(), None, "nothing goes back");
    shop.assert_proven().await;
    shop.close().await;
}

/// The verdict of `prove` on a promise about the bank's records.
async fn proven(shop: &Shop, promise: &str) -> Verdict {
    let findings = prove(&shop.db, None).await.unwrap();
    let found = findings.iter().find(|finding| finding.promise == promise);
    found.unwrap().verdict.clone()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_the_bank_has_is_shown_by_the_last_comparison_once_there_is_one(db: PgPool) {
    const ONCE: &str = "one capture for an order, by the last reconciliation";
    let shop = open(db).await;
    let order = to_be_paid_within(A_WEEK);
    let handle = shop.place(&order).await;
    until_its_the_customers_turn(&shop, &handle).await;
    transfers(&shop, &order, "B1", 100).await;
    tell_news(&shop.db, &shop.client).await.unwrap();
    assert_eq!(ended(&handle).await, OrderStatus::Completed);
    assert!(matches!(proven(&shop, ONCE).await, Verdict::NotShown(_)));
    let provider = BankTransferProvider::new(shop.db.clone(), account());
    let asked = Asked {
        name: "first".to_owned(),
        from: Some(DateTime::UNIX_EPOCH),
        to: DateTime::from_timestamp(4_000_000_000, 0),
        days: 30,
    };
    let report = reconcile(&shop.db, &provider, &asked).await.unwrap();
    assert_eq!((report.payments, report.found), (1, 0));
    assert_eq!(proven(&shop, ONCE).await, Verdict::Holds);
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_whose_transfer_comes_while_no_worker_serves_goes_on_with_the_next(db: PgPool) {
    let shop = open(db).await;
    let order = to_be_paid_within(A_WEEK);
    let handle = shop.place(&order).await;
    shop.until_event(order.order_id, "payment.awaiting-customer").await;
    let (db, client) = (shop.db.clone(), shop.client.clone());
    let amount = order.totals.total.amount();
    let shop = shop
        .without_workflow_workers(async |_faults| {
            take_in(&db, &transfer("B1", amount, &reference(&order))).await;
            tell_news(&db, &client).await.unwrap();
        })
        .await;
    assert_eq!(ended(&handle).await, OrderStatus::Completed);
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_is_cancelled_while_it_waits_sends_all_that_comes_back(db: PgPool) {
    let shop = open(db).await;
    let order = to_be_paid_within(A_WEEK);
    let handle = shop.place(&order).await;
    until_its_the_customers_turn(&shop, &handle).await;
    let part = transfers(&shop, &order, "B1", 50).await;
    assert!(matches!(part, Became::Part { .. }), "{part:?}");
    let request = CancelRequest { reason: "changed my mind".to_owned() };
    let answer = handle.execute_update(OrderSaga::cancel, request, Default::default()).await;
    assert_eq!(answer.unwrap(), CancelDecision::Unwinding);
    let reason = "changed my mind".to_owned();
    assert_eq!(ended(&handle).await, OrderStatus::Cancelled { reason });
    shop.assert_clean_slate(order.order_id).await;
    let late = transfers(&shop, &order, "B2", 50).await;
    assert_eq!(late, Became::GoesBack { order: order.order_id });
    assert_eq!(tell_news(&shop.db, &shop.client).await.unwrap(), 0, "it has ended");
    shop.assert_proven().await;
    assert_eq!(next(&shop.db, &account()).await.unwrap().unwrap().lines, 2);
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_waits_for_its_money_in_vain_is_rejected(db: PgPool) {
    let shop = open(db).await;
    let order = to_be_paid_within(1);
    let handle = shop.place(&order).await;
    let rejection = Rejection::PaymentNotApproved;
    assert_eq!(ended(&handle).await, OrderStatus::Rejected { rejection });
    let late = transfers(&shop, &order, "B1", 100).await;
    assert_eq!(late, Became::GoesBack { order: order.order_id });
    shop.assert_clean_slate(order.order_id).await;
    let events = ["payment.awaiting-customer", "payment.expired"];
    assert_eq!(events_of_the_payment(&shop, &order).await, events);
    shop.assert_proven().await;
    shop.close().await;
}
