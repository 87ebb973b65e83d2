//! Planned faults by order, activity and call site: they simulate failures of the outside world.
//!
//! An activity is called at several *sites* in an order's life, numbered by its distinct calls;
//! retries belong to the same site. A fault begins at its site and lasts as its kind says; then the
//! next planned one begins, so that any attempt can fail in any way. This exists only in tests, not
//! in release builds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::refund::RefundId;
use domain::{OrderId, Rejection};
use saga::{BROKEN, INVALID_ANSWER, QUICK_ATTEMPTS, REJECTED, UNAVAILABLE};
use serde::{Deserialize, Serialize};
use temporalio_sdk::ApplicationFailure;
use temporalio_sdk::activities::{ActivityError, ActivityInfo};
use temporalio_sdk::interceptors::{
    ActivityExecutionValue, ActivityInboundInterceptor, ExecuteActivityInput,
    ExecuteActivityOutput, Next,
};
use tokio::sync::watch;

/// A fault of an activity.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A business rejection, without effect.
    Refused(Rejection),
    /// Unavailable this many times, without effect.
    Unavailable(u32),
    /// Takes effect, but the answer is lost, this many times.
    AnswerLost(u32),
    /// Takes effect, but a proxy returns an invalid answer, this many times. The party is retried
    /// for minutes.
    InvalidAnswer(u32),
    /// A bug, this many times, without effect.
    Broken(u32),
    /// Takes effect, and returns an undecodable answer, this many times.
    Garbled(u32),
    /// Takes effect, and returns an answer larger than Temporal's limit, this many times.
    TooLarge(u32),
    /// One attempt takes ten times as long as usual.
    Slow,
    /// The first attempt hangs until it has timed out and the second begins; then both run
    /// concurrently.
    Overlap,
    /// The first attempt hangs, and runs only after its gate is opened.
    Late(Gate),
    /// Every attempt hangs, and runs only after the gate is opened.
    Hangs(Gate),
    /// The first attempt waits at its gate before its effect.
    HeldBefore(Gate),
    /// The first attempt waits at its gate between its effect and its answer.
    HeldAfter(Gate),
}

/// Always, for a test's purposes.
pub const FOR_EVER: u32 = u32::MAX;

/// A gate at which an attempt waits until it is opened.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Passage>);

#[derive(Debug)]
struct Passage {
    reached: watch::Sender<bool>,
    open: watch::Sender<bool>,
}

impl Default for Gate {
    fn default() -> Self {
        let shut = || watch::Sender::new(false);
        Self(Arc::new(Passage { reached: shut(), open: shut() }))
    }
}

impl Gate {
    /// Waits until the attempt has reached the gate.
    pub async fn reached(&self) {
        until(&self.0.reached).await;
    }

    /// Opens the gate.
    pub fn let_go(&self) {
        self.0.open.send_replace(true);
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        *self.0.open.borrow()
    }

    async fn pass(&self) {
        self.0.reached.send_replace(true);
        until(&self.0.open).await;
    }
}

async fn until(flag: &watch::Sender<bool>) {
    // The gate keeps the sender alive while anything waits.
    flag.subscribe().wait_for(|raised| *raised).await.unwrap();
}

/// The planned faults of a shop's orders, and the calls made.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Orders>>);

type Orders = BTreeMap<String, BTreeMap<String, Calls>>;

/// The identity of a call and its retries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Call {
    /// Whether it is a quick attempt.
    is_local: bool,
    /// Assigned by the workflow, so it is the same in every run.
    id: String,
}

impl Call {
    /// The call in progress.
    pub fn of(info: &ActivityInfo) -> Self {
        Self { is_local: info.is_local, id: info.activity_id.clone() }
    }

    pub const fn is_local(&self) -> bool {
        self.is_local
    }
}

/// The calls of one activity by one order.
#[derive(Debug, Default)]
struct Calls {
    made: Vec<Call>,
    /// The planned faults, in order.
    planned: Vec<Planned>,
    /// Opened once a second attempt has begun.
    second: Gate,
    /// Attempts in progress.
    running: watch::Sender<usize>,
}

