//! A release is deployed while orders are in progress, rolled back, and orders are moved by hand.
//! The releases differ in their commands, so that neither can continue an order of the other.

#![expect(
    clippy::unwrap_used,
    clippy::default_trait_access,
    reason = "what cannot be prepared or read fails its test"
)]

mod support;

use std::env;
use std::process::{Output, Stdio};
use std::time::Duration;

use domain::{Decision, Order, OrderStatus, Rejection};
use runtime::schema::MIGRATIONS;
use sqlx::PgPool;
use support::{
    Code, FOR_EVER, Fault, Gate, OrderHandle, Shop, Workers, cancel, ended, history, order,
    serve_as, unreadable, until_in_history,
};
use temporalio_client::tonic::IntoRequest as _;
use temporalio_client::{Client, NamespacedClient as _};
use temporalio_common::protos::temporal::api::enums::v1::{EventType, TaskQueueType};
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeTaskQueueRequest;
use temporalio_sdk::workflow_interceptors::{
    ExecuteWorkflowInput, ExecuteWorkflowResult, WorkflowInterceptor,
    WorkflowInterceptorConstructor, WorkflowInterceptorContext, WorkflowInterceptorFuture,
    WorkflowNext,
};
use tokio::process::Command;
use worker::release::Release;
use workflows::Queue;
use workflows::order::OrderSaga;

const DEPLOYMENT: &str = "orders";

/// The previous release, and the deployed one.
const BEFORE: &str = "before";
const AFTER: &str = "after";

/// The later release begins every order with a command that the earlier one does not have.
struct BeginsWithATimer;

impl WorkflowInterceptor for BeginsWithATimer {
    fn execute<'a>(
        &'a self,
        ctx: WorkflowInterceptorContext,
        input: ExecuteWorkflowInput,
        next: WorkflowNext<
            'a,
            ExecuteWorkflowInput,
            WorkflowInterceptorFuture<'a, ExecuteWorkflowResult>,
        >,
    ) -> WorkflowInterceptorFuture<'a, ExecuteWorkflowResult> {
        WorkflowInterceptorFuture::new(async move {
            ctx.timer(Duration::from_millis(1)).await;
            next.run(input).await
        })
    }
}

/// Workers of a release, for every queue.
fn deploy(shop: &Shop, build_id: &str) -> Workers {
    let release = Release { deployment: DEPLOYMENT.to_owned(), build_id: build_id.to_owned() };
    let changes = (build_id == AFTER)
        .then(|| WorkflowInterceptorConstructor::new(|_started| BeginsWithATimer));
    let code = Code { release: Some(release), changes, ..Code::default() };
    let queues = &[Queue::Orders, Queue::Payments, Queue::Fulfilment];
    serve_as(code, &shop.db, &shop.client, shop.faults.clone(), queues)
}

/// Runs the `temporal` CLI, as an operator would.
async fn temporal(shop: &Shop, arguments: &[&str]) -> Output {
    let mut command = Command::new(env::var("TEMPORAL_CLI").unwrap());
    command.args(arguments).args(["--address", &shop.server_address()]).stdin(Stdio::null());
    command.output().await.unwrap()
}

/// Directs new orders to this release. Rejected until all its workers are polling.
async fn make_current(shop: &Shop, build_id: &str) {
    let release = ["--deployment-name", DEPLOYMENT, "--build-id", build_id, "--yes"];
    let said = [&["worker", "deployment", "set-current-version"], &release[..]].concat();
    while !temporal(shop, &said).await.status.success() {}
    // The server propagates the change to the queue afterwards. The deployment's "routing config
    // update state" does not show when: it can stay in progress for ever.
    while current_release(&shop.client).await.as_deref() != Some(build_id) {
        tokio::task::yield_now().await;
    }
}

/// The release that the queue of new orders hands them to.
async fn current_release(client: &Client) -> Option<String> {
    let orders = TaskQueue { name: Queue::Orders.name().to_owned(), ..TaskQueue::default() };
    let request = DescribeTaskQueueRequest {
        namespace: client.namespace(),
        task_queue: Some(orders),
        task_queue_type: TaskQueueType::Workflow.into(),
        ..DescribeTaskQueueRequest::default()
    };
    let mut service = client.connection().workflow_service();
    // The client does not retry this call. If it fails, as when the server closes an old connection,
    // the caller asks again.
    let answer = service.describe_task_queue(request.into_request()).await.ok()?;
    Some(answer.into_inner().versioning_info?.current_deployment_version?.build_id)
}

/// The releases that completed a workflow task of the run, in order and without repetition.
async fn carried_by(run: &OrderHandle) -> Vec<String> {
    let events = history(run).await.events.into_iter();
    let mut releases: Vec<_> = events
        .filter_map(|event| match event.attributes {
            Some(Attributes::WorkflowTaskCompletedEventAttributes(task)) => {
                Some(task.deployment_version.map_or_else(String::new, |version| version.build_id))
            }
            _ => None,
        })
        .collect();
    releases.dedup();
    releases
}

/// The causes of the run's failed workflow tasks.
async fn failed_tasks(run: &OrderHandle) -> Vec<String> {
    let events = history(run).await.events.into_iter();
    let failed = events.filter_map(|event| match event.attributes {
        Some(Attributes::WorkflowTaskFailedEventAttributes(task)) => Some(format!("{task:?}")),
        _ => None,
    });
    failed.collect()
}

fn refusal() -> Rejection {
    Rejection::CardDeclined { decline_code: "as planned by the test".to_owned() }
}

