//! A refund: money of a completed order is given back.
//!
//! There is nothing to go back to, because the order has ended: from its first step on, a refund
//! only goes on. It waits for the provider for as long as that takes. Where the provider does not
//! give the money back, a person decides: `retry` asks it anew, `skip` gives the refund up.

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

/// What a refund's workflow is started with: a reference to the refund on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundStart {
    /// Which refund.
    #[serde(flatten)]
    pub refund: RefundId,
    /// The version of the order's record.
    pub record_version: u32,
}

/// How a refund ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundOutcome {
    /// Which refund.
    #[serde(flatten)]
    pub refund: RefundId,
    /// Its state; nothing, if a person decided to go on although the record could not be read.
    pub state: Option<RefundState>,
}

/// How far a refund has come, as its workflow sees it: the answer of the query `refund`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundView {
    /// Which refund.
    #[serde(flatten)]
    pub refund: RefundId,
    /// How it ended, if it has.
    pub state: Option<RefundState>,
    /// Its step, and what became of it.
    pub steps: Vec<StepProgress>,
    /// What waits for a person's decision, if anything does.
    pub waiting_for: Option<WaitingFor>,
    /// What happened, for people.
    pub timeline: Vec<TimelineEntry>,
}

impl RefundStart {
    const fn key(self) -> StepKey {
        self.refund.key(self.record_version)
    }
}

/// A refund of a completed order, from its launch until the money is given back or a person gives
/// it up.
///
/// **Repeats.** The workflow id is made of the order's id and the refund's number, so a refund has
/// one workflow at a time, and the key of its step is made of the same.
#[workflow]
#[derive(Debug)]
pub struct RefundSaga {
    start: RefundStart,
    state: Option<RefundState>,
    progress: Progress,
    /// What the search attribute says.
    needs_attention: bool,
}

#[workflow_methods]
impl RefundSaga {
    #[init]
    fn new(_ctx: &WorkflowContextView, start: RefundStart) -> Self {
        Self { start, state: None, progress: Progress::default(), needs_attention: false }
    }

    /// Carries the refund through.
    #[run(name = "RefundSaga")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<RefundOutcome> {
        let ctx = ctx.clone();
        let start = ctx.state(|saga| saga.start);
        let (refund, key) = (start.refund, start.key());
        let mut saga = Saga::begin(&ctx, None);
        let issue = saga.step(IssueRefund, key).undone_by(WithdrawRefund);
        if saga.run_to_the_end(issue).await == StepState::Skipped {
            // The record says what it came to: money that was given back stays that.
            let _undone = saga.unwind().await;
        }
        match note(&ctx, NoteRefundEnd, key, true).await {
            Ok(state) => ctx.state_mut(|saga| saga.state = Some(state)),
            Err(StepFailure::NotOpen { message, .. }) => {
                answer_all(&ctx).await;
                return Err(failed(format!("nothing was done: {message}")).into());
            }
            // A person who skips it has been told that nobody knows.
            Err(_) => {}
        }
        tell(&ctx, "🏁 done");
        answer_all(&ctx).await;
        Ok(RefundOutcome { refund, state: ctx.state(|saga| saga.state) })
    }

    /// The payment provider has news: a refund that waits asks again at once.
    #[signal(name = "payment_update")]
    pub fn payment_update(&mut self, ctx: &mut SyncWorkflowContext<Self>, update: RawValue) {
        let party = ("payment_update", Queue::Payments);
        told::news(&mut self.progress, ctx.workflow_time(), party, update);
    }

    /// A person decides about what the refund waits for; same as the update `resolve`, without an
    /// answer.
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

    /// A person decides about what the refund waits for; refused if it does not wait for this.
    #[expect(clippy::needless_pass_by_value, reason = "the macro passes what was sent")]
    #[update(name = "resolve")]
    pub fn resolve(
        &mut self,
        _ctx: &mut SyncWorkflowContext<Self>,
        resolution: Resolution,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.progress.resolve(resolution.checked()?)?)
    }

    /// How far the refund has come.
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

/// What a refund's workflow is started with, so that it can be found when it needs a person.
#[must_use]
pub fn search_attributes_at_start() -> SearchAttributes {
    SearchAttributes::new([NEEDS_ATTENTION.value_set(false)])
}
