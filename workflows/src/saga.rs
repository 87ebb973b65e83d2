//! The mechanism: how steps are done and undone. What they are is `order_saga`'s business.
//!
//! - A step's undo is registered *before* the step runs and takes the same argument, so a step
//!   whose answer was lost is undone like any other.
//! - A step runs quickly first, as a local activity that costs no trip to the server; if its
//!   party does not answer in that time, the same step with the same key goes on patiently, as
//!   a regular activity on its own queue.
//! - Undos run last first, detached from every cancellation, and never give up. One that is
//!   broken, not merely unavailable, waits for an operator.

use std::time::Duration;

use domain::{OrderStatus, Placement, Rejection, StatusNote, StepName};
use futures_util::future::{FutureExt, LocalBoxFuture};
use temporalio_workflow::{
    ActivityCloseTimeouts, ActivityOptions, LocalActivityOptions, RetryPolicy, TimerOptions,
    WaitConditionOptions, WorkflowCancellationToken, WorkflowContext, workflows,
};

use crate::failure::{BROKEN, REJECTED};
use crate::order_saga::{OrderSaga, ResolutionKind};
use crate::progress::Progress;
use crate::{
    Activity, Contract, NEEDS_ATTENTION, NoteStatus, ORDER_STATUS, OpenOrder, StepFailure,
    StepState,
};

type Context = WorkflowContext<OrderSaga>;

/// Why an order stops going forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The business said no.
    Rejected(Rejection),
    /// Somebody called it off in time.
    Cancelled,
    /// A bug.
    Broken { step: StepName, why: String },
}

/// An order under way: what has been begun, and how to take it back.
pub(crate) struct Saga {
    ctx: Context,
    undos: Vec<Undo>,
    patience: Option<Duration>,
}

struct Undo {
    step: StepName,
    attempt: Attempt,
}

/// An activity with its argument, ready to be tried again and again.
type Attempt = Box<dyn Fn() -> LocalBoxFuture<'static, Result<(), StepFailure>>>;

/// A step that still has to say how it is undone. It is no future: a step without
/// [`Step::undone_by`] or [`Step::must_succeed`] does not compile.
#[must_use = "a step runs once it says how it is undone"]
pub(crate) struct Step<'saga, A: Activity> {
    saga: &'saga mut Saga,
    activity: A,
    argument: A::Input,
}

impl Saga {
    /// Puts the order on record; a saga exists only for an order that is.
    ///
    /// Never gives up, and no cancel interrupts it: an accepted order is not lost.
    pub(crate) async fn on_record(ctx: Context, placement: Placement) -> Result<Self, StepFailure> {
        let patience = placement.order.terms.patience();
        quick_then_patient(&ctx, OpenOrder, placement, None, &WorkflowCancellationToken::new())
            .await?;
        tell(&ctx, "📝 on record");
        Ok(Self { ctx, undos: Vec::new(), patience })
    }

    /// Names a step and what it is told. The same argument goes to its undo.
    pub(crate) const fn step<A: Activity>(
        &mut self,
        activity: A,
        argument: A::Input,
    ) -> Step<'_, A> {
        Step { saga: self, activity, argument }
    }

    /// The order takes its next turn.
    pub(crate) fn becomes(&self, status: OrderStatus) {
        turn(&self.ctx, status);
    }

    /// Waits in case somebody calls the order off.
    pub(crate) async fn cancel_window(&self, length: Duration) -> Result<(), Stop> {
        let forward = self.forward();
        if !length.is_zero() && !forward.is_cancelled() {
            tell(&self.ctx, format!("⏸ can be cancelled for another {} s", length.as_secs()));
            publish(&self.ctx);
            let timer = TimerOptions::builder(length)
                .cancellation_token(forward.clone())
                .summary("cancel window".to_owned())
                .build();
            self.ctx.timer(timer).await;
        }
        if forward.is_cancelled() { Err(Stop::Cancelled) } else { Ok(()) }
    }

    /// Takes everything back, last first. Returns when all of it is, or an operator has decided
    /// to go on without.
    pub(crate) async fn unwind(mut self) {
        note(&self.ctx, OrderStatus::Unwinding, None).await;
        while let Some(Undo { step, attempt }) = self.undos.pop() {
            let (state, text) = match see_through(&self.ctx, step, &attempt).await {
                Done::Yes => (StepState::Undone, format!("↩ **{step}** undone")),
                Done::Skipped => (StepState::Skipped, format!("⚠ undo of **{step}** skipped")),
            };
            mark(&self.ctx, step, state);
            tell(&self.ctx, text);
        }
    }

    fn forward(&self) -> WorkflowCancellationToken {
        self.ctx.state(|saga| saga.progress.forward.clone())
    }
}

