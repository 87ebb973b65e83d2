//! Faults by order, activity and call: how the outside world fails, on demand.
//!
//! An activity is called at several *sites* of an order's life; a site is told by its number
//! among the activity's calls, whose repeats are the same call. A fault begins at its site and
//! lasts as long as its kind says; then it is the turn of the next one planned, so that any
//! attempt can be made to fail in any way. All of this stands in the tests; no release build
//! knows it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::refund::RefundId;
use domain::{OrderId, Rejection};
use saga::{BROKEN, INVALID_ANSWER, REJECTED, UNAVAILABLE};
use serde::{Deserialize, Serialize};
use temporalio_sdk::ApplicationFailure;
use temporalio_sdk::activities::{ActivityError, ActivityInfo};
use temporalio_sdk::interceptors::{
    ActivityExecutionValue, ActivityInboundInterceptor, ExecuteActivityInput,
    ExecuteActivityOutput, Next,
};
use tokio::sync::watch;

/// What goes wrong with an activity.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The business says no; nothing takes effect.
    Refused(Rejection),
    /// Nobody answers, so many times; nothing takes effect.
    Unavailable(u32),
    /// It takes effect, but the answer is lost, so many times.
    AnswerLost(u32),
    /// It takes effect, but a proxy answers in the party's place, and makes no sense, so many times.
    /// The party is asked again for minutes.
    InvalidAnswer(u32),
    /// A bug, so many times; nothing takes effect.
    Broken(u32),
    /// It takes effect, and what it answers cannot be read, so many times.
    Garbled(u32),
    /// It takes effect, and its answer is larger than Temporal takes, so many times.
    TooLarge(u32),
    /// One attempt takes effect ten times slower than it would.
    Slow,
    /// The first attempt hangs until it has timed out and the second begins; then both run at
    /// once.
    Overlap,
    /// The first attempt hangs, and runs only after its gate is opened.
    Late(Gate),
    /// Every attempt hangs, and runs only after the gate is opened.
    Hangs(Gate),
    /// The first attempt stops before it takes effect, until its gate is opened.
    HeldBefore(Gate),
    /// The first attempt stops between its effect and its answer, until its gate is opened.
    HeldAfter(Gate),
}

/// Always, as far as a test can see.
pub const FOR_EVER: u32 = u32::MAX;

/// Where an attempt stops until it is let go.
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
    /// Waits until the attempt stands before the gate.
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
    // The gate holds the sender for as long as anybody waits.
    flag.subscribe().wait_for(|raised| *raised).await.unwrap();
}

/// The faults planned for the orders of a shop, and the calls that were made.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Orders>>);

type Orders = BTreeMap<String, BTreeMap<String, Calls>>;

/// What a call and its repeats have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Call {
    /// Whether it is made the quick way.
    is_local: bool,
    /// Told by the workflow, so it is the same in every run of it.
    id: String,
}

impl Call {
    /// The call that is being made.
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
    /// What is to go wrong, one after the other.
    planned: Vec<Planned>,
    /// Open once a second attempt has begun.
    second: Gate,
    /// Attempts under way.
    running: watch::Sender<usize>,
}

#[derive(Debug)]
struct Planned {
    site: usize,
    fault: Fault,
    /// Attempts that could have met it.
    attempts: u32,
}

/// Counts an attempt as long as it is under way.
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
    /// From now on the order's activity goes wrong, wherever it is called.
    pub fn plan(&self, order: OrderId, activity: &str, fault: Fault) {
        self.plan_at(order, activity, 0, fault);
    }

    /// The order's activity goes wrong from its `site`th call on, counted from 0, once whatever
    /// was planned for it before is over.
    pub fn plan_at(&self, order: OrderId, activity: &str, site: usize, fault: Fault) {
        self.plan_in(&order.workflow_id(), activity, site, fault);
    }

    /// From now on the refund's activity goes wrong.
    pub fn plan_for_refund(&self, refund: RefundId, activity: &str, fault: Fault) {
        self.plan_in(&refund.workflow_id(), activity, 0, fault);
    }

    /// The same for an activity of any workflow.
    pub fn plan_in(&self, workflow: &str, activity: &str, site: usize, fault: Fault) {
        let planned = Planned { site, fault, attempts: 0 };
        self.calls(workflow, activity, |calls| calls.planned.push(planned));
    }

    /// From now on the order's activity goes right.
    pub fn heal(&self, order: OrderId, activity: &str) {
        self.calls(&order.workflow_id(), activity, |calls| calls.planned.clear());
    }

    /// From now on everything goes right for the order.
    pub fn heal_order(&self, order: OrderId) {
        for calls in self.orders().entry(order.workflow_id()).or_default().values_mut() {
            calls.planned.clear();
        }
    }

    /// Lets every attempt go on that still hangs, and waits until it has come to its end.
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

    /// Stops the order's activity before it takes effect.
    pub fn hold(&self, order: OrderId, activity: &str) -> Gate {
        let gate = Gate::default();
        self.plan(order, activity, Fault::HeldBefore(gate.clone()));
        gate
    }

    /// Every activity that the order has called, and its calls, site by site.
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
    /// What goes wrong with this attempt.
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
    /// What it does to the next attempt, if it is not over.
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

/// A gRPC message is refused above 4 MB, and a payload above 2 MB.
const LARGER_THAN_TEMPORAL_TAKES: usize = 5 << 20;

/// An answer of another type than the activity's.
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
