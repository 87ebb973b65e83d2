//! Runs orders through their cells.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use activities::payment::sandbox::SandboxProvider;
use activities::shipping::sandbox::SandboxCarrier;
use domain::{Attention, Decision, Order, OrderId, OrderStatus, PaymentToken};
use futures::FutureExt;
use futures::stream::{self, StreamExt};
use runtime::database::Database;
use saga::{Role, WaitingFor};
use serde_json::json;
use sqlx::AssertSqlSafe;
use sqlx::types::Json;
use temporalio_client::{
    WorkflowCancelOptions, WorkflowDescribeOptions, WorkflowFetchHistoryOptions,
};
use temporalio_common::protos::temporal::api::enums::v1::EventType;
use temporalio_common::protos::temporal::api::history::v1::HistoryEvent;
use tokio::time::{MissedTickBehavior, interval, timeout};
use workflows::order::{CancelRequest, NEEDS_ATTENTION, OrderSaga, PartyUpdate, signal_payload};

use crate::cell::{
    Cancel, Cell, Course, Misbehaviour, Moment, Point, Trouble, Way, contracts, last_step,
};
use crate::refund;
use crate::stripe::{self, Counterpart};
use crate::support::{
    self, FOR_EVER, Fault, Faults, Gate, OrderHandle, Shop, Traces, decided, ended, history,
};
use crate::told;

/// The result of a cell.
pub struct Outcome {
    pub cell: Cell,
    /// What is wrong, if anything.
    pub complaint: Option<String>,
    /// The events after which another request can be handled before the workflow continues.
    pub openings: Vec<usize>,
}

impl Outcome {
    /// The line for a failed cell.
    pub fn failure(&self) -> Option<String> {
        let complaint = self.complaint.as_ref()?;
        Some(format!("FAILED {}: {complaint}", self.cell))
    }
}

/// How many cells run between two progress messages.
const PROGRESS_EVERY: usize = 100;

/// How cells are run.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Concurrent cells.
    pub at_once: usize,
    /// An order that has not ended after this time counts as stuck.
    pub give_up_after: Duration,
    /// Whether to stop at the first failing cell.
    pub fail_fast: bool,
}

impl Manner {
    /// Whether to stop after these results.
    pub fn is_over(self, outcomes: &[Outcome]) -> bool {
        self.fail_fast && outcomes.iter().any(|outcome| outcome.complaint.is_some())
    }
}

/// Every call that an order makes on either course; fails if one of the contract table is missing.
pub async fn points(shop: &Shop, manner: Manner) -> BTreeSet<Point> {
    let mut points = BTreeSet::new();
    for course in [Course::Ships, Course::Unwinds, Course::IsAccepted] {
        let order = order_on(shop, course);
        let handle = shop.place(&order).await;
        let end = async {
            tokio::select! {
                status = ended(&handle) => status,
                never = decide(shop, &handle, order.order_id, course, false) => never,
            }
        };
        let in_time = timeout(manner.give_up_after, end).await;
        in_time.expect("an order to which nothing else happens comes to its end");
        let calls = shop.faults.calls_of(order.order_id);
        let sites = calls.into_iter().flat_map(|(activity, calls)| {
            calls.into_iter().enumerate().map(move |(site, call)| (activity.clone(), site, call))
        });
        for (activity, site, call) in sites {
            let point = Point { course, activity, site, call };
            // Both courses share a step's calls up to the point where they part.
            let is_own = match point.contract().role {
                Role::Does => course == Course::Ships,
                Role::Accepts => course == Course::IsAccepted,
                Role::Undoes => course == Course::Unwinds,
                // Notes about a person's decision are only written where one is needed.
                Role::Notes => match point.activity.as_str() {
                    "NoteUnwinding" | "NoteEnd" => course == Course::Unwinds,
                    _ => course == Course::IsAccepted,
                },
            };
            if is_own {
                points.insert(point);
            }
        }
    }
    for contract in contracts() {
        assert!(
            points.iter().any(|point| point.activity == contract.name),
            "no order calls {}, so nothing shows what happens when it goes wrong",
            contract.name
        );
    }
    points
}