impl<A: Activity> Step<'_, A> {
    /// Registers the undo, which takes the same argument, and then runs the step.
    pub(crate) async fn undone_by<U>(self, undo: U) -> Result<A::Output, Stop>
    where
        U: Activity<Input = A::Input, Output = ()>,
    {
        let Self { saga, activity, argument } = self;
        let name = A::CONTRACT.step();
        let forward = saga.forward();
        if forward.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        saga.undos.push(Undo { step: name, attempt: detached(&saga.ctx, undo, &argument) });
        mark(&saga.ctx, name, StepState::Running);
        let done = quick_then_patient(&saga.ctx, activity, argument, saga.patience, &forward).await;
        conclude(&saga.ctx, name, done)
    }

    /// Runs a step that lies past the point of no return: it is seen through, whatever happens.
    pub(crate) async fn must_succeed(self)
    where
        A: Activity<Output = ()>,
    {
        let Self { saga, activity, argument } = self;
        let name = A::CONTRACT.step();
        mark(&saga.ctx, name, StepState::Running);
        let attempt = detached(&saga.ctx, activity, &argument);
        let (state, text) = match see_through(&saga.ctx, name, &attempt).await {
            Done::Yes => (StepState::Done, format!("✔ **{name}**")),
            Done::Skipped => (StepState::Skipped, format!("⚠ **{name}** skipped")),
        };
        mark(&saga.ctx, name, state);
        tell(&saga.ctx, text);
    }
}

/// Writes down what became of a step, and whether the order still goes forward.
fn conclude<T>(ctx: &Context, step: StepName, done: Result<T, StepFailure>) -> Result<T, Stop> {
    let (state, text, why_stopped) = match done {
        Ok(output) => {
            mark(ctx, step, StepState::Done);
            tell(ctx, format!("✔ **{step}**"));
            return Ok(output);
        }
        Err(StepFailure::Rejected(rejection)) => {
            (StepState::Refused, format!("✘ **{step}**: {rejection}"), Stop::Rejected(rejection))
        }
        Err(StepFailure::Unknown(why)) => (
            StepState::Unknown,
            format!("? **{step}**: {why}"),
            Stop::Rejected(Rejection::FulfilmentUnavailable { step }),
        ),
        Err(StepFailure::Cancelled) => (
            StepState::Unknown,
            format!("? **{step}**: called off while under way"),
            Stop::Cancelled,
        ),
        Err(StepFailure::Broken(why)) => {
            (StepState::Broken, format!("💥 **{step}**: {why}"), Stop::Broken { step, why })
        }
    };
    mark(ctx, step, state);
    tell(ctx, text);
    Err(why_stopped)
}

/// Quick first, then patient: the same activity, argument and key, in two ways.
async fn quick_then_patient<A: Activity>(
    ctx: &Context,
    activity: A,
    argument: A::Input,
    patience: Option<Duration>,
    token: &WorkflowCancellationToken,
) -> Result<A::Output, StepFailure> {
    let contract = A::CONTRACT;
    let quick = ctx
        .execute_local_activity(activity, argument.clone(), quick(&contract, token))
        .await
        .map_err(|error| StepFailure::of(&error));
    match quick {
        Err(StepFailure::Unknown(why)) => {
            tell(
                ctx,
                format!("⏳ {} is waiting on `{}`: {why}", contract.name, contract.queue.name()),
            );
            publish(ctx);
            patient(ctx, activity, argument, patience, token).await
        }
        Ok(_) | Err(StepFailure::Rejected(_) | StepFailure::Cancelled | StepFailure::Broken(_)) => {
            quick
        }
    }
}

