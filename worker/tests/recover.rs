//! `recover` relaunches orders after a disaster, and each ends correctly.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "what cannot be prepared or read fails its test, and a test may ask the database anything"
)]

mod support;

use domain::{Decision, Order, OrderId, OrderStatus, Rejection};
use futures::future::join;
use runtime::schema::MIGRATIONS;
use sqlx::PgPool;
use support::{
    FOR_EVER, Fault, Gate, OrderHandle, Shop, Traces, cancel, ended, order, until_listed,
};
use temporalio_client::{WorkflowStartOptions, WorkflowTerminateOptions};
use worker::recover::{Recovered, recover};
use workflows::Queue;
use workflows::order::{OrderSaga, OrderStart};

fn refusal() -> Rejection {
    Rejection::CardDeclined { decline_code: "as planned by the test".to_owned() }
}

/// An order that can be cancelled for an hour.
fn patient_order() -> Order {
    let mut order = order();
    order.terms.cancel_window_seconds = 3_600;
    order
}

/// Runs like `ordersaga recover`: with only the worker's rights.
async fn recovered(shop: &Shop) -> Vec<Recovered> {
    let db = shop.db_as_worker();
    let found = recover(&db, &shop.client).await.unwrap();
    db.close().await;
    found
}

/// The results, in any order.
async fn found(shop: &Shop) -> Vec<Recovered> {
    let mut found = recovered(shop).await;
    found.sort_by_key(ToString::to_string);
    found
}

/// The orders queued for relaunch.
async fn to_be_launched_again(shop: &Shop) -> Vec<OrderId> {
    let ids = sqlx::query_scalar(
        "select order_id from orders.launches where is_recovery order by placed_at",
    );
    ids.fetch_all(&shop.db).await.unwrap().into_iter().map(OrderId::of).collect()
}

/// Launches an order like the launcher.
async fn launched(shop: &Shop, order: &Order) -> OrderHandle {
    let is_unwinding = shop.on_record(order.order_id).await.unwrap().is_unwinding;
    let start = OrderStart { is_unwinding, ..OrderStart::of(order) };
    let workflow_id = order.order_id.workflow_id();
    let options = WorkflowStartOptions::new(Queue::Orders.name(), workflow_id).build();
    let handle = shop.client.start_workflow(OrderSaga::run, start, options).await.unwrap();
    is_launched(shop, order).await;
    handle
}

/// Asserts that the order no longer waits for its launch.
async fn is_launched(shop: &Shop, order: &Order) {
    sqlx::query("delete from orders.launches where order_id = $1")
        .bind(order.order_id.uuid())
        .execute(&shop.db)
        .await
        .unwrap();
}

async fn in_its_window(shop: &Shop, order: &Order) -> OrderHandle {
    let handle = shop.place(order).await;
    shop.until_event(order.order_id, "payment.authorised").await;
    handle
}

