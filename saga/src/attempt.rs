//! Runs one activity: first quick attempts as a local activity, which needs no round trip to the
//! server, then patient attempts as a regular activity on its party's queue.

use std::fmt::Display;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use futures_util::future::{FutureExt, LocalBoxFuture};
use serde::de::DeserializeOwned;
use temporalio_workflow::{
    ActivityCloseTimeouts, ActivityExecutionError, ActivityOptions, LocalActivityOptions,
    RetryPolicy, WorkflowCancellationToken, WorkflowContext, workflows,
};

use crate::attention::until_written;
use crate::failure::InvalidAnswer;
use crate::process::{show, tell, uninterrupted};
use crate::{
    Activity, BROKEN, BUSY, Contract, HEARTBEAT_TIMEOUT, INVALID_ANSWER, NOT_OPEN, Process,
    REJECTED, StepFailure,
};

/// An activity with its argument, which can be run repeatedly.
pub(crate) type Attempt<P> =
    Box<dyn Fn() -> LocalBoxFuture<'static, Result<(), StepFailure<<P as Process>::Refusal>>>>;

/// Quick attempts first, then patient ones, with the same activity, argument and key. Without
/// `patience` the patient attempts never give up, whatever the contract table says.
pub(crate) async fn quick_then_patient<P: Process, A: Activity>(
    ctx: &WorkflowContext<P>,
    activity: A,
    argument: A::Input,
    patience: Option<Duration>,
    token: &WorkflowCancellationToken,
) -> Result<A::Output, StepFailure<P::Refusal>> {
    let Contract { name, queue, .. } = A::CONTRACT;
    let quick =
        ctx.execute_local_activity(activity, argument.clone(), quick(&A::CONTRACT, token)).await;
    match quick.map_err(|error| (failure_of(&error, token), InvalidAnswer::of(&error))) {
        Err((StepFailure::Unknown(why), invalid)) => {
            if invalid.is_none() {
                tell(ctx, format!("⏳ {name} is waiting on {queue}: {why}"));
                show(ctx);
            }
            patient(ctx, activity, argument, patience, invalid, token).await
        }
        done => done.map_err(|(failure, _invalid)| failure),
    }
}

/// Only a cancellation that was requested counts as cancelled. A worker that shuts down may cancel
/// an attempt by itself: then the outcome is unknown, and nobody has cancelled the process.
fn failure_of<R: DeserializeOwned + Display>(
    error: &ActivityExecutionError,
    token: &WorkflowCancellationToken,
) -> StepFailure<R> {
    let failure = StepFailure::of(error);
    if matches!(failure, StepFailure::Cancelled) && !token.is_cancelled() {
        return StepFailure::Unknown("the worker cancelled the attempt".to_owned());
    }
    failure
}

/// Retries until it succeeds, its patience ends or the token is cancelled. A hint that something
/// has changed on the party's side cuts the wait between two attempts short. Hints reset no limit:
/// the patience counts from the first attempt, and the time for invalid answers from the first of
/// them.
///
/// The first invalid answer ends the activity, so that the workflow sees it and measures the time
/// by its own clock. The next activity also retries invalid answers, until that time is over.
/// `invalid` is the answer that ended the quick attempts, if it was one.
async fn patient<P: Process, A: Activity>(
    ctx: &WorkflowContext<P>,
    activity: A,
    argument: A::Input,
    patience: Option<Duration>,
    invalid: Option<InvalidAnswer>,
    token: &WorkflowCancellationToken,
) -> Result<A::Output, StepFailure<P::Refusal>> {
    let contract = A::CONTRACT;
    let begun = ctx.workflow_time();
    let mut doubt = invalid.map(|answer| Doubt::begin(ctx, &contract, answer));
    loop {
        let limit = Limit::at(ctx.workflow_time(), begun, patience, doubt.as_ref());
        if limit.left().is_some_and(|left| left.is_zero()) {
            return Err(match (limit, doubt) {
                (Limit::Doubt(_), Some(Doubt { message, .. })) => StepFailure::Broken(message),
                _ => StepFailure::Unknown("timed out".to_owned()),
            });
        }
        let heard = ctx.state(|process| process.progress().hints(contract.queue));
        let round = token.child_token();
        let options = patiently(&contract, limit.left(), doubt.as_ref(), &round);
        let mut attempts = ctx.execute_activity(activity, argument.clone(), options);
        let mut hint = ctx.wait_condition_with_options(
            |process| process.progress().hints(contract.queue) != heard,
            uninterrupted(),
        );
        let done = workflows::select! {
            done = attempts => Some(done),
            _ = hint => None,
        };
        let error = match done {
            Some(Ok(output)) => return Ok(output),
            Some(Err(error)) => error,
            None => {
                round.cancel_with_reason("the party has news");
                continue;
            }
        };
        let failure = failure_of(&error, token);
        match (InvalidAnswer::of(&error), limit) {
            (Some(answer), Limit::Doubt(_)) => return Err(StepFailure::Broken(answer.message)),
            (Some(answer), _) if doubt.is_none() => {
                doubt = Some(Doubt::begin(ctx, &contract, answer));
            }
            // The last attempts did not answer at all. That is no bug, so the step waits as usual.
            (None, Limit::Doubt(_)) if matches!(failure, StepFailure::Unknown(_)) => doubt = None,
            _ => return Err(failure),
        }
    }
}

