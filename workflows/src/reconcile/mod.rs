//! The reconciliation: provider and shop are compared, once in a while, by a schedule.
//!
//! It is no saga, because it has no step that could be taken back: what it books is on record at the
//! provider, and what it voids is nobody's any more. One activity does all of it, and its run is on
//! record in Postgres page by page, so a worker that dies loses a page at most. What the workflow adds
//! are the hints: an order or a refund that waits for what the provider has decided already is told
//! to ask at once, as a webhook would tell it.

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

/// What the id of every reconciliation begins with. A schedule adds the time of each.
pub const WORKFLOW_ID_PREFIX: &str = "reconcile";

/// How many workflows one run tells to ask again, at most. The next run tells the others.
pub const HINTS_MAX: usize = 100;

/// What a reconciliation is started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconcileStart {
    /// How many days back it looks.
    pub days: u32,
}

/// What came of a reconciliation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciled {
    /// Its number on record.
    pub run: i64,
    /// How many differences stand open.
    pub found: i64,
    /// The workflows that wait for what is decided.
    pub hints: Vec<Hint>,
}

/// A workflow that waits for what the payment provider has decided already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// Which.
    pub workflow_id: String,
    /// The provider's name for the payment or the refund.
    pub reference: String,
    /// What has become of it.
    pub status: String,
}

impl Hint {
    /// What the workflow is told.
    #[must_use]
    pub fn update(&self) -> PartyUpdate {
        PartyUpdate { reference: self.reference.clone(), status: self.status.clone() }
    }
}

/// One comparison of provider and shop.
///
/// **Repeats.** The run on record is named by the workflow run, so an attempt that comes again
/// carries it on, and what was booked or voided is not booked or voided again.
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

    /// Compares, and then tells whoever waits.
    #[run(name = "Reconciliation")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<Reconciled> {
        let start = ctx.state(|run| run.start);
        let done = ctx.execute_activity(Reconcile, start, patiently()).await?;
        for hint in &done.hints {
            // What cannot be told has ended, or asks by itself at the end of its wait.
            if let Ok(update) = signal_payload(&hint.update()) {
                let workflow = ctx.external_workflow(hint.workflow_id.as_str(), None);
                let options = SignalWorkflowOptions::default();
                workflow.signal(OrderSaga::payment_update, update, options).await.ok();
            }
        }
        Ok(done)
    }
}

/// The provider may be away for long; somebody who looks at the shop a day later begins anew.
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