/// Runs the cells.
pub async fn all(shop: &Shop, cells: Vec<Cell>, manner: Manner) -> Vec<Outcome> {
    let Manner { at_once, give_up_after, .. } = manner;
    let all = cells.len();
    let mut running =
        stream::iter(cells).map(|cell| one(shop, cell, give_up_after)).buffer_unordered(at_once);
    let mut outcomes = Vec::new();
    while let Some(outcome) = running.next().await {
        if let Some(failure) = outcome.failure() {
            println!("  {failure}");
        }
        outcomes.push(outcome);
        if outcomes.len().is_multiple_of(PROGRESS_EVERY) {
            println!("  {} of {all}", outcomes.len());
        }
        if manner.is_over(&outcomes) {
            break;
        }
    }
    outcomes
}

async fn one(shop: &Shop, cell: Cell, give_up_after: Duration) -> Outcome {
    let order = order_on(shop, cell.point.course);
    let through = async {
        let (complaint, openings) = if cell.point.course.is_of_a_refund() {
            (refund::through(shop, &cell, &order).await, Vec::new())
        } else {
            through(shop, &cell, &order).await
        };
        let complaint = match complaint {
            Some(complaint) => Some(complaint),
            None => Box::pin(told::complaint(shop, order.order_id, cell.point.course)).await,
        };
        (complaint, openings)
    };
    let run = AssertUnwindSafe(timeout(give_up_after, through)).catch_unwind();
    let (complaint, openings) = match run.await {
        Ok(Ok((complaint, openings))) => (complaint, openings),
        Ok(Err(_elapsed)) => {
            let stands = shop.status_on_record(order.order_id).await;
            (Some(format!("has not ended; on record as {stands:?}")), Vec::new())
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            (Some(text.unwrap_or_else(|| "panicked".to_owned())), Vec::new())
        }
    };
    let complaint = complaint.map(|complaint| format!("{complaint} (order {})", order.order_id));
    Outcome { cell, complaint, openings }
}

/// An order on this course, without the cell's fault.
pub fn order_on(shop: &Shop, course: Course) -> Order {
    let mut order = support::screened();
    if shop.stripe().is_some() {
        order.payment_token = stripe::card(None);
    }
    order.terms.patience_seconds = course.unwinds().then_some(impatience(shop));
    if shop.is_paid_by_transfer() {
        order.terms.approval_seconds = 3_600;
    }
    plan_course(&shop.faults, order.order_id, course);
    order
}

/// The patience in seconds of an order that has to give up: as short as everything else allows.
/// localstripe is single-threaded, and slow once it has a thousand payments.
fn impatience(shop: &Shop) -> u32 {
    if shop.stripe().is_some() { 5 } else { 1 }
}

/// Plans the faults that put an order on its course.
pub fn plan_course(faults: &Faults, order: OrderId, course: Course) {
    if course.unwinds() {
        faults.plan(order, last_step().name, Fault::AnswerLost(FOR_EVER));
    }
    if course == Course::IsAccepted {
        faults.plan(order, RECALL, Fault::Broken(FOR_EVER));
    }
}

/// The undo that is permanently broken once the parcel has left.
const RECALL: &str = "CancelShipment";

