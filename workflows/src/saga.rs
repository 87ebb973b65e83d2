//! The mechanism: how steps are done and undone. What they are is `order_saga`'s business.
//!
//! - Every step is declared with its undo before any step runs. Both take the same argument, so
//!   a step whose answer was lost is undone like any other.
//! - A workflow task that is lost (its worker died, or a signal arrived while it ran) runs again
//!   from its beginning, and what it finds may make it stop earlier. So an order that stops
//!   takes back every step that *any* run may have done, not only those that this run began.
//! - A step runs quickly first, as a local activity that costs no trip to the server; if its
//!   party does not answer in that time, the same step with the same key goes on patiently, as
//!   a regular activity on its own queue.
//! - Undos run last first, detached from every cancellation, and never give up. One that is
//!   broken, not merely unavailable, waits for an operator.

use std::mem;
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
    Activity, Contract, HEARTBEAT_TIMEOUT, NEEDS_ATTENTION, NoteStatus, ORDER_STATUS, OpenOrder,
    StepFailure, StepState,
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

/// A step that still has to say how it is undone. It is no future: without
/// [`Step::undone_by`] there is nothing to run.
#[must_use = "a step runs once it says how it is undone"]
pub(crate) struct Step<'saga, A: Activity> {
    saga: &'saga mut Saga,
    activity: A,
    argument: A::Input,
}

/// A step whose undo is registered: it may run.
#[must_use = "a step that is declared is to be run"]
pub(crate) struct Declared<A: Activity> {
    activity: A,
    argument: A::Input,
    /// How many undos were registered with this one.
    undos: usize,
}

impl Saga {
    /// Puts the order on record; a saga exists only for an order that is.
    ///
    /// Never gives up, and no cancel interrupts it: an accepted order is not lost. If it is
    /// broken, an operator can decide that there is to be no such order; nothing has been done
    /// for it.
    pub(crate) async fn on_record(ctx: Context, placement: Placement) -> Result<Self, StepFailure> {
        let patience = placement.order.terms.patience();
        written_down(&ctx, "the order", &detached(&ctx, OpenOrder, &placement)).await?;
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

    /// Runs a step, unless the order has been called off.
    pub(crate) async fn run<A: Activity>(&mut self, step: Declared<A>) -> Result<A::Output, Stop> {
        let Declared { activity, argument, undos } = step;
        let name = A::CONTRACT.step();
        let forward = self.forward();
        if forward.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        mark(&self.ctx, name, StepState::Running);
        let done = quick_then_patient(&self.ctx, activity, argument, self.patience, &forward).await;
        if let Err(StepFailure::Rejected(_)) = &done {
            // What is refused is refused in every run: none has got any further.
            self.undos.truncate(undos);
        }
        let output = conclude(&self.ctx, name, done)?;
        // Whoever called the order off meanwhile was told that it is.
        if forward.is_cancelled() { Err(Stop::Cancelled) } else { Ok(output) }
    }

    /// Runs a step that lies past the point of no return: it is seen through, whatever happens.
    pub(crate) async fn run_to_the_end<A>(&mut self, step: Declared<A>)
    where
        A: Activity<Output = ()>,
    {
        let name = A::CONTRACT.step();
        mark(&self.ctx, name, StepState::Running);
        let attempt = detached(&self.ctx, step.activity, &step.argument);
        let (state, text) = match see_through(&self.ctx, name, &attempt).await {
            Done::Yes => (StepState::Done, format!("✔ **{name}**")),
            Done::Skipped => (StepState::Skipped, format!("⚠ **{name}** skipped")),
        };
        mark(&self.ctx, name, state);
        tell(&self.ctx, text);
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
                // Of a step that this run has not begun there is nothing to tell.
                Done::Yes if !self.has_begun(step) => continue,
                Done::Yes => (StepState::Undone, format!("↩ **{step}** undone")),
                Done::Skipped => (StepState::Skipped, format!("⚠ undo of **{step}** skipped")),
            };
            mark(&self.ctx, step, state);
            tell(&self.ctx, text);
        }
    }

    fn has_begun(&self, step: StepName) -> bool {
        self.ctx.state(|saga| saga.progress.steps.iter().any(|begun| begun.step == step))
    }

    fn forward(&self) -> WorkflowCancellationToken {
        self.ctx.state(|saga| saga.progress.forward.clone())
    }
}

