//! What is broken and must be done all the same: it waits for a person, and is meanwhile tried
//! again by itself, slowly.

use std::fmt;

use serde::{Deserialize, Serialize};
use temporalio_workflow::{TimerOptions, WorkflowContext};

use crate::attempt::Attempt;
use crate::process::{show, tell};
use crate::{Process, StepFailure, WaitingFor};

/// What the record itself is called where it cannot be written and waits for a person.
const RECORD: &str = "record";

/// What a person can decide about a step that cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// The cause is repaired: try again.
    Retry,
    /// It has been settled by hand, or never will be: go on without it.
    Skip,
    /// What was to be undone has happened for good: the process goes forward again from there.
    AcceptAsDone,
}

/// A person's decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Resolution {
    /// The step that it decides about.
    pub step: String,
    /// The occurrence that it decides about.
    pub occurrence: u32,
    /// What to do.
    pub decision: Decision,
    /// Who decided.
    pub by: String,
    /// Why.
    pub why: String,
}

/// A step that cannot go on without a person, to be put on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttentionNeeded {
    /// The run that says so: after a reset, another run may say so again.
    pub run_id: String,
    /// Counts this run's notes; with the run, it is what makes the note idempotent.
    pub number: u32,
    /// Which step.
    pub step: &'static str,
    /// Whether the step is being undone, or must be done.
    pub undoing: bool,
    /// What went wrong.
    pub why: String,
    /// What can be decided.
    pub decisions: Vec<Decision>,
}

/// A decision to be put on record, or the success of a retry that the saga made by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The step that was decided about.
    pub step: &'static str,
    /// The occurrence that was decided about.
    pub occurrence: u32,
    /// What was decided.
    pub decision: Decision,
    /// Who decided; none if the saga's own retry succeeded.
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

/// How something that must be done came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Yes,
    Skipped,
    Accepted,
}

/// Something that must be done.
pub(crate) struct Duty<'a, P: Process> {
    pub(crate) step: &'static str,
    pub(crate) undoing: bool,
    pub(crate) can_be_accepted: bool,
    pub(crate) attempt: &'a Attempt<P>,
}

impl<P: Process> Duty<'_, P> {
    /// Does what must be done; if it is broken, a person decides, or a later retry succeeds.
    pub(crate) async fn see_through(&self, ctx: &WorkflowContext<P>) -> Done {
        loop {
            let failure = match (self.attempt)().await {
                // Where there is no process, there is nothing to do and nothing to undo.
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

    /// The occurrence's number. One whose note a person skipped has none, and is numbered 0.
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
        // A person who skips this note has been told what will be missing from the record.
        let _skipped = until_written(ctx, || P::note_resolved(ctx, resolved.clone())).await;
    }
}

/// Writes to the record. When that is broken a person decides, but neither the question nor the
/// decision can be put on record: the timeline and the search attributes show them.
///
/// **Errors.** The failure, if a person decided to go on without the note, or the process is not
/// open any more.
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

/// What needs no further try: it is done, or there is no process to do it for.
fn settled<T, R>(done: Result<T, StepFailure<R>>) -> Option<Result<T, StepFailure<R>>> {
    matches!(done, Ok(_) | Err(StepFailure::NotOpen { .. })).then_some(done)
}

enum Outcome<T> {
    Decided(Resolution),
    /// A retry that the saga made by itself succeeded.
    Succeeded(T),
}

/// Waits, visibly and for as long as it takes, for a person's decision, and tries again by itself
/// every now and then. A decision ends a retry that is under way, unless that succeeds first.
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
        // No workflow cancellation reaches this wait, only a decision.
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