#[derive(Debug)]
struct Planned {
    site: usize,
    fault: Fault,
    /// Attempts that could have met it.
    attempts: u32,
}

/// Counts an attempt while it is in progress.
struct Running(watch::Sender<usize>);

impl Running {
    fn one_more(running: &watch::Sender<usize>) -> Self {
        running.send_modify(|running| *running = running.saturating_add(1));
        Self(running.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running = running.saturating_sub(1));
    }
}

impl Faults {
    /// Makes the order's activity fail from now on, at any call site.
    pub fn plan(&self, order: OrderId, activity: &str, fault: Fault) {
        self.plan_at(order, activity, 0, fault);
    }

    /// Makes the order's activity fail from its `site`th call on, counted from 0, after all faults
    /// planned before.
    pub fn plan_at(&self, order: OrderId, activity: &str, site: usize, fault: Fault) {
        self.plan_in(&order.workflow_id(), activity, site, fault);
    }

    /// Makes the refund's activity fail from now on.
    pub fn plan_for_refund(&self, refund: RefundId, activity: &str, fault: Fault) {
        self.plan_in(&refund.workflow_id(), activity, 0, fault);
    }

    /// The same for an activity of any workflow.
    pub fn plan_in(&self, workflow: &str, activity: &str, site: usize, fault: Fault) {
        let planned = Planned { site, fault, attempts: 0 };
        self.calls(workflow, activity, |calls| calls.planned.push(planned));
    }

    /// Removes the faults of the order's activity.
    pub fn heal(&self, order: OrderId, activity: &str) {
        self.calls(&order.workflow_id(), activity, |calls| calls.planned.clear());
    }

    /// Removes all faults of the order.
    pub fn heal_order(&self, order: OrderId) {
        for calls in self.orders().entry(order.workflow_id()).or_default().values_mut() {
            calls.planned.clear();
        }
    }

    /// Releases all hanging attempts, and waits until they have finished.
    pub async fn drain(&self, order: OrderId, activity: &str) {
        self.drain_in(&order.workflow_id(), activity).await;
    }

    /// The same for an activity of any workflow.
    pub async fn drain_in(&self, workflow: &str, activity: &str) {
        let mut running = self.calls(workflow, activity, |calls| {
            calls.second.let_go();
            for Planned { fault, .. } in &calls.planned {
                if let Fault::Late(gate)
                | Fault::Hangs(gate)
                | Fault::HeldBefore(gate)
                | Fault::HeldAfter(gate) = fault
                {
                    gate.let_go();
                }
            }
            calls.running.subscribe()
        });
        running.wait_for(|running| *running == 0).await.unwrap();
    }

    /// Holds the order's activity before its effect.
    pub fn hold(&self, order: OrderId, activity: &str) -> Gate {
        let gate = Gate::default();
        self.plan(order, activity, Fault::HeldBefore(gate.clone()));
        gate
    }

    /// Like `hold`, for every quick attempt: if only the first is held, on a slow machine it times
    /// out and the second one succeeds before the test has opened the gate.
    pub fn hold_quick(&self, order: OrderId, activity: &str) -> Gate {
        let gate = Gate::default();
        for _attempt in 0..QUICK_ATTEMPTS {
            self.plan(order, activity, Fault::HeldBefore(gate.clone()));
        }
        gate
    }

    /// Every activity called by the order, with its calls by site.
    pub fn calls_of(&self, order: OrderId) -> BTreeMap<String, Vec<Call>> {
        self.calls_in(&order.workflow_id())
    }