/// A party returns invalid answers.
struct Doubt {
    /// Its first invalid answer, in plain text.
    message: String,
    since: Option<SystemTime>,
    /// How long the party is asked again.
    limit: Duration,
}

impl Doubt {
    /// Starts now, and shows it in the timeline.
    fn begin<P: Process>(
        ctx: &WorkflowContext<P>,
        contract: &Contract,
        InvalidAnswer { message, ask_again_for: limit }: InvalidAnswer,
    ) -> Self {
        let since = ctx.workflow_time();
        if let Some(until) = since.and_then(|since| since.checked_add(limit))
            && !limit.is_zero()
        {
            let Contract { name, queue, .. } = contract;
            let until = DateTime::<Utc>::from(until).format("%H:%M:%S UTC");
            tell(
                ctx,
                format!("⏳ {name} is waiting on {queue}: {message}; asking again until {until}"),
            );
            show(ctx);
        }
        Self { message, since, limit }
    }
}

/// Which limit ends the attempts, and the time left until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Never,
    /// Afterwards the outcome is unknown.
    Patience(Duration),
    /// Afterwards an invalid answer counts as broken.
    Doubt(Duration),
}

impl Limit {
    /// Both limits count from their start, however often the activity is restarted.
    fn at(
        now: Option<SystemTime>,
        begun: Option<SystemTime>,
        patience: Option<Duration>,
        doubt: Option<&Doubt>,
    ) -> Self {
        let patience = patience.map(|patience| rest(patience, begun, now));
        let doubt = doubt.map(|doubt| rest(doubt.limit, doubt.since, now));
        match (patience, doubt) {
            (None, None) => Self::Never,
            (Some(patience), None) => Self::Patience(patience),
            (Some(patience), Some(doubt)) if patience < doubt => Self::Patience(patience),
            (_, Some(doubt)) => Self::Doubt(doubt),
        }
    }

    const fn left(self) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::Patience(left) | Self::Doubt(left) => Some(left),
        }
    }
}

/// The time left of a limit that started at `since`.
fn rest(limit: Duration, since: Option<SystemTime>, now: Option<SystemTime>) -> Duration {
    let passed = now.zip(since).and_then(|(now, since)| now.duration_since(since).ok());
    limit.saturating_sub(passed.unwrap_or_default())
}

/// The number of quick attempts, unless the party says when to ask again. The attempts must be
/// limited by number; the timeout only ends one that hangs. The SDK loses a local activity's
/// schedule-to-close timeout when it fires between two attempts, and would retry for ever.
pub const QUICK_ATTEMPTS: u32 = 3;

fn quick(contract: &Contract, token: &WorkflowCancellationToken) -> LocalActivityOptions {
    let retry = RetryPolicy::builder()
        .initial_interval(Duration::from_millis(200))
        .maximum_interval(Duration::from_secs(1))
        .maximum_attempts(QUICK_ATTEMPTS)
        .non_retryable_error_types([REJECTED, BROKEN, NOT_OPEN, BUSY, INVALID_ANSWER])
        .build();
    LocalActivityOptions::builder()
        .retry_policy(retry)
        .start_to_close_timeout(contract.quick)
        .schedule_to_close_timeout(contract.quick.saturating_mul(QUICK_ATTEMPTS))
        .cancellation_token(token.clone())
        .summary(contract.name.to_owned())
        .build()
}