/// Tries until it is done, its patience ends or the token is cancelled. When the party says
/// that something has changed on its side, the wait between two attempts is cut short.
async fn patient<A: Activity>(
    ctx: &Context,
    activity: A,
    argument: A::Input,
    patience: Option<Duration>,
    token: &WorkflowCancellationToken,
) -> Result<A::Output, StepFailure> {
    let queue = A::CONTRACT.queue;
    loop {
        let heard = ctx.state(|saga| saga.progress.updates_from(queue));
        let round = token.child_token();
        let options = patiently(&A::CONTRACT, patience, &round);
        let mut attempts = ctx.execute_activity(activity, argument.clone(), options);
        let mut news = ctx.wait_condition_with_options(
            |saga| saga.progress.updates_from(queue) != heard,
            uninterrupted(),
        );
        workflows::select! {
            done = attempts => return done.map_err(|error| StepFailure::of(&error)),
            _ = news => round.cancel_with_reason("the party has news"),
        }
    }
}

/// How often the quick way tries. The number of tries ends it, and the time limit only ends a
/// try that hangs: the SDK drops a local activity's time limit when it strikes between two
/// tries, and would go on trying for ever.
const QUICK_TRIES: u32 = 3;

fn quick(contract: &Contract, token: &WorkflowCancellationToken) -> LocalActivityOptions {
    let retry = RetryPolicy::builder()
        .initial_interval(Duration::from_millis(200))
        .maximum_interval(Duration::from_secs(1))
        .maximum_attempts(QUICK_TRIES)
        .non_retryable_error_types([REJECTED, BROKEN])
        .build();
    LocalActivityOptions::builder()
        .retry_policy(retry)
        .start_to_close_timeout(contract.quick)
        .schedule_to_close_timeout(contract.quick.saturating_mul(QUICK_TRIES))
        .cancellation_token(token.clone())
        .summary(contract.name.to_owned())
        .build()
}

fn patiently(
    contract: &Contract,
    patience: Option<Duration>,
    token: &WorkflowCancellationToken,
) -> ActivityOptions {
    let retry = RetryPolicy::builder()
        .initial_interval(Duration::from_secs(1))
        .maximum_interval(Duration::from_secs(30))
        .non_retryable_error_types([REJECTED, BROKEN])
        .build();
    let timeouts = match contract.patience {
        Some(limit) => ActivityCloseTimeouts::ScheduleAndStartToClose {
            schedule_to_close: patience.map_or(limit, |patience| patience.min(limit)),
            start_to_close: contract.attempt,
        },
        None => ActivityCloseTimeouts::StartToClose(contract.attempt),
    };
    ActivityOptions::with_close_timeouts(timeouts)
        .retry_policy(retry)
        .task_queue(contract.queue.name())
        .cancellation_token(token.clone())
        .summary(contract.name)
        .build()
}

/// An activity that no cancellation reaches and no patience limits.
fn detached<A>(ctx: &Context, activity: A, argument: &A::Input) -> Attempt
where
    A: Activity<Output = ()>,
{
    let (ctx, argument) = (ctx.clone(), argument.clone());
    Box::new(move || {
        let (ctx, argument) = (ctx.clone(), argument.clone());
        async move {
            let token = WorkflowCancellationToken::new();
            quick_then_patient(&ctx, activity, argument, None, &token).await
        }
        .boxed_local()
    })
}

/// How something that must be done came to an end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Done {
    Yes,
    Skipped,
}

/// Does what must be done; if it is broken, an operator decides.
async fn see_through(ctx: &Context, step: StepName, attempt: &Attempt) -> Done {
    loop {
        let Err(failure) = attempt().await else { return Done::Yes };
        let before = ctx.state(|saga| saga.progress.status.clone());
        tell(ctx, format!("💥 **{step}** is stuck until an operator sends `resolve`: {failure}"));
        note(ctx, OrderStatus::Stuck { step, why: failure.to_string() }, None).await;
        let (decision, remark) = ask_operator(ctx).await;
        note(ctx, before, Some(remark)).await;
        match decision {
            ResolutionKind::Retry => {}
            ResolutionKind::Skip => return Done::Skipped,
        }
    }
}

