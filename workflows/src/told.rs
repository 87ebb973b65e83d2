//! What all processes of the shop share: notes on the order's record (a step needs a person; a
//! decision was made), and the signals that bring decisions and a party's hints.

use std::error::Error;
use std::time::SystemTime;

use domain::{OrderId, Rejection, StepName};
use saga::{AttentionNeeded, Process, Progress, Resolved, StepFailure, try_note};
use temporalio_common::data_converters::RawValue;
use temporalio_common::error::ApplicationFailure;
use temporalio_workflow::WorkflowContext;

use crate::Queue;
use crate::order::{
    AttentionNote, NoteAttention, NoteResolved, PartyUpdate, Resolution, ResolvedNote, cause,
    of_saga, read, short, step_name,
};

/// Kind of message that counts timeline lines left by signals; limited per run.
const TOLD: &str = "told";

/// Records on the order that a step needs a person.
pub(crate) async fn note_attention<P: Process<Refusal = Rejection>>(
    ctx: &WorkflowContext<P>,
    order_id: OrderId,
    needed: AttentionNeeded,
) -> Result<u32, StepFailure<Rejection>> {
    let AttentionNeeded { run_id, number, step, undoing, why, decisions } = needed;
    let (step, why) = (known(step)?, cause(&why));
    let decisions = decisions.into_iter().map(of_saga).collect();
    let noted = AttentionNote { order_id, run_id, number, step, undoing, why, decisions };
    try_note(ctx, NoteAttention, noted).await
}

/// Records on the order what was decided.
pub(crate) async fn note_resolved<P: Process<Refusal = Rejection>>(
    ctx: &WorkflowContext<P>,
    order_id: OrderId,
    resolved: Resolved,
) -> Result<(), StepFailure<Rejection>> {
    let Resolved { step, occurrence, decision, by, why } = resolved;
    let (step, decision) = (known(step)?, of_saga(decision));
    let by = by.unwrap_or_else(|| "ordersaga".to_owned());
    let noted = ResolvedNote { order_id, step, occurrence, decision, by, why };
    try_note(ctx, NoteResolved, noted).await
}

fn known(step: &str) -> Result<StepName, StepFailure<Rejection>> {
    step_name(step).ok_or_else(|| StepFailure::Broken(format!("there is no step {step}")))
}

/// Handles the signal with a person's decision. A rejected one leaves a line in the timeline.
pub(crate) fn decision(progress: &mut Progress, now: Option<SystemTime>, signal: RawValue) {
    let taken = read::<Resolution>(signal)
        .and_then(|resolution| resolution.checked().map_err(|error| error.to_string()))
        .and_then(|resolution| progress.resolve(resolution));
    if let Err(why) = taken {
        line(progress, now, format!("📨 resolve was ignored: {why}"));
    }
}

/// Handles a party's signal: the steps that wait for the party ask it again.
pub(crate) fn news(
    progress: &mut Progress,
    now: Option<SystemTime>,
    (name, queue): (&str, Queue),
    signal: RawValue,
) {
    let told = match read::<PartyUpdate>(signal) {
        Ok(PartyUpdate { reference, status }) if progress.hint(queue.name()) => {
            format!("📨 {name}: {} is {}", short(&reference), short(&status))
        }
        Ok(_) => format!("📨 {name} was ignored: there have been too many"),
        Err(why) => format!("📨 {name} was ignored: {why}"),
    };
    line(progress, now, told);
}

/// Adds a line about a message to the timeline, up to a limit: a flood of messages must not push
/// out what happened.
pub(crate) fn line(progress: &mut Progress, now: Option<SystemTime>, line: String) {
    if progress.take(TOLD) {
        progress.tell(now, line);
    }
}

/// The failure of a run that was stopped by a bug, or that had nothing to do.
pub(crate) fn failed(message: String) -> ApplicationFailure {
    let error: Box<dyn Error + Send + Sync> = message.into();
    ApplicationFailure::non_retryable(error)
}
