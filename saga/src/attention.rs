//! A step or undo that is broken but must be completed: it waits for a person's decision, and is
//! meanwhile retried at long intervals.

use std::fmt;

use serde::{Deserialize, Serialize};
use temporalio_workflow::{TimerOptions, WorkflowContext};

use crate::attempt::Attempt;
use crate::process::{show, tell};
use crate::{Process, StepFailure, WaitingFor};

/// The name for the record itself, when writing to it is broken and waits for a person.
const RECORD: &str = "record";

/// What a person can decide about a step that cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// The cause is fixed: try again.
    Retry,
    /// It was settled by hand, or never will be: continue without it.
    Skip,
    /// What was to be undone has happened for good: the process goes forward again from there.
    AcceptAsDone,
}

/// A person's decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Resolution {
    /// The step decided about.
    pub step: String,
    /// The occurrence decided about.
    pub occurrence: u32,
    /// The decision.
    pub decision: Decision,
    /// Who decided.
    pub by: String,
    /// Why.
    pub why: String,
}

/// A step that cannot continue without a person, to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttentionNeeded {
    /// The run that reports it: after a reset, another run may report it again.
    pub run_id: String,
    /// Counts this run's notes; together with `run_id` it makes the note idempotent.
    pub number: u32,
    /// Which step.
    pub step: &'static str,
    /// `true`: the step's undo is broken. `false`: the step itself must be completed.
    pub undoing: bool,
    /// What went wrong.
    pub why: String,
    /// The decisions that a person can choose from.
    pub decisions: Vec<Decision>,
}

/// A decision to be recorded, or the success of the saga's own retry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The step decided about.
    pub step: &'static str,
    /// The occurrence decided about.
    pub occurrence: u32,
    /// The decision.
    pub decision: Decision,
    /// Who decided; `None` if the saga's own retry succeeded.
    pub by: Option<String>,
    /// Why.
    pub why: String,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retry => "retry",
            Self::Skip => "skip",
            Self::AcceptAsDone => "accept-as-done",
        })
    }
}

/// How a [`Duty`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Yes,
    Skipped,
    Accepted,
}

/// A step or undo that must be completed.
pub(crate) struct Duty<'a, P: Process> {
    pub(crate) step: &'static str,
    pub(crate) undoing: bool,
    pub(crate) can_be_accepted: bool,
    pub(crate) attempt: &'a Attempt<P>,
}

impl<P: Process> Duty<'_, P> {
    /// Runs it; if it is broken, waits until a person decides or a later retry succeeds.
    pub(crate) async fn see_through(&self, ctx: &WorkflowContext<P>) -> Done {
        loop {
            let failure = match (self.attempt)().await {
                // The process is not open: there is nothing to do or to undo.
                Ok(()) | Err(StepFailure::NotOpen { .. }) => return Done::Yes,
                Err(failure) => failure,
            };
            let step = self.step;
            tell(ctx, format!("💥 {step} waits for a decision (resolve): {failure}"));
            let occurrence = self.announce(ctx, &failure).await;
            let waiting =
                WaitingFor { step: step.to_owned(), occurrence, decisions: self.decisions() };
            match decided(ctx, waiting, async || settled((self.attempt)().await)).await {
                Outcome::Succeeded(_) => {
                    let why = "tried again by itself, and succeeded".to_owned();
                    let decision = Decision::Retry;
                    self.put_on_record(ctx, occurrence, decision, None, why).await;
                    return Done::Yes;
                }
                Outcome::Decided(Resolution { decision, by, why, .. }) => {
                    tell(ctx, format!("👤 {decision}, decided by {by}: {why}"));
                    self.put_on_record(ctx, occurrence, decision, Some(by), why).await;
                    match decision {
                        Decision::Retry => {}
                        Decision::Skip => return Done::Skipped,
                        Decision::AcceptAsDone => return Done::Accepted,
                    }
                }
            }
        }
    }

    fn decisions(&self) -> Vec<Decision> {
        let all = [Decision::Retry, Decision::Skip, Decision::AcceptAsDone];
        let can_be =
            |decision: &Decision| *decision != Decision::AcceptAsDone || self.can_be_accepted;
        all.into_iter().filter(can_be).collect()
    }

    /// Records that a person is needed; returns the occurrence's number, or 0 if a person skipped
    /// the note.
    async fn announce(&self, ctx: &WorkflowContext<P>, failure: &StepFailure<P::Refusal>) -> u32 {
        let needed = AttentionNeeded {
            run_id: ctx.run_id().to_owned(),
            number: ctx.state_mut(|process| process.progress_mut().next_note()),
            step: self.step,
            undoing: self.undoing,
            why: failure.to_string(),
            decisions: self.decisions(),
        };
        until_written(ctx, || P::note_attention(ctx, needed.clone())).await.unwrap_or_default()
    }

    async fn put_on_record(
        &self,
        ctx: &WorkflowContext<P>,
        occurrence: u32,
        decision: Decision,
        by: Option<String>,
        why: String,
    ) {
        let resolved = Resolved { step: self.step, occurrence, decision, by, why };
        // A person skipped the note, and accepted that the record lacks it.
        let _skipped = until_written(ctx, || P::note_resolved(ctx, resolved.clone())).await;
    }
}

