//! Refunds of completed orders against a real Temporal server and a real database: the normal
//! course, lost answers, and a provider that is slow or does not make the refund.

#![expect(
    clippy::default_trait_access,
    clippy::unwrap_used,
    reason = "the SDK's options are left at their defaults, and what cannot be prepared or read \
              fails its test"
)]

mod support;

use activities::inbox::{News, Process, Processes as _};
use domain::event::{OrderEvent, RefundReversed};
use domain::refund::{RefundId, RefundState};
use domain::{Decision, Order, OrderStatus};
use futures::future::join_all;
use runtime::schema::MIGRATIONS;
use saga::WaitingFor;
use sqlx::PgPool;
use support::{
    Fault, Gate, RefundHandle, Shop, asks_back, decided, ended, launch_refund, order,
    provider_takes_its_time, refund_ended,
};
use temporalio_client::{
    WorkflowCancelOptions, WorkflowDescribeOptions, WorkflowGetResultOptions,
    WorkflowTerminateOptions,
};
use worker::inbox::TemporalProcesses;
use worker::prove::prove;
use worker::recover::{Recovered, recover};
use workflows::order::NEEDS_ATTENTION;
use workflows::refund::RefundSaga;

/// A completed order, and a recorded refund of this percentage of the payment.
async fn refundable(shop: &Shop, percent: u32) -> (Order, RefundId) {
    let order = order();
    assert_eq!(ended(&shop.place(&order).await).await, OrderStatus::Completed);
    let refund = asks_back(shop, &order, percent).await;
    (order, refund)
}

/// What the refund waits for. Queried only when it is idle: the SDK answers a query ahead of
/// pending workflow tasks, and an update delivered with the next one is then recorded at a position
/// in the history that replay does not reach.
async fn until_waiting_for(handle: &RefundHandle) -> WaitingFor {
    loop {
        let described = handle.describe(WorkflowDescribeOptions::default()).await.unwrap();
        if described.search_attributes().get(&NEEDS_ATTENTION) == Some(true) {
            let view = handle.query(RefundSaga::refund, (), Default::default()).await.unwrap();
            if let Some(waiting) = view.waiting_for {
                return waiting;
            }
        }
        tokio::task::yield_now().await;
    }
}

async fn decide(handle: &RefundHandle, decision: Decision) {
    let resolution = decided(&until_waiting_for(handle).await, decision);
    handle.execute_update(RefundSaga::resolve, resolution, Default::default()).await.unwrap();
}