async fn through(shop: &Shop, cell: &Cell, order: &Order) -> (Option<String>, Vec<usize>) {
    let mut order = order.clone();
    if cell.trouble.uses_up_patience() {
        order.terms.patience_seconds = Some(impatience(shop));
    }
    if shop.stripe().is_some() {
        order.payment_token = stripe::card(Some(cell.trouble));
    } else if let Some(token) = cell.trouble.token() {
        order.payment_token = PaymentToken::parse(token).unwrap();
    }
    if let Some(seconds) = cell.trouble.approval_seconds() {
        order.terms.approval_seconds = seconds;
    }
    let (order_id, Point { activity, site, .. }) = (order.order_id, &cell.point);
    let gate = Gate::default();
    for fault in cell.trouble.faults(cell.cancel, &gate) {
        shop.faults.plan_at(order_id, activity, *site, fault);
    }
    let before_party = Gate::default();
    if cell.is_its_partys_doing() {
        let stops = Fault::HeldBefore(before_party.clone());
        shop.faults.plan_at(order_id, activity, *site, stops);
    }
    let handle = shop.place(&order).await;
    let (status, taken_in) = {
        let end = ended(&handle);
        let cancel = call_off(&handle, cell.cancel, &gate);
        let operator = decide(shop, &handle, order_id, cell.point.course, cell.needs_operator());
        let outside = answer_later(shop, &handle, order_id, cell.trouble);
        let news = async |party: &str, status: &str| tell_news(&handle, party, status).await;
        let party = misbehave(shop, cell, order_id, &before_party, news);
        tokio::pin!(end, cancel, operator, outside, party);
        let mut taken_in = None;
        let mut has_misbehaved = false;
        let status = loop {
            tokio::select! {
                status = &mut end => break status,
                () = &mut party, if !has_misbehaved => has_misbehaved = true,
                answer = &mut cancel, if taken_in.is_none() => taken_in = Some(answer),
                status = &mut operator => break status,
                status = &mut outside => break status,
            }
        };
        (status, taken_in.unwrap_or(false))
    };
    shop.faults.drain(order_id, activity).await;
    let complaint = match cell.complaint(&status, taken_in) {
        Some(complaint) => Some(complaint),
        None => on_record(shop, &order, &status).await,
    };
    let openings =
        if cell.cancel.is_none() { openings(&history(&handle).await.events) } else { Vec::new() };
    (complaint, openings)
}

/// Makes the point's party misbehave, or send notifications, as soon as the point is reached.
pub async fn misbehave(
    shop: &Shop,
    cell: &Cell,
    order: OrderId,
    before: &Gate,
    tell_news: impl AsyncFn(&str, &str),
) {
    let Some(party) = cell.point.party().filter(|_| cell.is_its_partys_doing()) else { return };
    before.reached().await;
    if cell.trouble == Trouble::HintsComeOften {
        for status in ["captured", "authorised", "captured", "authorised", "captured"] {
            tell_news(party, status).await;
        }
    }
    if let Some(stripe) = Counterpart::of(shop) {
        if let Some(trouble) = stripe::at_stripe(cell.trouble) {
            stripe.goes_wrong(order, &trouble).await;
        }
        before.let_go();
        return;
    }
    for Misbehaviour { call, behaviour, retry_after, seconds } in cell.trouble.at_the_party() {
        sqlx::query(AssertSqlSafe(format!(
            "insert into {party}.behaviours
                (call, whom, behaviour, retry_after, seconds, remaining)
             values ($1, $2, $3, $4, $5, 1)"
        )))
        .bind(call)
        .bind(order.to_string())
        .bind(behaviour)
        .bind(retry_after)
        .bind(seconds)
        .execute(&shop.db)
        .await
        .unwrap();
    }
    before.let_go();
}

/// A party notifies the order of a change. An order that has ended meanwhile ignores it.
async fn tell_news(handle: &OrderHandle, party: &str, status: &str) {
    let (reference, status) = ("pay_1".to_owned(), status.to_owned());
    let payload = signal_payload(&PartyUpdate { reference, status }).unwrap();
    let options = Default::default();
    if party == "sandbox_carrier" {
        handle.signal(OrderSaga::shipment_update, payload, options).await.ok();
    } else {
        handle.signal(OrderSaga::payment_update, payload, options).await.ok();
    }
}

/// Delivers all delayed requests to the parties, after all orders have ended.
pub async fn land(shop: &Shop) {
    let database = Database::of(shop.db.clone());
    let provider = SandboxProvider::new(database.clone(), 0);
    let carrier = SandboxCarrier::new(database);
    let at_the_provider = provider.land_late_requests().await.unwrap();
    let at_the_carrier = carrier.land_late_requests().await.unwrap();
    println!(
        "{at_the_provider} requests to the provider land late, {at_the_carrier} to the carrier"
    );
}

