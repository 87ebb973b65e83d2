//! What a workflow has to tell the saga library about itself.

use std::fmt::Display;
use std::time::Duration;

use serde::de::DeserializeOwned;
use temporalio_workflow::{WaitConditionOptions, WorkflowCancellationToken, WorkflowContext};

use crate::{AttentionNeeded, Progress, Resolved, StepFailure};

/// A workflow that is carried out as a saga.
pub trait Process: Sized + 'static {
    /// Every way this process's business says no.
    type Refusal: DeserializeOwned + Display + Clone + 'static;

    /// How long the saga waits before it tries by itself again what is broken and waits for a
    /// person. Doubles up to [`Process::RETRY_BROKEN_MAX`].
    const RETRY_BROKEN_AFTER: Duration = Duration::from_mins(10);

    /// See [`Process::RETRY_BROKEN_AFTER`]. Each try is some ten events of history.
    const RETRY_BROKEN_MAX: Duration = Duration::from_hours(6);

    /// The saga's part of the workflow's state.
    fn progress(&self) -> &Progress;

    /// See [`Process::progress`].
    fn progress_mut(&mut self) -> &mut Progress;

    /// One or two words on where the process stands, as a heading in the Web UI.
    fn heading(&self) -> String;

    /// Brings the search attributes up to date. Called where the process is about to wait and can
    /// be seen, and at its end; each call that changes something is an event in the history.
    fn publish(ctx: &WorkflowContext<Self>);

    /// Puts on record that a step needs a person; answers the number of the occurrence, which
    /// counts on over all runs of the process. Written with [`try_note`](crate::try_note): if the
    /// note is broken, the saga itself waits for a decision about the record.
    ///
    /// **Repeats.** The same run and number is the same note.
    fn note_attention(
        ctx: &WorkflowContext<Self>,
        needed: AttentionNeeded,
    ) -> impl Future<Output = Result<u32, StepFailure<Self::Refusal>>>;

    /// Puts a decision on record. Written with [`try_note`](crate::try_note), too.
    ///
    /// **Repeats.** The same occurrence is decided once.
    fn note_resolved(
        ctx: &WorkflowContext<Self>,
        resolved: Resolved,
    ) -> impl Future<Output = Result<(), StepFailure<Self::Refusal>>>;
}

/// Adds a line to the timeline: plain text, which is shown as it is written.
pub fn tell<P: Process>(ctx: &WorkflowContext<P>, text: impl AsRef<str>) {
    let now = ctx.workflow_time();
    ctx.state_mut(|process| process.progress_mut().tell(now, text));
}

/// Shows the timeline and the search attributes as they are now.
pub(crate) fn show<P: Process>(ctx: &WorkflowContext<P>) {
    let details = ctx.state(|process| process.progress().markdown(&process.heading()));
    ctx.set_current_details(details);
    P::publish(ctx);
}

/// Shows how the process ended, and lets everybody who waits for an answer have it before the
/// workflow closes.
pub async fn answer_all<P: Process>(ctx: &WorkflowContext<P>) {
    show(ctx);
    let all = ctx.wait_condition_with_options(|_| ctx.all_handlers_finished(), uninterrupted());
    // Nothing cancels this wait.
    let _answered = all.await;
}

pub(crate) fn uninterrupted() -> WaitConditionOptions {
    WaitConditionOptions::builder().cancellation_token(WorkflowCancellationToken::new()).build()
}