async fn lose(handle: &OrderHandle) {
    handle.terminate(WorkflowTerminateOptions::default()).await.unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whatever_a_lost_workflow_was_at_its_order_comes_to_its_right_end(db: PgPool) {
    let shop = Shop::open(db).await;
    let (in_window, stuck, waiting, completed) = (patient_order(), order(), order(), order());
    let forgotten = order();
    let lost = in_its_window(&shop, &in_window).await;
    lose(&lost).await;
    shop.faults.plan(stuck.order_id, "ShipOrder", Fault::Refused(refusal()));
    shop.faults.plan(stuck.order_id, "RefundPayment", Fault::Broken(FOR_EVER));
    let lost = shop.place(&stuck).await;
    shop.until_needs_attention(&lost).await;
    lose(&lost).await;
    shop.put_on_record(&waiting).await;
    let handle = shop.place(&completed).await;
    assert_eq!(ended(&handle).await, OrderStatus::Completed);
    // It was launched, and Temporal has no workflow.
    shop.put_on_record(&forgotten).await;
    is_launched(&shop, &forgotten).await;

    // Two concurrent runs, and one more: each order is relaunched once.
    let (first, second) = join(recovered(&shop), recovered(&shop)).await;
    assert_eq!(first.len().saturating_add(second.len()), 3, "{first:?} {second:?}");
    for order in [&in_window, &stuck, &forgotten] {
        let relaunched = Recovered::Relaunched(order.order_id);
        assert!(first.contains(&relaunched) || second.contains(&relaunched), "{first:?}");
    }
    assert_eq!(found(&shop).await, []);
    let all = [&in_window, &stuck, &forgotten].map(|order| order.order_id);
    assert_eq!(to_be_launched_again(&shop).await, all);

    let again = launched(&shop, &in_window).await;
    shop.until_view(&again, |view| view.steps.len() == 2).await;
    cancel(&again, "changed my mind", &Gate::default()).await.unwrap();
    assert!(matches!(ended(&again).await, OrderStatus::Cancelled { .. }));
    shop.assert_clean_slate(in_window.order_id).await;

    let again = launched(&shop, &stuck).await;
    shop.until_needs_attention(&again).await;
    shop.faults.heal(stuck.order_id, "RefundPayment");
    shop.resolve(&again, Decision::Retry).await;
    assert_eq!(ended(&again).await, OrderStatus::Rejected { rejection: refusal() });
    shop.assert_clean_slate(stuck.order_id).await;

    for order in [&waiting, &forgotten] {
        assert_eq!(ended(&launched(&shop, order).await).await, OrderStatus::Completed);
    }
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn live_traffic_is_left_alone(db: PgPool) {
    let shop = Shop::open(db).await;
    let (in_window, stuck) = (patient_order(), order());
    let open = in_its_window(&shop, &in_window).await;
    shop.faults.plan(stuck.order_id, "ShipOrder", Fault::Refused(refusal()));
    shop.faults.plan(stuck.order_id, "RefundPayment", Fault::Broken(FOR_EVER));
    let waits = shop.place(&stuck).await;
    shop.until_needs_attention(&waits).await;
    let held = order();
    let gate = shop.faults.hold(held.order_id, "AuthorisePayment");
    let under_way = shop.place(&held).await;
    gate.reached().await;
    assert_eq!(found(&shop).await, []);
    gate.let_go();
    assert_eq!(ended(&under_way).await, OrderStatus::Completed);
    shop.resolve(&waits, Decision::Skip).await;
    ended(&waits).await;
    cancel(&open, "changed my mind", &Gate::default()).await.unwrap();
    ended(&open).await;
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_record_that_was_set_back_is_told_what_was_done(db: PgPool) {
    let shop = Shop::open(db).await;
    let (in_window, completed, cancelled, unwinding) =
        (patient_order(), order(), patient_order(), patient_order());
    let (undone, taken) = (order(), order());
    // Recorded, and about to be launched.
    for order in [&in_window, &completed, &undone, &taken] {
        shop.put_on_record(order).await;
    }
    // Paid, and about to be cancelled.
    let to_cancel = in_its_window(&shop, &cancelled).await;
    let to_unwind = in_its_window(&shop, &unwinding).await;
    let (shop, backup) = shop.back_up().await;

    let ahead = launched(&shop, &in_window).await;
    shop.until_event(in_window.order_id, "payment.authorised").await;
    assert_eq!(ended(&launched(&shop, &completed).await).await, OrderStatus::Completed);
    cancel(&to_cancel, "changed my mind", &Gate::default()).await.unwrap();
    ended(&to_cancel).await;
    shop.faults.plan(unwinding.order_id, "ReleaseStock", Fault::Broken(FOR_EVER));
    cancel(&to_unwind, "too slow", &Gate::default()).await.unwrap();
    shop.until_needs_attention(&to_unwind).await;
    // Paid and refunded; and paid, and not refunded yet.
    shop.faults.plan(undone.order_id, "ShipOrder", Fault::Refused(refusal()));
    ended(&launched(&shop, &undone).await).await;
    shop.faults.plan(taken.order_id, "ShipOrder", Fault::Refused(refusal()));
    shop.faults.plan(taken.order_id, "RefundPayment", Fault::Broken(FOR_EVER));
    shop.until_needs_attention(&launched(&shop, &taken).await).await;
    let forgotten = patient_order();
    in_its_window(&shop, &forgotten).await;

    let shop = shop.set_back_to(backup).await;
    // Its workflow finds no record, and a lost run may have done anything.
    let forgotten_under_way = order();
    ended(&shop.launch(&forgotten_under_way, None).await).await;
    let listed = format!("WorkflowId='{}'", forgotten_under_way.order_id.workflow_id());
    until_listed(&shop.client, &listed, 1).await;
    let proof = worker::prove::prove(&shop.db, Some(&shop.client)).await.unwrap();
    let table = worker::prove::table(&proof);
    let disagreeing =
        [&in_window, &completed, &cancelled, &unwinding, &taken, &forgotten, &forgotten_under_way];
    for order in disagreeing {
        assert!(table.contains(&order.order_id.to_string()), "{}\n{table}", order.order_id);
    }
    let mut expected = vec![
        set_back(&in_window, &["reserve-stock", "authorise-payment"]),
        set_back(&completed, &["its end (completed)"]),
        set_back(&cancelled, &["its end (cancelled)"]),
        set_back(&undone, &["its end (rejected)"]),
        set_back(
            &taken,
            &[
                "reserve-stock",
                "authorise-payment",
                "capture-payment",
                "post-entries",
                "the question about capture-payment",
            ],
        ),
        set_back(&unwinding, &["authorise-payment", "the question about reserve-stock"]),
    ];
    let lost = [&forgotten, &forgotten_under_way];
    let lost = lost.map(|order| Recovered::NotOnRecord(order.order_id));
    expected.extend(lost.clone());
    expected.sort_by_key(ToString::to_string);
    assert_eq!(found(&shop).await, expected);
    expected.retain(|one| lost.contains(one));
    assert_eq!(found(&shop).await, expected);

    assert!(matches!(ended(&ahead).await, OrderStatus::Failed { .. }), "was terminated");
    let again = launched(&shop, &in_window).await;
    shop.until_view(&again, |view| view.steps.len() == 2).await;
    cancel(&again, "changed my mind", &Gate::default()).await.unwrap();
    ended(&again).await;
    shop.assert_clean_slate(in_window.order_id).await;

    assert_eq!(ended(&launched(&shop, &completed).await).await, OrderStatus::Completed);
    assert_eq!(shop.traces(completed.order_id).await, Traces::of_a_sale());
    // After its request is repeated, it is on record again; its failure because of the missing
    // record is not an end.
    shop.put_on_record(&forgotten_under_way).await;
    let failed = set_back(&forgotten_under_way, &["its end (failed)"]);
    assert!(found(&shop).await.contains(&failed));
    let again = launched(&shop, &forgotten_under_way).await;
    assert_eq!(ended(&again).await, OrderStatus::Completed);
    assert_eq!(shop.traces(forgotten_under_way.order_id).await, Traces::of_a_sale());
    shop.faults.heal_order(unwinding.order_id);
    shop.faults.heal_order(taken.order_id);
    for order in [&undone, &taken] {
        let status = ended(&launched(&shop, order).await).await;
        assert_eq!(status, OrderStatus::Rejected { rejection: refusal() });
        shop.assert_clean_slate(order.order_id).await;
    }
    for (order, reason) in [(&cancelled, "changed my mind"), (&unwinding, "too slow")] {
        let reason = reason.to_owned();
        let status = ended(&launched(&shop, order).await).await;
        assert_eq!(status, OrderStatus::Cancelled { reason });
        shop.assert_clean_slate(order.order_id).await;
    }
    shop.close().await;
}

fn set_back(order: &Order, lacked: &[&str]) -> Recovered {
    let lacked = lacked.iter().map(|one| (*one).to_owned()).collect();
    Recovered::SetBack { order: order.order_id, lacked }
}