/// Cancels the order at its point. Returns whether the shop, or Temporal on its behalf, accepted
/// that.
pub async fn call_off(handle: &OrderHandle, cancel: Option<Cancel>, gate: &Gate) -> bool {
    let Some(Cancel { moment, way }) = cancel else { return false };
    match moment {
        Moment::Event(number) => {
            let options = WorkflowFetchHistoryOptions::builder().wait_new_event(true).build();
            let mut events = handle.fetch_history(options);
            for _ in 0..number {
                if events.next().await.is_none() {
                    return false;
                }
            }
        }
        Moment::BeforeEffect | Moment::AfterEffect => gate.reached().await,
        Moment::WhileDead => {}
    }
    let request = CancelRequest { reason: "called off by the matrix".to_owned() };
    // A workflow that has already ended cannot be notified, which counts as too late.
    let taken_in = match way {
        Way::Update => {
            let update = handle.execute_update(OrderSaga::cancel, request, Default::default());
            update.await.is_ok()
        }
        Way::Signal => {
            let payload = signal_payload(&request).unwrap();
            handle.signal(OrderSaga::cancel_signal, payload, Default::default()).await.is_ok()
        }
        Way::Temporal => {
            let options = WorkflowCancelOptions::builder().reason("called off").build();
            handle.cancel(options).await.is_ok()
        }
    };
    gate.let_go();
    taken_in
}

/// A person who retries everything, except the recall of a parcel that cannot be recalled: if the
/// carrier has it, it has left; if not, there is nothing to recall. Never returns.
pub async fn decide<T>(
    shop: &Shop,
    handle: &OrderHandle,
    order: OrderId,
    course: Course,
    is_needed: bool,
) -> T {
    let has_left = course == Course::IsAccepted;
    if !is_needed && !has_left {
        return std::future::pending().await;
    }
    // The order may have continued since it was checked, and then takes no decision.
    let take = async |waiting: &WaitingFor| {
        let is_recall = has_left && waiting.decisions.contains(&saga::Decision::AcceptAsDone);
        let decision = match is_recall {
            true if shop.traces(order).await.parcels > 0 => Decision::AcceptAsDone,
            true => Decision::Skip,
            false => Decision::Retry,
        };
        shop.decide(handle, &decided(waiting, decision)).await.is_ok()
    };
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut look = 0_u32;
    loop {
        looks.tick().await;
        look = look.wrapping_add(1);
        let is_taken = match waits_on_record(shop, order).await {
            Some(waiting) => take(&waiting).await,
            None => false,
        };
        // The record does not show that it cannot be written; only the workflow does.
        if !is_taken
            && look.is_multiple_of(ASK_AT_EVERY)
            && let Some(waiting) = waits(handle).await
        {
            take(&waiting).await;
        }
    }
}

/// A customer who approves the payment as soon as the bank asks, or a bank that rejects a refund,
/// with the provider's notification to the order. Never returns.
async fn answer_later<T>(shop: &Shop, handle: &OrderHandle, order: OrderId, trouble: Trouble) -> T {
    if let Some(stripe) = Counterpart::of(shop) {
        return answer_at_stripe(&stripe, handle, order, trouble).await;
    }
    let (answer, status) = if trouble == Trouble::NeedsCustomer {
        ("select sandbox_provider.answer_as_customer($1, true)", "authorised")
    } else if trouble == Trouble::RefundFails {
        (FAIL_REFUND, "refund-failed")
    } else {
        return std::future::pending().await;
    };
    let mut looks = interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        if is_answered(shop, order, answer).await {
            tell_news(handle, "sandbox_provider", status).await;
            break;
        }
    }
    std::future::pending().await
}

/// The same at Stripe's counterpart.
async fn answer_at_stripe<T>(
    stripe: &Counterpart,
    handle: &OrderHandle,
    order: OrderId,
    trouble: Trouble,
) -> T {
    let mut looks = interval(LOOK_EVERY);
    if trouble == Trouble::NeedsCustomer {
        while !stripe.approves(order).await {
            looks.tick().await;
        }
        tell_news(handle, "sandbox_provider", "authorised").await;
    } else if trouble == Trouble::RefundFails {
        while !stripe.refund_fails(order).await {
            looks.tick().await;
        }
        tell_news(handle, "sandbox_provider", "refund-failed").await;
    }
    std::future::pending().await
}

