//! The saga's mechanism: runs the steps and undos of any process.

use std::mem;
use std::time::Duration;

use serde_json::Value;
use temporalio_workflow::{
    TimerOptions, WaitConditionOptions, WorkflowCancellationToken, WorkflowContext, workflows,
};

use crate::attempt::{Attempt, detached, quick_then_patient};
use crate::attention::{Done, Duty};
use crate::process::{show, tell};
use crate::{Activity, Contract, Process, Role, Step, StepFailure, StepState};

/// The shortest wait for somebody outside: if the party's clock differs, its deadline may already
/// be over, and the step must not be retried without a pause.
const WAIT_MIN: Duration = Duration::from_secs(1);

/// Why a process stops going forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop<R> {
    /// The business refused.
    Refused(R),
    /// A party did not answer within the step's patience; the outcome is unknown.
    GaveUp {
        /// Which step.
        step: &'static str,
    },
    /// It was cancelled in time.
    Cancelled,
    /// A bug, or a party whose answers were invalid for too long.
    Broken {
        /// Which step.
        step: &'static str,
        /// What broke.
        why: String,
    },
    /// There is nothing to do and nothing to undo: the process is not on record, or another run has
    /// ended it.
    NotOpen {
        /// What is wrong, in plain text.
        message: String,
        /// How it ended, according to the record.
        ended: Option<Value>,
    },
}

/// How an unwinding ended.
#[must_use = "a step that counts as done has the process go forward again"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwound {
    /// Everything is undone, or a person decided to continue without.
    Undone,
    /// This step could not be undone, and a person decided that it counts as done: the process goes
    /// forward from there. The steps before it are not undone.
    AcceptedAsDone(&'static str),
}

/// The meaning of a step's answer, if the step may have to wait for somebody outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// It is done.
    Done(T),
    /// It is in progress, and waits for somebody outside.
    Waits {
        /// The longest wait before the step is run again.
        at_most: Duration,
        /// What it waits for, in one or two words, as a heading in the Web UI.
        why: &'static str,
    },
    /// It is not done and never will be: the process declares the step again, with another
    /// argument.
    Replaced,
}

/// A running process: the effects it may have had, and how to undo them.
pub struct Saga<P: Process> {
    ctx: WorkflowContext<P>,
    undos: Vec<Undo<P>>,
    patience: Option<Duration>,
}

struct Undo<P: Process> {
    step: &'static str,
    can_be_accepted: bool,
    attempt: Attempt<P>,
}

/// A step without its undo. It is not a future: only [`Undeclared::undone_by`] turns it into
/// something that can run.
#[must_use = "a step runs once it says how it is undone"]
pub struct Undeclared<'saga, P: Process, A: Step> {
    saga: &'saga mut Saga<P>,
    /// The position of its undo among the others.
    position: usize,
    activity: A,
    argument: A::Input,
}

/// A step whose undo is registered: it can run.
#[must_use = "a step that is declared has to be run"]
pub struct Declared<A: Activity> {
    activity: A,
    argument: A::Input,
}

impl<P: Process> Saga<P> {
    /// Begins. From now on a cancellation of the workflow, from the Web UI or the CLI, has the
    /// effect of [`Progress::cancel`](crate::Progress::cancel): it only stops the way forward.
    ///
    /// A step gives up after `patience`, or after its own limit if that is shorter.
    #[must_use]
    pub fn begin(ctx: &WorkflowContext<P>, patience: Option<Duration>) -> Self {
        let forward = ctx.cancellation_token().child_token();
        ctx.state_mut(|process| process.progress_mut().go_forward_until(forward));
        Self { ctx: ctx.clone(), undos: Vec::new(), patience }
    }