impl<A: Activity> Step<'_, A> {
    /// Registers the undo, which takes the same argument.
    pub(crate) fn undone_by<U>(self, undo: U) -> Declared<A>
    where
        U: Activity<Input = A::Input, Output = ()>,
    {
        let Self { saga, activity, argument } = self;
        let attempt = detached(&saga.ctx, undo, &argument);
        saga.undos.push(Undo { step: A::CONTRACT.step(), attempt });
        Declared { activity, argument, undos: saga.undos.len() }
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

/// The longest pause between two patient attempts: whoever was away, the orders go on within ten
/// seconds of its return. A party that wants to be left alone for longer says so (`Retry-After`).
const PAUSE_MAX: Duration = Duration::from_secs(5);

fn patiently(
    contract: &Contract,
    patience: Option<Duration>,
    token: &WorkflowCancellationToken,
) -> ActivityOptions {
    let retry = RetryPolicy::builder()
        .initial_interval(Duration::from_secs(1))
        .maximum_interval(PAUSE_MAX)
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
        .heartbeat_timeout(HEARTBEAT_TIMEOUT)
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
        // From the moment that the note is read, a decision may come.
        ctx.state_mut(|saga| saga.progress.needs_attention = true);
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
    ctx.state_mut(|saga| saga.progress.needs_attention = true);
    publish(ctx);
    loop {
        // Nothing cancels this wait, so it ends when there is a decision.
        let _decided = ctx
            .wait_condition_with_options(|saga| saga.progress.resolution.is_some(), uninterrupted())
            .await;
        if let Some(resolution) = ctx.state_mut(|saga| saga.progress.resolution.take()) {
            ctx.state_mut(|saga| saga.progress.needs_attention = false);
            return (resolution.decision, resolution.to_string());
        }
    }
}

/// Writes down a turn that no step's own effect records.
///
/// A workflow task that is lost runs all of its local activities again. So a turn that is not
/// the last is noted by a *regular* activity: what led to it is in the history before anything
/// is taken back or decided, and is not tried again.
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
    let attempt = if last {
        detached(ctx, NoteStatus, &argument)
    } else {
        let ctx = ctx.clone();
        Box::new(move || {
            let (ctx, argument) = (ctx.clone(), argument.clone());
            async move {
                let token = WorkflowCancellationToken::new();
                patient(&ctx, NoteStatus, argument, None, &token).await
            }
            .boxed_local()
        })
    };
    // An operator who skips a note has been told what will be missing from the record.
    let _skipped = written_down(ctx, "this turn", &attempt).await.is_err();
}

/// Writes to the order's record. When that is broken an operator decides, but the decision
/// itself cannot be written there: the timeline and the search attributes tell of it.
async fn written_down(ctx: &Context, what: &str, attempt: &Attempt) -> Result<(), StepFailure> {
    loop {
        let Err(failure) = attempt().await else { return Ok(()) };
        tell(
            ctx,
            format!("💥 {what} waits for an operator's `resolve` to go on record: {failure}"),
        );
        let (decision, remark) = ask_operator(ctx).await;
        tell(ctx, format!("👤 {remark}"));
        match decision {
            ResolutionKind::Retry => {}
            ResolutionKind::Skip => return Err(failure),
        }
    }
}

/// Brings the search attributes up to date. Called where the order is about to wait and can be
/// seen, and at its end: each call that changes something is an event in the history.
pub(crate) fn publish(ctx: &Context) {
    let changed = ctx.state_mut(|saga| {
        let progress = &mut saga.progress;
        let now = (progress.status.name(), progress.needs_attention);
        (mem::replace(&mut progress.published, now) != now).then_some(now)
    });
    if let Some((status, needs_attention)) = changed {
        ctx.upsert_search_attributes([
            ORDER_STATUS.value_set(status.to_owned()),
            NEEDS_ATTENTION.value_set(needs_attention),
        ]);
    }
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
        if let OrderStatus::Shipped { tracking } = &turned {
            saga.progress.handed_over = Some(tracking.clone());
        }
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