    /// The same for any workflow.
    pub fn calls_in(&self, workflow: &str) -> BTreeMap<String, Vec<Call>> {
        let orders = self.orders();
        let calls = orders.get(workflow).into_iter().flatten();
        calls.map(|(activity, calls)| (activity.clone(), calls.made.clone())).collect()
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn calls<T>(&self, workflow: &str, activity: &str, with: impl FnOnce(&mut Calls) -> T) -> T {
        let mut orders = self.orders();
        let order = orders.entry(workflow.to_owned()).or_default();
        with(order.entry(activity.to_owned()).or_default())
    }
}

impl Calls {
    /// The fault of this attempt.
    fn attempted(&mut self, call: Call) -> Option<Fault> {
        if !self.made.contains(&call) {
            self.made.push(call);
        }
        let reached = self.made.len();
        let mut planned = self.planned.iter_mut().filter(|planned| planned.site < reached);
        planned.find_map(|planned| planned.meets(&self.second))
    }
}

impl Planned {
    /// The effect on the next attempt, unless the fault is over.
    fn meets(&mut self, second: &Gate) -> Option<Fault> {
        self.attempts = self.attempts.saturating_add(1);
        let now = self.fault.clone();
        let lasts = match now {
            Fault::Refused(_) | Fault::Hangs(_) => FOR_EVER,
            Fault::Unavailable(times)
            | Fault::AnswerLost(times)
            | Fault::InvalidAnswer(times)
            | Fault::Broken(times)
            | Fault::Garbled(times)
            | Fault::TooLarge(times) => times,
            Fault::Overlap if self.attempts == 2 => {
                second.let_go();
                1
            }
            Fault::Slow
            | Fault::Overlap
            | Fault::Late(_)
            | Fault::HeldBefore(_)
            | Fault::HeldAfter(_) => 1,
        };
        (self.attempts <= lasts).then_some(now)
    }
}

impl ActivityInboundInterceptor for Faults {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        let info = input.activity_info();
        let workflow = info.workflow_id.as_deref().unwrap_or_default();
        let (fault, second, running) = self.calls(workflow, &info.activity_type, |calls| {
            let running = Running::one_more(&calls.running);
            (calls.attempted(Call::of(info)), calls.second.clone(), running)
        });
        Box::pin(async move {
            let _running = running;
            match fault {
                None => next.run(input).await,
                Some(Fault::Refused(rejection)) => Err(refused(rejection)),
                Some(Fault::Unavailable(_)) => Err(failed(UNAVAILABLE, false)),
                Some(Fault::Broken(_)) => Err(failed(BROKEN, true)),
                Some(Fault::AnswerLost(_)) => {
                    next.run(input).await?;
                    Err(failed(UNAVAILABLE, false))
                }
                Some(Fault::InvalidAnswer(_)) => {
                    next.run(input).await?;
                    Err(invalid_answer())
                }
                Some(Fault::Garbled(_)) => {
                    next.run(input).await?;
                    Ok(of_another_type("<html>It works!</html>".to_owned()))
                }
                Some(Fault::TooLarge(_)) => {
                    next.run(input).await?;
                    Ok(of_another_type("x".repeat(LARGER_THAN_TEMPORAL_TAKES)))
                }
                Some(Fault::Slow) => {
                    let begun = Instant::now();
                    let answer = next.run(input).await;
                    tokio::time::sleep(begun.elapsed().saturating_mul(9)).await;
                    answer
                }
                Some(Fault::Overlap) => {
                    second.pass().await;
                    next.run(input).await
                }
                Some(Fault::Late(gate) | Fault::Hangs(gate) | Fault::HeldBefore(gate)) => {
                    gate.pass().await;
                    next.run(input).await
                }
                Some(Fault::HeldAfter(gate)) => {
                    let answer = next.run(input).await;
                    gate.pass().await;
                    answer
                }
            }
        })
    }
}

/// gRPC rejects messages above 4 MB, and Temporal payloads above 2 MB.
const LARGER_THAN_TEMPORAL_TAKES: usize = 5 << 20;

/// An answer of the wrong type.
fn of_another_type(answer: String) -> Box<dyn ActivityExecutionValue> {
    Box::new(answer)
}

fn refused(rejection: Rejection) -> ActivityError {
    ApplicationFailure::builder(rejection.to_string())
        .type_name(REJECTED.to_owned())
        .non_retryable(true)
        .details(rejection)
        .build()
        .into()
}

fn invalid_answer() -> ActivityError {
    ApplicationFailure::builder("as planned by the test")
        .type_name(INVALID_ANSWER.to_owned())
        .details(Duration::from_mins(5))
        .build()
        .into()
}

pub fn failed(class: &str, non_retryable: bool) -> ActivityError {
    ApplicationFailure::builder("as planned by the test")
        .type_name(class.to_owned())
        .non_retryable(non_retryable)
        .build()
        .into()
}
