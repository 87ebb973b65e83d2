//! The reconciliation: a schedule regularly compares the provider's payments with the shop's.
//!
//! It is not a saga, because no step needs an undo: what it posts has already happened at the
//! provider, and what it voids nobody needs. One activity does all of it and saves its progress in
//! Postgres page by page, so a worker that dies loses one page at most. The workflow adds the
//! hints: an order or a refund that waits for something the provider has already decided is
//! signalled to ask at once, as a webhook would.

#![expect(missing_docs, reason = "the constants that the workflow macro makes carry no docs")]

mod contract;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_workflow::{
    ActivityCloseTimeouts, ActivityOptions, RetryPolicy, SignalWorkflowOptions, WorkflowContext,
    WorkflowContextView, WorkflowResult,
};

pub use contract::*;

use crate::order::{OrderSaga, PartyUpdate, signal_payload};

/// Prefix of every reconciliation's workflow id. A schedule appends the time.
pub const WORKFLOW_ID_PREFIX: &str = "reconcile";

/// The most workflows that one run signals. The next run signals the others.
pub const HINTS_MAX: usize = 100;

/// Input of a reconciliation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconcileStart {
    /// How many days to look back.
    pub days: u32,
}

/// Result of a reconciliation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciled {
    /// The number of its run on record.
    pub run: i64,
    /// How many differences are open.
    pub found: i64,
    /// The workflows that wait for something already decided.
    pub hints: Vec<Hint>,
}

/// A workflow that waits for something that the payment provider has already decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// The workflow's id.
    pub workflow_id: String,
    /// The provider's id of the payment or the refund.
    pub reference: String,
    /// Its current state.
    pub status: String,
}

impl Hint {
    /// The signal's payload.
    #[must_use]
    pub fn update(&self) -> PartyUpdate {
        PartyUpdate { reference: self.reference.clone(), status: self.status.clone() }
    }
}

/// One comparison of provider and shop.
///
/// **Repeats.** The run on record is keyed by the workflow run, so a retry continues it, and
/// nothing is posted or voided twice.
#[workflow]
#[derive(Debug)]
pub struct Reconciliation {
    start: ReconcileStart,
}

#[workflow_methods]
impl Reconciliation {
    #[init]
    fn new(_ctx: &WorkflowContextView, start: ReconcileStart) -> Self {
        Self { start }
    }

    /// Runs the comparison, and then signals the waiting workflows.
    #[run(name = "Reconciliation")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<Reconciled> {
        let start = ctx.state(|run| run.start);
        let done = ctx.execute_activity(Reconcile, start, patiently()).await?;
        for hint in &done.hints {
            // If the signal fails, the workflow has ended, or asks by itself at the end of its
            // wait.
            if let Ok(update) = signal_payload(&hint.update()) {
                let workflow = ctx.external_workflow(hint.workflow_id.as_str(), None);
                let options = SignalWorkflowOptions::default();
                workflow.signal(OrderSaga::payment_update, update, options).await.ok();
            }
        }
        Ok(done)
    }
}

/// The provider may be away for long; after a day, the next scheduled run takes over.
fn patiently() -> ActivityOptions {
    const PATIENCE: Duration = Duration::from_hours(24);
    let contract = <Reconcile as saga::Activity>::CONTRACT;
    let retry = RetryPolicy::builder()
        .initial_interval(Duration::from_secs(1))
        .maximum_interval(Duration::from_mins(1))
        .non_retryable_error_types([saga::BROKEN, saga::NOT_OPEN])
        .build();
    ActivityOptions::with_close_timeouts(ActivityCloseTimeouts::ScheduleAndStartToClose {
        schedule_to_close: PATIENCE,
        start_to_close: contract.attempt,
    })
    .retry_policy(retry)
    .heartbeat_timeout(saga::HEARTBEAT_TIMEOUT)
    .task_queue(contract.queue)
    .summary(contract.name)
    .build()
}