/// Writes to the record. If that is broken, a person decides. Neither the question nor the decision
/// can be recorded then, so only the timeline and the search attributes show them.
///
/// **Errors.** The failure, if a person skipped the note or the process is no longer open.
pub(crate) async fn until_written<P, T, F>(
    ctx: &WorkflowContext<P>,
    write: impl Fn() -> F,
) -> Result<T, StepFailure<P::Refusal>>
where
    P: Process,
    F: Future<Output = Result<T, StepFailure<P::Refusal>>>,
{
    loop {
        let failure = match write().await {
            Ok(written) => return Ok(written),
            Err(failure @ StepFailure::NotOpen { .. }) => return Err(failure),
            Err(failure) => failure,
        };
        let occurrence = ctx.state_mut(|process| process.progress_mut().next_record_wait());
        tell(ctx, format!("💥 the record waits for a decision (resolve): {failure}"));
        let decisions = vec![Decision::Retry, Decision::Skip];
        let waiting = WaitingFor { step: RECORD.to_owned(), occurrence, decisions };
        match decided(ctx, waiting, async || settled(write().await)).await {
            Outcome::Succeeded(written) => return written,
            Outcome::Decided(Resolution { decision, by, why, .. }) => {
                tell(ctx, format!("👤 {decision}, decided by {by}: {why}"));
                if decision == Decision::Skip {
                    return Err(failure);
                }
            }
        }
    }
}

/// Whether no further try is needed: it succeeded, or the process is not open.
fn settled<T, R>(done: Result<T, StepFailure<R>>) -> Option<Result<T, StepFailure<R>>> {
    matches!(done, Ok(_) | Err(StepFailure::NotOpen { .. })).then_some(done)
}

enum Outcome<T> {
    Decided(Resolution),
    /// The saga's own retry succeeded.
    Succeeded(T),
}

/// Waits without limit for a person's decision, shows that it waits, and retries at growing
/// intervals. A decision ends a running retry, unless the retry succeeds first.
async fn decided<P: Process, T>(
    ctx: &WorkflowContext<P>,
    waiting: WaitingFor,
    retry: impl AsyncFn() -> Option<T>,
) -> Outcome<T> {
    let decided = ctx.state_mut(|process| process.progress_mut().wait_for(waiting));
    show(ctx);
    let taken = || ctx.state_mut(|process| process.progress_mut().take_resolution());
    let mut pause = P::RETRY_BROKEN_AFTER;
    let outcome = loop {
        // Only a decision ends this wait, not a cancellation of the workflow.
        let options = TimerOptions::builder(pause)
            .cancellation_token(decided.clone())
            .summary("next retry".to_owned())
            .build();
        ctx.timer(options).await;
        if let Some(resolution) = taken() {
            break Outcome::Decided(resolution);
        }
        let done = retry().await;
        match (done, taken()) {
            (Some(done), overtaken) => {
                if let Some(Resolution { decision, by, .. }) = overtaken {
                    tell(
                        ctx,
                        format!("👤 {decision}, decided by {by}, came after a retry succeeded"),
                    );
                }
                break Outcome::Succeeded(done);
            }
            (None, Some(resolution)) => break Outcome::Decided(resolution),
            (None, None) => pause = pause.saturating_mul(2).min(P::RETRY_BROKEN_MAX),
        }
    };
    ctx.state_mut(|process| process.progress_mut().end_wait());
    outcome
}