/// The longest pause between two patient attempts: when a party comes back, processes continue
/// within ten seconds. A party that wants a longer pause says so (`Retry-After`).
const PAUSE_MAX: Duration = Duration::from_secs(5);

fn patiently(
    contract: &Contract,
    left: Option<Duration>,
    doubt: Option<&Doubt>,
    token: &WorkflowCancellationToken,
) -> ActivityOptions {
    let final_types = [REJECTED, BROKEN, NOT_OPEN].into_iter();
    let first_invalid = Some(INVALID_ANSWER).filter(|_| doubt.is_none());
    let retry = RetryPolicy::builder()
        .initial_interval(Duration::from_secs(1))
        .maximum_interval(PAUSE_MAX)
        .non_retryable_error_types(final_types.chain(first_invalid))
        .build();
    let timeouts = match left {
        Some(schedule_to_close) => ActivityCloseTimeouts::ScheduleAndStartToClose {
            schedule_to_close,
            start_to_close: contract.attempt,
        },
        None => ActivityCloseTimeouts::StartToClose(contract.attempt),
    };
    ActivityOptions::with_close_timeouts(timeouts)
        .retry_policy(retry)
        .heartbeat_timeout(HEARTBEAT_TIMEOUT)
        .task_queue(contract.queue)
        .cancellation_token(token.clone())
        .summary(contract.name)
        .build()
}

/// An activity without patience that no cancellation reaches. Only a retry that the saga makes
/// while it waits for a person ends with the person's decision.
pub(crate) fn detached<P, A>(
    ctx: &WorkflowContext<P>,
    activity: A,
    argument: &A::Input,
) -> Attempt<P>
where
    P: Process,
    A: Activity<Output = ()>,
{
    let (ctx, argument) = (ctx.clone(), argument.clone());
    Box::new(move || {
        let (ctx, argument) = (ctx.clone(), argument.clone());
        async move {
            let token = until_decided(&ctx);
            quick_then_patient(&ctx, activity, argument, None, &token).await
        }
        .boxed_local()
    })
}

/// Runs a note: an activity that is no step and has no undo. It has no limit and cannot be
/// cancelled.
///
/// A lost workflow task runs all of its local activities again. So a note is a *regular* activity:
/// once it is in the history, so is everything before it, and none of that is run again after
/// something was undone or decided. Only the last note of a process may be `quick`, because nothing
/// follows it.
///
/// **Errors.** Never because a party is away. If the note is broken, a person decides: retry, or
/// skip, which returns the failure.
pub async fn note<P: Process, A: Activity>(
    ctx: &WorkflowContext<P>,
    activity: A,
    argument: A::Input,
    quick: bool,
) -> Result<A::Output, StepFailure<P::Refusal>> {
    until_written(ctx, || async {
        if quick {
            quick_then_patient(ctx, activity, argument.clone(), None, &until_decided(ctx)).await
        } else {
            try_note(ctx, activity, argument.clone()).await
        }
    })
    .await
}

/// Like [`note`], but returns at once if the note is broken.
///
/// The note is broken, or the process is no longer open.
pub async fn try_note<P: Process, A: Activity>(
    ctx: &WorkflowContext<P>,
    activity: A,
    argument: A::Input,
) -> Result<A::Output, StepFailure<P::Refusal>> {
    patient(ctx, activity, argument, None, None, &until_decided(ctx)).await
}

fn until_decided<P: Process>(ctx: &WorkflowContext<P>) -> WorkflowCancellationToken {
    ctx.state(|process| process.progress().until_decided())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(second))
    }

    #[test]
    fn what_ends_first_ends_the_attempts_however_often_the_party_is_asked_anew() {
        let seconds = Duration::from_secs;
        let begun = at(100);
        let doubt = Doubt { message: "no sense".to_owned(), since: at(130), limit: seconds(60) };
        for (now, patience, doubt, limit) in [
            (at(150), None, None, Limit::Never),
            (at(150), Some(seconds(80)), None, Limit::Patience(seconds(30))),
            (at(150), None, Some(&doubt), Limit::Doubt(seconds(40))),
            (at(150), Some(seconds(80)), Some(&doubt), Limit::Patience(seconds(30))),
            (at(150), Some(seconds(95)), Some(&doubt), Limit::Doubt(seconds(40))),
            (at(200), Some(seconds(600)), Some(&doubt), Limit::Doubt(Duration::ZERO)),
        ] {
            assert_eq!(Limit::at(now, begun, patience, doubt), limit);
        }
    }
}