    /// Names a step and its argument. The same argument goes to its undo.
    pub const fn step<A: Step>(&mut self, activity: A, argument: A::Input) -> Undeclared<'_, P, A> {
        let position = self.undos.len();
        Undeclared { saga: self, position, activity, argument }
    }

    /// Names a step that was declared before and is needed again, with another argument. Its undo
    /// is placed next to the first one's: the undos of later declarations still run before both.
    pub fn step_again<A: Step>(&mut self, activity: A, argument: A::Input) -> Undeclared<'_, P, A> {
        let first = self.undos.iter().rposition(|undo| undo.step == A::CONTRACT.step);
        let position = first.map_or(self.undos.len(), |first| first.saturating_add(1));
        Undeclared { saga: self, position, activity, argument }
    }

    /// Runs a step, unless the process has been cancelled.
    ///
    /// Why the process stops: call [`Saga::unwind`] next.
    pub async fn run<A: Step>(&mut self, step: Declared<A>) -> Result<A::Output, Stop<P::Refusal>> {
        let output = self.attempt(&step).await?;
        self.done(A::CONTRACT.step, output)
    }

    /// Runs a step that may have to wait for somebody outside, such as a customer. The step is run
    /// again, with the same argument, when the wait times out or the step's party sends a hint
    /// ([`Progress::hint`](crate::Progress::hint)). `read` interprets each answer. Returns `None`
    /// if the step is [`Answer::Replaced`].
    ///
    /// The wait does not count towards the step's patience, and a cancel ends it at once.
    ///
    /// **Errors.** As for [`Saga::run`].
    pub async fn run_with_waits<A: Step, T>(
        &mut self,
        step: Declared<A>,
        read: impl Fn(A::Output) -> Answer<T>,
    ) -> Result<Option<T>, Stop<P::Refusal>> {
        let Contract { step: name, queue, .. } = A::CONTRACT;
        loop {
            // A hint that arrives while the step runs may be newer than its answer.
            let heard = self.ctx.state(|process| process.progress().hints(queue));
            match read(self.attempt(&step).await?) {
                Answer::Done(output) => return self.done(name, output).map(Some),
                Answer::Replaced => {
                    tell(&self.ctx, format!("↻ {name} is replaced"));
                    return self.unless_cancelled(&self.forward()).map(|()| None);
                }
                Answer::Waits { at_most, why } => {
                    self.mark(name, StepState::Waiting);
                    tell(&self.ctx, format!("⏸ {name}: {why}, for {} s", at_most.as_secs()));
                    self.wait_until(at_most, why, queue, heard).await?;
                }
            }
        }
    }

    /// Waits until the time is up, the queue's party sends a hint beyond the `heard` ones, or the
    /// process is cancelled.
    async fn wait_until(
        &self,
        at_most: Duration,
        why: &'static str,
        queue: &'static str,
        heard: u32,
    ) -> Result<(), Stop<P::Refusal>> {
        let forward = self.forward();
        self.unless_cancelled(&forward)?;
        self.ctx.state_mut(|process| process.progress_mut().pause(Some(why)));
        show(&self.ctx);
        let round = token_of_timer();
        let timer = TimerOptions::builder(at_most.max(WAIT_MIN))
            .cancellation_token(round.clone())
            .summary(why.to_owned())
            .build();
        let mut timer = self.ctx.timer(timer);
        let options = WaitConditionOptions::builder().cancellation_token(forward.clone()).build();
        let mut news = self.ctx.wait_condition_with_options(
            |process| process.progress().hints(queue) != heard,
            options,
        );
        workflows::select! {
            _ = timer => {},
            // A cancel ends it, too.
            _ = news => round.cancel_with_reason("there is news"),
        }
        self.ctx.state_mut(|process| process.progress_mut().pause(None));
        self.unless_cancelled(&forward)
    }

    /// Runs a step's activity, unless the process has been cancelled; returns its output.
    async fn attempt<A: Step>(
        &mut self,
        step: &Declared<A>,
    ) -> Result<A::Output, Stop<P::Refusal>> {
        let (activity, argument) = (step.activity, step.argument.clone());
        let Contract { step: name, patience: own, .. } = A::CONTRACT;
        let forward = self.forward();
        self.unless_cancelled(&forward)?;
        self.mark(name, StepState::Running);
        let patience = [own, self.patience].into_iter().flatten().min();
        let done = quick_then_patient(&self.ctx, activity, argument, patience, &forward).await;
        match &done {
            // A refusal is the same in every run, so no other run has begun a step that this one
            // has not.
            Err(StepFailure::Refused(_)) => {
                let mut undos = mem::take(&mut self.undos);
                undos.retain(|undo| self.state_of(undo.step).is_some());
                self.undos = undos;
            }
            // There is nothing to undo, and what another run has ended stays.
            Err(StepFailure::NotOpen { .. }) => self.undos.clear(),
            Ok(_)
            | Err(StepFailure::Unknown(_) | StepFailure::Cancelled | StepFailure::Broken(_)) => {}
        }
        done.map_err(|failure| self.conclude(name, failure))
    }

    /// Marks a step as done.
    fn done<T>(&self, step: &'static str, output: T) -> Result<T, Stop<P::Refusal>> {
        self.mark(step, StepState::Done);
        tell(&self.ctx, format!("✔ {step}"));
        // If the process was cancelled meanwhile, the caller was told so, and the process must
        // stop.
        self.unless_cancelled(&self.forward())?;
        Ok(output)
    }

    /// Runs a step that lies past the point of no return: it is retried until it succeeds.
    ///
    /// Returns whether it is done, or a person decided to continue without it.
    pub async fn run_to_the_end<A>(&mut self, step: Declared<A>) -> StepState
    where
        A: Step<Output = ()>,
    {
        self.must_succeed(step.activity, &step.argument).await
    }

    /// Runs an activity that must succeed and has no undo of its own. From here the process only
    /// goes forward.
    ///
    /// Returns whether it is done, or a person decided to continue without it.
    pub async fn must_succeed<A>(&self, activity: A, argument: &A::Input) -> StepState
    where
        A: Activity<Output = ()>,
    {
        let Contract { step, role, .. } = A::CONTRACT;
        let accepts = role == Role::Accepts;
        self.ctx.state_mut(|process| process.progress_mut().pass_return());
        if !accepts {
            self.mark(step, StepState::Running);
        }
        let attempt = detached(&self.ctx, activity, argument);
        let duty = Duty { step, undoing: false, can_be_accepted: false, attempt: &attempt };
        let (state, text) = match duty.see_through(&self.ctx).await {
            Done::Yes | Done::Accepted if accepts => {
                (StepState::Accepted, format!("✔ {step} is on record as done"))
            }
            Done::Yes | Done::Accepted => (StepState::Done, format!("✔ {step}")),
            Done::Skipped => (StepState::Skipped, format!("⚠ {step} skipped")),
        };
        self.mark(step, state);
        tell(&self.ctx, text);
        state
    }

    /// Waits for a time in which the process can still be cancelled.
    ///
    /// **Errors.** [`Stop::Cancelled`].
    pub async fn cancel_window(&self, length: Duration) -> Result<(), Stop<P::Refusal>> {
        let forward = self.forward();
        if !length.is_zero() && !forward.is_cancelled() {
            tell(&self.ctx, format!("⏸ can be cancelled for another {} s", length.as_secs()));
            show(&self.ctx);
            let window = token_of_timer();
            let timer = TimerOptions::builder(length)
                .cancellation_token(window.clone())
                .summary("cancel window".to_owned())
                .build();
            let mut timer = self.ctx.timer(timer);
            let mut cancelled = forward.cancelled();
            workflows::select! {
                _ = timer => {},
                () = cancelled => window.cancel(),
            }
        }
        self.unless_cancelled(&forward)
    }

    /// Runs all undos, last step first. Returns when everything is undone or skipped by a person,
    /// or when a person decides that a step counts as done after all.
    ///
    /// The process records that it unwinds *before* it calls this.
    pub async fn unwind(&mut self) -> Unwound {
        self.ctx.state_mut(|process| process.progress_mut().unwind());
        while let Some(Undo { step, can_be_accepted, attempt }) = self.undos.pop() {
            let duty = Duty { step, undoing: true, can_be_accepted, attempt: &attempt };
            let (state, text) = match duty.see_through(&self.ctx).await {
                // There was nothing to undo: this run has not begun the step, or the step was
                // refused.
                Done::Yes if matches!(self.state_of(step), None | Some(StepState::Refused)) => {
                    continue;
                }
                Done::Yes => (StepState::Undone, format!("↩ {step} undone")),
                Done::Skipped => (StepState::Skipped, format!("⚠ undo of {step} skipped")),
                Done::Accepted => {
                    self.mark(step, StepState::Accepted);
                    tell(&self.ctx, format!("✔ {step} counts as done"));
                    self.ctx.state_mut(|process| process.progress_mut().pass_return());
                    return Unwound::AcceptedAsDone(step);
                }
            };
            self.mark(step, state);
            tell(&self.ctx, text);
        }
        Unwound::Undone
    }

    /// Records the state of a step that was not done, and returns why the process stops.
    fn conclude(&self, step: &'static str, failure: StepFailure<P::Refusal>) -> Stop<P::Refusal> {
        let (state, text, why_stopped) = match failure {
            StepFailure::Refused(refusal) => {
                (StepState::Refused, format!("✘ {step}: {refusal}"), Stop::Refused(refusal))
            }
            StepFailure::Unknown(why) => {
                (StepState::Unknown, format!("? {step}: {why}"), Stop::GaveUp { step })
            }
            StepFailure::Cancelled => (
                StepState::Unknown,
                format!("? {step}: cancelled while under way"),
                Stop::Cancelled,
            ),
            StepFailure::Broken(why) => {
                (StepState::Broken, format!("💥 {step}: {why}"), Stop::Broken { step, why })
            }
            StepFailure::NotOpen { message, ended } => (
                StepState::Refused,
                format!("✘ {step}: {message}"),
                Stop::NotOpen { message, ended },
            ),
        };
        self.mark(step, state);
        tell(&self.ctx, text);
        self.stopped(why_stopped)
    }

    fn unless_cancelled(
        &self,
        forward: &WorkflowCancellationToken,
    ) -> Result<(), Stop<P::Refusal>> {
        if forward.is_cancelled() { Err(self.stopped(Stop::Cancelled)) } else { Ok(()) }
    }

    /// From now on a cancel is too late: the process has stopped for another reason.
    fn stopped(&self, stop: Stop<P::Refusal>) -> Stop<P::Refusal> {
        self.ctx.state_mut(|process| match stop {
            Stop::NotOpen { .. } => process.progress_mut().stop(),
            Stop::Refused(_) | Stop::GaveUp { .. } | Stop::Cancelled | Stop::Broken { .. } => {
                process.progress_mut().unwind();
            }
        });
        stop
    }

    fn mark(&self, step: &str, state: StepState) {
        self.ctx.state_mut(|process| process.progress_mut().mark(step, state));
    }

    fn state_of(&self, step: &str) -> Option<StepState> {
        self.ctx.state(|process| process.progress().state_of(step))
    }

    fn forward(&self) -> WorkflowCancellationToken {
        self.ctx.state(|process| process.progress().forward())
    }
}

/// The cancellation token of a timer: only the saga cancels it, never the process's own token.
///
/// Temporal's request to cancel a workflow cancels the process's token, and every timer tied to it,
/// while the SDK (1.1.1) is still processing the workflow task. If a timer fires later in the same
/// task, the SDK no longer finds it and panics. Each retry of the task has the same events, so the
/// process would hang for ever. The saga cancels its timers only after the whole task is processed.
fn token_of_timer() -> WorkflowCancellationToken {
    WorkflowCancellationToken::new()
}

impl<P: Process, A: Step> Undeclared<'_, P, A> {
    /// Registers the undo, which takes the same argument. Only the undo on the step's row of the
    /// contract table compiles.
    pub fn undone_by(self, undo: A::Undo) -> Declared<A> {
        let Self { saga, position, activity, argument } = self;
        let attempt = detached(&saga.ctx, undo, &argument);
        let can_be_accepted = A::Undo::CONTRACT.can_be_accepted;
        saga.undos.insert(position, Undo { step: A::CONTRACT.step, can_be_accepted, attempt });
        Declared { activity, argument }
    }
}
