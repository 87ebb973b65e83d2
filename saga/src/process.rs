//! The interface between a workflow and the saga library.

use std::fmt::Display;
use std::time::Duration;

use serde::de::DeserializeOwned;
use temporalio_workflow::{WaitConditionOptions, WorkflowCancellationToken, WorkflowContext};

use crate::{AttentionNeeded, Progress, Resolved, StepFailure};

/// A workflow that is carried out as a saga.
pub trait Process: Sized + 'static {
    /// The reasons for which this process's business refuses.
    type Refusal: DeserializeOwned + Display + Clone + 'static;

    /// How long the saga waits before it retries by itself what is broken and waits for a person.
    /// Doubles up to [`Process::RETRY_BROKEN_MAX`].
    const RETRY_BROKEN_AFTER: Duration = Duration::from_mins(10);

    /// See [`Process::RETRY_BROKEN_AFTER`]. Each retry adds some ten events to the history.
    const RETRY_BROKEN_MAX: Duration = Duration::from_hours(6);

    /// The saga's part of the workflow's state.
    fn progress(&self) -> &Progress;

    /// See [`Process::progress`].
    fn progress_mut(&mut self) -> &mut Progress;

    /// The process's state in one or two words, as a heading in the Web UI.
    fn heading(&self) -> String;

    /// Updates the search attributes. Called when the process is about to wait, and at its end;
    /// each call that changes something adds an event to the history.
    fn publish(ctx: &WorkflowContext<Self>);

    /// Records that a step needs a person; returns the number of the occurrence, which is counted
    /// over all runs of the process. Uses [`try_note`](crate::try_note): if the note is broken, the
    /// saga itself waits for a decision about the record.
    ///
    /// **Repeats.** Idempotent per run and number.
    fn note_attention(
        ctx: &WorkflowContext<Self>,
        needed: AttentionNeeded,
    ) -> impl Future<Output = Result<u32, StepFailure<Self::Refusal>>>;

    /// Records a decision. Uses [`try_note`](crate::try_note), too.
    ///
    /// **Repeats.** An occurrence is decided once.
    fn note_resolved(
        ctx: &WorkflowContext<Self>,
        resolved: Resolved,
    ) -> impl Future<Output = Result<(), StepFailure<Self::Refusal>>>;
}

/// Adds a line of plain text to the timeline, where it is shown verbatim.
pub fn tell<P: Process>(ctx: &WorkflowContext<P>, text: impl AsRef<str>) {
    let now = ctx.workflow_time();
    ctx.state_mut(|process| process.progress_mut().tell(now, text));
}

/// Publishes the current timeline and search attributes.
pub(crate) fn show<P: Process>(ctx: &WorkflowContext<P>) {
    let details = ctx.state(|process| process.progress().markdown(&process.heading()));
    ctx.set_current_details(details);
    P::publish(ctx);
}

/// Publishes how the process ended, and lets running update handlers answer before the workflow
/// closes.
pub async fn answer_all<P: Process>(ctx: &WorkflowContext<P>) {
    show(ctx);
    let all = ctx.wait_condition_with_options(|_| ctx.all_handlers_finished(), uninterrupted());
    // The wait is detached from the workflow's cancellation.
    let _answered = all.await;
}

pub(crate) fn uninterrupted() -> WaitConditionOptions {
    WaitConditionOptions::builder().cancellation_token(WorkflowCancellationToken::new()).build()
}
