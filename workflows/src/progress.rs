//! How far an order has come: the workflow's state, and what it shows of it.

use std::iter;
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use domain::{CustomerId, Order, OrderId, OrderLine, OrderStatus, StepName, Totals};
use serde::{Deserialize, Serialize};
use temporalio_workflow::WorkflowCancellationToken;

use crate::Queue;
use crate::order_saga::Resolution;

/// The whole order as its workflow sees it: the answer of the query `order`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderView {
    /// The order.
    pub order_id: OrderId,
    /// Whose it is.
    pub customer_id: CustomerId,
    /// When the shop took it in.
    pub placed_at: DateTime<Utc>,
    /// Where it stands.
    #[serde(flatten)]
    pub status: OrderStatus,
    /// What was bought.
    pub lines: Vec<OrderLine>,
    /// What it comes to.
    pub totals: Totals,
    /// Each step begun, and what became of it.
    pub steps: Vec<StepProgress>,
    /// Why the order is being called off, if it is.
    pub cancel_requested: Option<String>,
    /// Whether it waits for an operator's decision.
    pub needs_attention: bool,
    /// What happened, for people.
    pub timeline: Vec<TimelineEntry>,
}

/// What became of one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepProgress {
    /// Which step.
    pub step: StepName,
    /// What became of it.
    pub state: StepState,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// Begun; its undo is registered.
    Running,
    /// The quick try was not enough; it goes on, patiently.
    Waiting,
    /// Done.
    Done,
    /// The business said no.
    Refused,
    /// Nobody knows whether it took effect; its undo will find out.
    Unknown,
    /// A bug.
    Broken,
    /// Taken back.
    Undone,
    /// An operator decided to go on without it.
    Skipped,
}

/// One line of the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When, by the workflow's clock.
    pub at: DateTime<Utc>,
    /// What, for people.
    pub text: String,
}

/// The workflow's state beside the order itself.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) status: OrderStatus,
    pub(crate) steps: Vec<StepProgress>,
    pub(crate) timeline: Vec<TimelineEntry>,
    /// Why the order is to be called off; the first reason stands.
    pub(crate) cancel: Option<String>,
    /// Cancelled as soon as the order no longer goes forward. Undos do not hang on it.
    pub(crate) forward: WorkflowCancellationToken,
    /// The tracking number of the parcel, once it is known to be handed over.
    pub(crate) handed_over: Option<String>,
    /// What an operator decided and the saga has not yet acted on.
    pub(crate) resolution: Option<Resolution>,
    /// How many notes of the order's turns have been written.
    pub(crate) notes: u32,
    /// How often each party told us that something has changed on its side.
    payment_updates: u32,
    shipment_updates: u32,
    /// Whether an operator has been asked to decide and has not yet.
    pub(crate) needs_attention: bool,
    /// What the search attributes say: the status, and whether an operator is asked.
    pub(crate) published: (&'static str, bool),
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            status: OrderStatus::Processing,
            steps: Vec::new(),
            timeline: Vec::new(),
            cancel: None,
            forward: WorkflowCancellationToken::new(),
            handed_over: None,
            resolution: None,
            notes: 0,
            payment_updates: 0,
            shipment_updates: 0,
            needs_attention: false,
            published: (OrderStatus::Processing.name(), false),
        }
    }

    pub(crate) fn note(&mut self, now: Option<SystemTime>, text: impl Into<String>) {
        let at = DateTime::<Utc>::from(now.unwrap_or(SystemTime::UNIX_EPOCH));
        self.timeline.push(TimelineEntry { at, text: text.into() });
    }

    pub(crate) fn mark(&mut self, step: StepName, state: StepState) {
        match self.steps.iter_mut().find(|progress| progress.step == step) {
            Some(progress) => progress.state = state,
            None => self.steps.push(StepProgress { step, state }),
        }
    }

    /// Calls the order off, if it still goes forward; whether it did.
    pub(crate) fn call_off(&mut self, reason: String) -> bool {
        let in_time = self.status.can_be_cancelled();
        if in_time {
            self.forward.cancel_with_reason(reason.clone());
            self.cancel.get_or_insert(reason);
        }
        in_time
    }

    pub(crate) const fn updates_from(&self, queue: Queue) -> u32 {
        match queue {
            Queue::Payments => self.payment_updates,
            Queue::Fulfilment => self.shipment_updates,
            Queue::Orders | Queue::Notifications => 0,
        }
    }

    pub(crate) const fn count_update(&mut self, queue: Queue) {
        match queue {
            Queue::Payments => self.payment_updates = self.payment_updates.wrapping_add(1),
            Queue::Fulfilment => self.shipment_updates = self.shipment_updates.wrapping_add(1),
            Queue::Orders | Queue::Notifications => {}
        }
    }

    /// Whether the customer can be told: paid, or not going to be.
    pub(crate) const fn is_decided(&self) -> bool {
        match self.status {
            OrderStatus::Processing | OrderStatus::Reserved | OrderStatus::Unwinding => false,
            OrderStatus::Paid
            | OrderStatus::Posted
            | OrderStatus::Shipped { .. }
            | OrderStatus::Cancelled { .. }
            | OrderStatus::Rejected { .. }
            | OrderStatus::Stuck { .. }
            | OrderStatus::Failed { .. } => true,
        }
    }

    pub(crate) fn view(&self, order: &Order) -> OrderView {
        OrderView {
            order_id: order.order_id,
            customer_id: order.customer_id.clone(),
            placed_at: order.placed_at,
            status: self.status.clone(),
            lines: order.lines.clone(),
            totals: order.totals,
            steps: self.steps.clone(),
            cancel_requested: self.cancel.clone(),
            needs_attention: self.needs_attention,
            timeline: self.timeline.clone(),
        }
    }

    /// The timeline in Markdown, for the Web UI.
    pub(crate) fn markdown(&self) -> String {
        let lines = self.timeline.iter().map(|TimelineEntry { at, text }| {
            format!("- `{}` {text}", at.to_rfc3339_opts(SecondsFormat::Millis, true))
        });
        let heading = format!("### {}\n", self.status.name());
        iter::once(heading).chain(lines).collect::<Vec<_>>().join("\n")
    }
}