/// An order whose undo is broken, so that it waits for a person.
async fn waits_for_a_person(shop: &Shop) -> (Order, OrderHandle) {
    let order = order();
    shop.faults.plan(order.order_id, "ShipOrder", Fault::Refused(refusal()));
    shop.faults.plan(order.order_id, "RefundPayment", Fault::Broken(FOR_EVER));
    let run = shop.place(&order).await;
    shop.until_needs_attention(&run).await;
    (order, run)
}

/// A person retries it, and it succeeds.
async fn decide(shop: &Shop, (order, run): &(Order, OrderHandle)) {
    shop.faults.heal(order.order_id, "RefundPayment");
    shop.resolve(run, Decision::Retry).await;
    assert_eq!(ended(run).await, OrderStatus::Rejected { rejection: refusal() });
    shop.assert_clean_slate(order.order_id).await;
}

/// One order in every state that a deploy can meet.
struct Orders {
    release: &'static str,
    completed: OrderHandle,
    in_its_window: OrderHandle,
    retrying: (Order, OrderHandle),
    waiting_for_a_person: (Order, OrderHandle),
}

impl Orders {
    /// Begins them on the release that new orders currently go to.
    async fn begin(shop: &Shop, release: &'static str) -> Self {
        let completed = shop.place(&order()).await;
        assert_eq!(ended(&completed).await, OrderStatus::Completed);

        let mut windowed = order();
        windowed.terms.cancel_window_seconds = 3_600;
        let in_its_window = shop.place(&windowed).await;
        until_in_history(&in_its_window, EventType::TimerStarted, timers(release)).await;
        shop.until_event(windowed.order_id, "payment.authorised").await;

        let mut retried = order();
        retried.terms.patience_seconds = None;
        shop.faults.plan(retried.order_id, "ShipOrder", Fault::Unavailable(FOR_EVER));
        let retrying = shop.place(&retried).await;
        until_in_history(&retrying, EventType::ActivityTaskScheduled, 1).await;

        let waiting_for_a_person = waits_for_a_person(shop).await;
        Self {
            release,
            completed,
            in_its_window,
            retrying: (retried, retrying),
            waiting_for_a_person,
        }
    }

    /// Lets all of them end, each on the release that it began on.
    async fn end(&self, shop: &Shop) {
        cancel(&self.in_its_window, "changed my mind", &Gate::default()).await.unwrap();
        let cancelled = OrderStatus::Cancelled { reason: "changed my mind".to_owned() };
        assert_eq!(ended(&self.in_its_window).await, cancelled);

        let (retried, retrying) = &self.retrying;
        shop.faults.heal(retried.order_id, "ShipOrder");
        assert_eq!(ended(retrying).await, OrderStatus::Completed);

        decide(shop, &self.waiting_for_a_person).await;

        let (_, waiting) = &self.waiting_for_a_person;
        for run in [&self.completed, &self.in_its_window, retrying, waiting] {
            assert_eq!(carried_by(run).await, [self.release]);
            assert_eq!(failed_tasks(run).await, [""; 0]);
        }
    }
}

/// The timers of an order that has begun its cancel window.
fn timers(release: &str) -> usize {
    if release == AFTER { 2 } else { 1 }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn orders_end_on_the_release_that_they_began_on(db: PgPool) {
    let mut shop = Shop::open(db).await;
    shop.send_workers_home().await;
    let before = deploy(&shop, BEFORE);
    make_current(&shop, BEFORE).await;
    let first = Orders::begin(&shop, BEFORE).await;

    let after = deploy(&shop, AFTER);
    make_current(&shop, AFTER).await;
    let second = Orders::begin(&shop, AFTER).await;

    // The old release's worker restarts, and has only its orders' histories.
    before.stop().await;
    let before = deploy(&shop, BEFORE);

    make_current(&shop, BEFORE).await;
    let third = Orders::begin(&shop, BEFORE).await;
    for orders in [first, second, third] {
        orders.end(&shop).await;
    }
    shop.assert_proven().await;
    before.stop().await;
    after.stop().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_waits_for_long_is_moved_to_another_release(db: PgPool) {
    let mut shop = Shop::open(db).await;
    shop.send_workers_home().await;
    let before = deploy(&shop, BEFORE);
    make_current(&shop, BEFORE).await;
    let (order, run) = waits_for_a_person(&shop).await;
    let after = deploy(&shop, AFTER);
    make_current(&shop, AFTER).await;

    let workflow = order.order_id.workflow_id();
    let to = [
        ["--workflow-id", &workflow],
        ["--versioning-override-behavior", "pinned"],
        ["--versioning-override-deployment-name", DEPLOYMENT],
        ["--versioning-override-build-id", AFTER],
    ]
    .concat();
    // The other release's commands do not match its history: it cannot continue there, and nothing
    // is lost.
    said(&shop, &["workflow", "update-options"], &to).await;
    run.signal(OrderSaga::resolve_signal, unreadable(), Default::default()).await.unwrap();
    until_in_history(&run, EventType::WorkflowTaskFailed, 1).await;
    assert!(failed_tasks(&run).await[0].contains("NonDeterministic"));

    // After a reset there, it finds all that was done, and waits for the same decision.
    let reset = ["workflow", "reset", "with-workflow-update-options"];
    let why = ["--type", "FirstWorkflowTask", "--reason", "its release goes out of service"];
    said(&shop, &[&reset[..], &why].concat(), &to).await;
    let moved = shop.client.get_workflow_handle(&workflow);
    shop.until_needs_attention(&moved).await;
    before.stop().await;
    decide(&shop, &(order, moved)).await;
    shop.assert_proven().await;
    after.stop().await;
    shop.close().await;
}

/// Runs an operator's command and asserts that it succeeds.
async fn said(shop: &Shop, command: &[&str], options: &[&str]) {
    let done = temporal(shop, &[command, options].concat()).await;
    assert!(done.status.success(), "{done:?}");
}