/// Makes the order's refund fail at the bank; returns whether there was one.
pub async fn refund_fails(shop: &Shop, order: OrderId) -> bool {
    if let Some(stripe) = Counterpart::of(shop) {
        return stripe.refund_fails(order).await;
    }
    is_answered(shop, order, FAIL_REFUND).await
}

async fn is_answered(shop: &Shop, order: OrderId, answer: &'static str) -> bool {
    sqlx::query_scalar(answer).bind(order.uuid()).fetch_one(&shop.db).await.unwrap()
}

/// Whether there was a refund to fail.
const FAIL_REFUND: &str = "
    with failed as (
        update sandbox_provider.refunds set state = 'failed'
        from sandbox_provider.payments
        where refunds.payment_id = payments.payment_id and refunds.state = 'pending'
            and merchant_reference = $1::uuid::text
        returning refunds.payment_id
    )
    select exists (select from failed)";

/// How often the record is checked, and after how many checks the workflow is queried, too. A query
/// costs the worker more than reading a row, and many orders are checked at once.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const ASK_AT_EVERY: u32 = 10;

async fn waits_on_record(shop: &Shop, order: OrderId) -> Option<WaitingFor> {
    let attention: Option<Json<Attention>> =
        sqlx::query_scalar("select attention from orders.orders where order_id = $1")
            .bind(order.uuid())
            .fetch_one(&shop.db)
            .await
            .unwrap();
    let Json(Attention { step, occurrence, decisions, .. }) = attention?;
    let decisions = serde_json::from_value(json!(decisions)).unwrap();
    Some(WaitingFor { step: step.to_string(), occurrence, decisions })
}

/// What the workflow waits for; `None` while no worker answers.
///
/// Queried only when the workflow is idle: the SDK answers a query after applying all events,
/// including those that no workflow task has delivered yet, and continues from that state in the
/// next one. Replay applies both in one step, and fails with a non-determinism error.
pub async fn waits(handle: &OrderHandle) -> Option<WaitingFor> {
    let description = handle.describe(WorkflowDescribeOptions::default()).await.ok()?;
    if description.search_attributes().get(&NEEDS_ATTENTION) != Some(true) {
        return None;
    }
    let view = handle.query(OrderSaga::order, (), Default::default()).await;
    view.ok()?.waiting_for
}

/// Checks the record and the parties after the order's end.
pub async fn on_record(shop: &Shop, order: &Order, status: &OrderStatus) -> Option<String> {
    let on_record = shop.status_on_record(order.order_id).await;
    if on_record.as_deref() != Some(status.name()) {
        return Some(format!("ended as {}, on record as {on_record:?}", status.name()));
    }
    let mut traces = shop.traces(order.order_id).await;
    if let Some(stripe) = Counterpart::of(shop) {
        traces.payments = stripe.standing(order.order_id).await;
    }
    let is_sold = *status == OrderStatus::Completed;
    let expected = if is_sold { Traces::of_a_sale() } else { Traces::default() };
    (traces != expected).then(|| format!("left {traces:?} behind, not {expected:?}"))
}

/// Events from a workflow task's completion are written with it; no request is handled in between.
fn openings(events: &[HistoryEvent]) -> Vec<usize> {
    let comes_by_itself = |event: &HistoryEvent| {
        matches!(
            event.event_type(),
            EventType::WorkflowTaskScheduled
                | EventType::WorkflowTaskStarted
                | EventType::WorkflowTaskCompleted
                | EventType::WorkflowTaskTimedOut
                | EventType::WorkflowTaskFailed
                | EventType::ActivityTaskStarted
                | EventType::ActivityTaskCompleted
                | EventType::ActivityTaskFailed
                | EventType::ActivityTaskTimedOut
                | EventType::ActivityTaskCanceled
                | EventType::TimerFired
                | EventType::WorkflowExecutionSignaled
        )
    };
    (1..events.len()).filter(|&number| comes_by_itself(&events[number])).collect()
}