/// Waits, visibly and for as long as it takes, for an operator's `resolve`.
async fn ask_operator(ctx: &Context) -> (ResolutionKind, String) {
    publish(ctx);
    loop {
        // Nothing cancels this wait, so it ends when there is a decision.
        let _decided = ctx
            .wait_condition_with_options(|saga| saga.progress.resolution.is_some(), uninterrupted())
            .await;
        if let Some(resolution) = ctx.state_mut(|saga| saga.progress.resolution.take()) {
            return (resolution.decision, resolution.to_string());
        }
    }
}

/// Writes down a turn that no step's own effect records. A note that is broken waits for an
/// operator too, but cannot write that down.
///
/// A worker that dies before its workflow task completes runs all of the task's local
/// activities again. So a turn that is not the last is noted by a *regular* activity: what led
/// to it is in the history before anything is taken back or decided, and is not tried again.
pub(crate) async fn note(ctx: &Context, status: OrderStatus, remark: Option<String>) {
    if let Some(remark) = &remark {
        tell(ctx, format!("👤 {remark}"));
    }
    turn(ctx, status.clone());
    let last = status.is_terminal();
    let argument = ctx.state_mut(|saga| {
        let progress: &mut Progress = &mut saga.progress;
        progress.notes = progress.notes.saturating_add(1);
        StatusNote { order_id: saga.order.order_id, number: progress.notes, status, remark }
    });
    let token = WorkflowCancellationToken::new();
    loop {
        let noted = if last {
            quick_then_patient(ctx, NoteStatus, argument.clone(), None, &token).await
        } else {
            patient(ctx, NoteStatus, argument.clone(), None, &token).await
        };
        let Err(failure) = noted else { return };
        tell(ctx, format!("💥 the note of this turn is broken: {failure}"));
        let (decision, remark) = ask_operator(ctx).await;
        tell(ctx, format!("👤 {remark}"));
        if decision == ResolutionKind::Skip {
            return;
        }
    }
}

/// Brings the search attributes up to date. Called where the order is about to wait and can be
/// seen, and at its end: each call that changes something is an event in the history.
pub(crate) fn publish(ctx: &Context) {
    let (status, published) = ctx.state(|saga| {
        let progress = &saga.progress;
        (progress.status.name(), progress.published)
    });
    if status == published {
        return;
    }
    let stuck = ctx.state(|saga| matches!(saga.progress.status, OrderStatus::Stuck { .. }));
    ctx.state_mut(|saga| saga.progress.published = status);
    ctx.upsert_search_attributes([
        ORDER_STATUS.value_set(status.to_owned()),
        NEEDS_ATTENTION.value_set(stuck),
    ]);
}

/// Lets everybody who waits for an answer have it before the workflow closes.
pub(crate) async fn answer_all(ctx: &Context) {
    let all = ctx.wait_condition_with_options(|_| ctx.all_handlers_finished(), uninterrupted());
    // Nothing cancels this wait.
    let _answered = all.await;
}

/// Adds a line to the timeline that the Web UI shows.
pub(crate) fn tell(ctx: &Context, text: impl Into<String>) {
    let now = ctx.workflow_time();
    let details = ctx.state_mut(|saga| {
        saga.progress.note(now, text);
        saga.progress.markdown()
    });
    ctx.set_current_details(details);
}

fn turn(ctx: &Context, status: OrderStatus) {
    let turned = ctx.state_mut(|saga| {
        let turned = saga.progress.status.clone().becomes(status)?;
        saga.progress.status = turned;
        Ok::<_, domain::InvalidTransition>(())
    });
    if let Err(error) = turned {
        tell(ctx, format!("💥 {error}"));
    }
}

fn mark(ctx: &Context, step: StepName, state: StepState) {
    ctx.state_mut(|saga| saga.progress.mark(step, state));
}

fn uninterrupted() -> WaitConditionOptions {
    WaitConditionOptions::builder().cancellation_token(WorkflowCancellationToken::new()).build()
}
