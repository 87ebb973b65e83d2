//! A refund: money of a completed order is given back.
//!
//! The order has ended, so nothing is unwound: a refund only goes forward from its first step. It
//! waits for the provider for as long as necessary. If the provider does not refund the money, a
//! person decides: `retry` asks again, `skip` gives the refund up.

#![expect(missing_docs, reason = "the constants that the workflow macro makes carry no docs")]

mod contract;

use std::error::Error;

use domain::refund::{RefundId, RefundState};
use domain::{Rejection, StepKey};
use saga::{
    AttentionNeeded, Process, Progress, Resolved, Saga, StepFailure, StepProgress, StepState,
    TimelineEntry, WaitingFor, answer_all, note, tell,
};
use serde::{Deserialize, Serialize};
use temporalio_common::data_converters::RawValue;
use temporalio_common::search_attributes::SearchAttributes;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_workflow::{
    SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult,
};

pub use contract::*;

use crate::Queue;
use crate::order::{NEEDS_ATTENTION, Resolution};
use crate::told::{self, failed};

/// Input of a refund's workflow: a reference to the refund on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundStart {
    /// Which refund.
    #[serde(flatten)]
    pub refund: RefundId,
    /// The version of the order's record.
    pub record_version: u32,
}

/// Result of a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundOutcome {
    /// Which refund.
    #[serde(flatten)]
    pub refund: RefundId,
    /// The final state; `None` if a person skipped reading it because the record could not be read.
    pub state: Option<RefundState>,
}

/// The workflow's view of the refund's progress: the answer of the query `refund`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundView {
    /// Which refund.
    #[serde(flatten)]
    pub refund: RefundId,
    /// The final state, once it has ended.
    pub state: Option<RefundState>,
    /// The steps begun so far, and their state.
    pub steps: Vec<StepProgress>,
    /// The step that waits for a person's decision, if any.
    pub waiting_for: Option<WaitingFor>,
    /// What happened, in plain text.
    pub timeline: Vec<TimelineEntry>,
}

impl RefundStart {
    const fn key(self) -> StepKey {
        self.refund.key(self.record_version)
    }
}

/// The workflow of a refund, from its launch until the money is given back or a person gives it up.
///
/// **Repeats.** The workflow id and the step's key are derived from the order's id and the refund's
/// number, so a refund has one workflow at a time and takes effect once.
#[workflow]
#[derive(Debug)]
pub struct RefundSaga {
    start: RefundStart,
    state: Option<RefundState>,
    progress: Progress,
    /// The published search attribute.
    needs_attention: bool,
}

#[workflow_methods]
impl RefundSaga {
    #[init]
    fn new(_ctx: &WorkflowContextView, start: RefundStart) -> Self {
        Self { start, state: None, progress: Progress::default(), needs_attention: false }
    }

    /// Runs the refund to its end.
    #[run(name = "RefundSaga")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<RefundOutcome> {
        let ctx = ctx.clone();
        let start = ctx.state(|saga| saga.start);
        let (refund, key) = (start.refund, start.key());
        let mut saga = Saga::begin(&ctx, None);
        let issue = saga.step(IssueRefund, key).undone_by(WithdrawRefund);
        if saga.run_to_the_end(issue).await == StepState::Skipped {
            // The record decides the outcome: money that was already given back stays refunded.
            let _undone = saga.unwind().await;
        }
        match note(&ctx, NoteRefundEnd, key, true).await {
            Ok(state) => ctx.state_mut(|saga| saga.state = Some(state)),
            Err(StepFailure::NotOpen { message, .. }) => {
                answer_all(&ctx).await;
                return Err(failed(format!("nothing was done: {message}")).into());
            }
            // A person skipped the note, knowing that the outcome stays unknown.
            Err(_) => {}
        }
        tell(&ctx, "🏁 done");
        answer_all(&ctx).await;
        Ok(RefundOutcome { refund, state: ctx.state(|saga| saga.state) })
    }

    /// The payment provider reports a change: a waiting refund asks again at once.
    #[signal(name = "payment_update")]
    pub fn payment_update(&mut self, ctx: &mut SyncWorkflowContext<Self>, update: RawValue) {
        let party = ("payment_update", Queue::Payments);
        told::news(&mut self.progress, ctx.workflow_time(), party, update);
    }

    /// A person's decision about the waiting step; same as the update `resolve`, without an answer.
    #[signal(name = "resolve")]
    pub fn resolve_signal(&mut self, ctx: &mut SyncWorkflowContext<Self>, resolution: RawValue) {
        told::decision(&mut self.progress, ctx.workflow_time(), resolution);
    }

    #[update_validator(resolve)]
    fn validate_resolve(
        &self,
        _ctx: &WorkflowContextView,
        resolution: &Resolution,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.progress.check(&resolution.checked()?)?)
    }

    /// A person's decision about the waiting step; refused if the refund does not wait for it.
    #[expect(clippy::needless_pass_by_value, reason = "the macro passes what was sent")]
    #[update(name = "resolve")]
    pub fn resolve(
        &mut self,
        _ctx: &mut SyncWorkflowContext<Self>,
        resolution: Resolution,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.progress.resolve(resolution.checked()?)?)
    }

    /// The refund's progress.
    #[query(name = "refund")]
    #[must_use]
    pub fn refund(&self, _ctx: &WorkflowContextView) -> RefundView {
        RefundView {
            refund: self.start.refund,
            state: self.state,
            steps: self.progress.steps().to_vec(),
            waiting_for: self.progress.waiting_for().cloned(),
            timeline: self.progress.timeline().cloned().collect(),
        }
    }
}

impl Process for RefundSaga {
    type Refusal = Rejection;

    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn heading(&self) -> String {
        match (self.progress.waiting_for(), self.state) {
            (Some(waiting), _) => format!("waiting for a decision about {}", waiting.step),
            (None, Some(state)) => state.name().to_owned(),
            (None, None) => "under way".to_owned(),
        }
    }

    fn publish(ctx: &WorkflowContext<Self>) {
        let changed = ctx.state_mut(|saga| {
            let now = saga.progress.waiting_for().is_some();
            (std::mem::replace(&mut saga.needs_attention, now) != now).then_some(now)
        });
        if let Some(needs_attention) = changed {
            ctx.upsert_search_attributes([NEEDS_ATTENTION.value_set(needs_attention)]);
        }
    }

    async fn note_attention(
        ctx: &WorkflowContext<Self>,
        needed: AttentionNeeded,
    ) -> Result<u32, StepFailure<Rejection>> {
        told::note_attention(ctx, ctx.state(|saga| saga.start.refund.order_id), needed).await
    }

    async fn note_resolved(
        ctx: &WorkflowContext<Self>,
        resolved: Resolved,
    ) -> Result<(), StepFailure<Rejection>> {
        told::note_resolved(ctx, ctx.state(|saga| saga.start.refund.order_id), resolved).await
    }
}

/// The search attributes set when a refund's workflow is started.
#[must_use]
pub fn search_attributes_at_start() -> SearchAttributes {
    SearchAttributes::new([NEEDS_ATTENTION.value_set(false)])
}