/// Waits until the provider has a pending refund, and decides it.
async fn provider_decides(shop: &Shop, state: &str) {
    loop {
        let decided = sqlx::query!(
            "update sandbox_provider.refunds set state = $1 where state = 'pending'",
            state,
        );
        let decided = decided.execute(&shop.db).await.unwrap();
        if decided.rows_affected() > 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
}

async fn payment_of(shop: &Shop, order: &Order) -> String {
    shop.on_record(order.order_id).await.unwrap().payment_status
}

async fn needs_attention(shop: &Shop, order: &Order) -> bool {
    shop.on_record(order.order_id).await.unwrap().needs_attention
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn money_is_given_back_and_booked_in_part_and_in_full(db: PgPool) {
    let shop = Shop::open(db).await;
    for (percent, payment) in [(40, "partially-refunded"), (100, "refunded")] {
        let (order, refund) = refundable(&shop, percent).await;
        let handle = launch_refund(&shop, refund).await;
        assert_eq!(refund_ended(&handle).await, RefundState::Succeeded);
        assert_eq!(payment_of(&shop, &order).await, payment);
        let events = shop.events_on_record(order.order_id).await;
        let told = ["order.refund-requested", "order.refund-succeeded", "ledger.refund-posted"];
        assert!(events.ends_with(&told.map(str::to_owned)), "{events:?}");
    }
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_whose_answers_are_lost_gives_the_money_back_once(db: PgPool) {
    let shop = Shop::open(db).await;
    let faults = [
        ("IssueRefund", Fault::Unavailable(1)),
        ("IssueRefund", Fault::Unavailable(5)),
        ("IssueRefund", Fault::AnswerLost(1)),
        ("IssueRefund", Fault::AnswerLost(5)),
        ("NoteRefundEnd", Fault::Unavailable(5)),
        ("NoteRefundEnd", Fault::AnswerLost(5)),
    ];
    let shop_of_all = &shop;
    join_all(faults.into_iter().map(|(activity, fault)| async move {
        let shop = shop_of_all;
        let (order, refund) = refundable(shop, 40).await;
        let name = format!("{activity}: {fault:?}");
        shop.faults.plan_for_refund(refund, activity, fault);
        assert_eq!(
            refund_ended(&launch_refund(shop, refund).await).await,
            RefundState::Succeeded,
            "{name}"
        );
        assert_eq!(payment_of(shop, &order).await, "partially-refunded", "{name}");
    }))
    .await;
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_waits_for_its_provider_to_decide(db: PgPool) {
    let shop = Shop::open(db).await;
    let (order, refund) = refundable(&shop, 40).await;
    provider_takes_its_time(&shop, &order).await;
    let handle = launch_refund(&shop, refund).await;
    provider_decides(&shop, "succeeded").await;
    assert_eq!(refund_ended(&handle).await, RefundState::Succeeded);
    assert!(!needs_attention(&shop, &order).await);
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_that_fails_waits_for_a_person_who_has_it_tried_again(db: PgPool) {
    let shop = Shop::open(db).await;
    let (order, refund) = refundable(&shop, 40).await;
    provider_takes_its_time(&shop, &order).await;
    let handle = launch_refund(&shop, refund).await;
    provider_decides(&shop, "failed").await;
    let waiting = until_waiting_for(&handle).await;
    assert_eq!(waiting.step, "issue-refund");
    assert!(needs_attention(&shop, &order).await, "its order is shown to operators");
    assert_eq!(payment_of(&shop, &order).await, "paid");
    decide(&handle, Decision::Retry).await;
    assert_eq!(refund_ended(&handle).await, RefundState::Succeeded);
    assert!(!needs_attention(&shop, &order).await);
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_that_a_person_gives_up_has_failed_and_another_may_take_its_place(db: PgPool) {
    let shop = Shop::open(db).await;
    let (order, refund) = refundable(&shop, 100).await;
    provider_takes_its_time(&shop, &order).await;
    let handle = launch_refund(&shop, refund).await;
    provider_decides(&shop, "failed").await;
    decide(&handle, Decision::Skip).await;
    assert_eq!(refund_ended(&handle).await, RefundState::Failed);
    assert!(!needs_attention(&shop, &order).await);
    assert_eq!(payment_of(&shop, &order).await, "paid");
    let claimed = sqlx::query_scalar!(
        r#"select refund_claimed <> 0 as "claimed!" from payments.charges where order_id = $1"#,
        order.order_id.uuid(),
    );
    let claimed = claimed.fetch_one(&shop.db).await.unwrap();
    assert!(!claimed);
    shop.assert_proven().await;
    shop.close().await;
}

/// A completed refund fails later, and is reversed.
async fn comes_back(shop: &Shop, refund: RefundId) {
    let failed = sqlx::query!(
        "update sandbox_provider.refunds set state = 'failed' from sandbox_provider.payments
         where payments.payment_id = refunds.payment_id and merchant_reference = $1",
        refund.order_id.to_string(),
    );
    failed.execute(&shop.db).await.unwrap();
    let nothing = order().totals.total.percent(0.into()).unwrap();
    let reversed = OrderEvent::RefundReversed(RefundReversed {
        number: refund.number,
        amount: nothing,
        given_back: nothing,
        why: "card closed".to_owned(),
        provider_reference: "sandbox".to_owned(),
    });
    let outcome = sqlx::query_scalar!(
        r#"select payments.reverse_refund(
               order_id, number, provider_reference, 'card closed', $2
           ) as "outcome!"
           from payments.refund_requests where order_id = $1"#,
        refund.order_id.uuid(),
        reversed.data().unwrap(),
    );
    assert_eq!(outcome.fetch_one(&shop.db).await.unwrap(), "reversed");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_whose_money_comes_back_goes_on_until_a_person_decides(db: PgPool) {
    let shop = Shop::open(db).await;
    let processes = TemporalProcesses { client: shop.client.clone() };
    for (decision, state, payment) in [
        (Decision::Retry, RefundState::Succeeded, "partially-refunded"),
        (Decision::Skip, RefundState::Failed, "paid"),
    ] {
        let (order, refund) = refundable(&shop, 40).await;
        assert_eq!(refund_ended(&launch_refund(&shop, refund).await).await, RefundState::Succeeded);
        let process = Process::Refund(refund);
        assert!(!processes.is_under_way(process).await.unwrap());
        comes_back(&shop, refund).await;
        assert_eq!(payment_of(&shop, &order).await, "paid");

        let handle = launch_refund(&shop, refund).await;
        assert_eq!(until_waiting_for(&handle).await.step, "issue-refund");
        assert!(processes.is_under_way(process).await.unwrap());
        assert!(needs_attention(&shop, &order).await, "its order is shown to operators");
        decide(&handle, decision).await;
        assert_eq!(refund_ended(&handle).await, state);
        assert_eq!(payment_of(&shop, &order).await, payment);
        assert!(!needs_attention(&shop, &order).await);
    }
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_hears_of_the_providers_news_once_for_each_event(db: PgPool) {
    let shop = Shop::open(db).await;
    let (_, refund) = refundable(&shop, 40).await;
    let processes = TemporalProcesses { client: shop.client.clone() };
    let told = async |event: &str| {
        let (event_id, reference) = (event.to_owned(), "re_1a".to_owned());
        let news = News { event_id, reference, status: "succeeded" };
        processes.tell(Process::Refund(refund), &news).await.unwrap();
        processes.tell(Process::Order(refund.order_id), &news).await.unwrap();
    };
    // Nothing is there to receive it yet.
    told("evt_1").await;
    let gate = Gate::default();
    shop.faults.plan_for_refund(refund, "IssueRefund", Fault::Hangs(gate.clone()));
    let handle = launch_refund(&shop, refund).await;
    gate.reached().await;
    for event in ["evt_2", "evt_2", "evt_3"] {
        told(event).await;
    }
    gate.let_go();
    assert_eq!(refund_ended(&handle).await, RefundState::Succeeded);
    // It has ended.
    told("evt_4").await;
    let view = handle.query(RefundSaga::refund, (), Default::default()).await.unwrap();
    let timeline = serde_json::to_string(&view.timeline).unwrap();
    assert_eq!(timeline.matches("re_1a is succeeded").count(), 2, "{timeline}");
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_that_was_made_stays_made_whatever_a_person_decides(db: PgPool) {
    let shop = Shop::open(db).await;
    let (order, refund) = refundable(&shop, 40).await;
    shop.faults.plan_for_refund(refund, "IssueRefund", Fault::Garbled(1));
    let handle = launch_refund(&shop, refund).await;
    decide(&handle, Decision::Skip).await;
    assert_eq!(refund_ended(&handle).await, RefundState::Succeeded);
    assert_eq!(payment_of(&shop, &order).await, "partially-refunded");
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_cannot_be_cancelled_in_temporal(db: PgPool) {
    let shop = Shop::open(db).await;
    let (order, refund) = refundable(&shop, 40).await;
    let gate = Gate::default();
    shop.faults.plan_for_refund(refund, "IssueRefund", Fault::Hangs(gate.clone()));
    let handle = launch_refund(&shop, refund).await;
    gate.reached().await;
    handle.cancel(WorkflowCancelOptions::default()).await.unwrap();
    gate.let_go();
    assert_eq!(refund_ended(&handle).await, RefundState::Succeeded);
    assert_eq!(payment_of(&shop, &order).await, "partially-refunded");
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_that_nobody_asked_for_does_nothing(db: PgPool) {
    let shop = Shop::open(db).await;
    let order = order();
    assert_eq!(ended(&shop.place(&order).await).await, OrderStatus::Completed);
    let refund = RefundId { order_id: order.order_id, number: 7 };
    let handle = launch_refund(&shop, refund).await;
    let ended = handle.get_result(WorkflowGetResultOptions::default()).await;
    assert!(ended.is_err(), "{ended:?}");
    assert_eq!(payment_of(&shop, &order).await, "paid");
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_whose_workflow_is_lost_is_launched_again(db: PgPool) {
    let shop = Shop::open(db).await;
    let (_, refund) = refundable(&shop, 40).await;
    let gate = Gate::default();
    shop.faults.plan_for_refund(refund, "IssueRefund", Fault::Hangs(gate.clone()));
    let handle = launch_refund(&shop, refund).await;
    gate.reached().await;
    let db = shop.db_as_worker();
    assert_eq!(recover(&db, &shop.client).await.unwrap(), [], "it is under way");
    handle.terminate(WorkflowTerminateOptions::default()).await.unwrap();
    let promise = "a refund that has not ended is under way or waits to be launched";
    let findings = prove(&db, Some(&shop.client)).await.unwrap();
    assert!(findings.iter().any(|one| one.promise == promise && one.is_broken()), "{findings:?}");
    let found = recover(&db, &shop.client).await.unwrap();
    assert_eq!(found, [Recovered::RefundRelaunched(refund)]);
    assert_eq!(recover(&db, &shop.client).await.unwrap(), [], "it waits to be launched");
    let waiting = sqlx::query_scalar!("select is_recovery from orders.refund_launches");
    assert_eq!(waiting.fetch_all(&shop.db).await.unwrap(), [true]);
    db.close().await;
    gate.let_go();
    assert_eq!(refund_ended(&launch_refund(&shop, refund).await).await, RefundState::Succeeded);
    shop.assert_proven().await;
    shop.close().await;
}
