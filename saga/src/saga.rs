//! The saga's mechanism: runs steps and their undos, whatever the process is.

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

/// The shortest wait for somebody outside: whoever says that a time to come has come already has
/// another clock, and must not be asked without a pause.
const WAIT_MIN: Duration = Duration::from_secs(1);

/// Why a process stops going forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop<R> {
    /// The business said no.
    Refused(R),
    /// A party did not answer within the time that the step may take; the outcome is unknown.
    GaveUp {
        /// Which step.
        step: &'static str,
    },
    /// It was cancelled in time.
    Cancelled,
    /// A bug, or a party whose answers made no sense for too long.
    Broken {
        /// Which step.
        step: &'static str,
        /// What broke.
        why: String,
    },
    /// There is nothing to do, and nothing to undo: the process is not on record, or another run
    /// has ended it.
    NotOpen {
        /// What is wrong, for people.
        message: String,
        /// How it ended, as the record has it.
        ended: Option<Value>,
    },
}

/// How an unwinding ended.
#[must_use = "a step that counts as done has the process go forward again"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwound {
    /// Everything is undone, or a person decided to go on without.
    Undone,
    /// This step could not be undone, and a person decided that it counts as done: the process
    /// goes forward from there. What comes before it is not undone.
    AcceptedAsDone(&'static str),
}

/// What a step's answer means, where the step may have to wait for somebody outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// It is done.
    Done(T),
    /// It is under way, and waits for somebody outside.
    Waits {
        /// How long it waits, from now on, before it is run again.
        at_most: Duration,
        /// One or two words on what it waits for, as a heading in the Web UI.
        why: &'static str,
    },
    /// It is not done and never will be: the process takes the step again, with another argument.
    Replaced,
}

/// A process under way: what it may have done, and how to undo it.
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

/// A step that still has to say how it is undone. It is no future: without
/// [`Undeclared::undone_by`] there is nothing to run.
#[must_use = "a step runs once it says how it is undone"]
pub struct Undeclared<'saga, P: Process, A: Step> {
    saga: &'saga mut Saga<P>,
    /// Where its undo stands among the others.
    position: usize,
    activity: A,
    argument: A::Input,
}

/// A step whose undo is registered: it may run.
#[must_use = "a step that is declared has to be run"]
pub struct Declared<A: Activity> {
    activity: A,
    argument: A::Input,
}

impl<P: Process> Saga<P> {
    /// Begins. A cancellation of the workflow, from the Web UI or the CLI, now means what
    /// [`Progress::cancel`](crate::Progress::cancel) means: it stops the way forward, and only
    /// that.
    ///
    /// A step gives up after `patience`, unless its own limit is shorter.
    #[must_use]
    pub fn begin(ctx: &WorkflowContext<P>, patience: Option<Duration>) -> Self {
        let forward = ctx.cancellation_token().child_token();
        ctx.state_mut(|process| process.progress_mut().go_forward_until(forward));
        Self { ctx: ctx.clone(), undos: Vec::new(), patience }
    }

    /// Names a step and what it is told. The same argument goes to its undo.
    pub const fn step<A: Step>(&mut self, activity: A, argument: A::Input) -> Undeclared<'_, P, A> {
        let position = self.undos.len();
        Undeclared { saga: self, position, activity, argument }
    }

    /// Names a step that was declared before and is needed once more, with another argument. Its
    /// undo stands beside the first one's: what was declared after that is still undone before.
    pub fn step_again<A: Step>(&mut self, activity: A, argument: A::Input) -> Undeclared<'_, P, A> {
        let first = self.undos.iter().rposition(|undo| undo.step == A::CONTRACT.step);
        let position = first.map_or(self.undos.len(), |first| first.saturating_add(1));
        Undeclared { saga: self, position, activity, argument }
    }

    /// Runs a step, unless the process has been cancelled.
    ///
    /// **Errors.** Why the process stops: [`Saga::unwind`] comes next.
    pub async fn run<A: Step>(&mut self, step: Declared<A>) -> Result<A::Output, Stop<P::Refusal>> {
        let output = self.attempt(&step).await?;
        self.done(A::CONTRACT.step, output)
    }

    /// Runs a step that may have to wait for somebody outside, such as a customer, and runs it
    /// again, with the same argument, when the wait is over: because its time is up, or because the
    /// step's party has news ([`Progress::hint`](crate::Progress::hint)). `read` tells what each
    /// answer means. Nothing if the step is [`Answer::Replaced`].
    ///
    /// The time of a wait counts as nobody's patience, and a cancel ends it at once.
    ///
    /// **Errors.** As for [`Saga::run`].
    pub async fn run_with_waits<A: Step, T>(
        &mut self,
        step: Declared<A>,
        read: impl Fn(A::Output) -> Answer<T>,
    ) -> Result<Option<T>, Stop<P::Refusal>> {
        let Contract { step: name, queue, .. } = A::CONTRACT;
        loop {
            // News that comes while the step runs may be later than its answer.
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

    /// Waits until the time is up, there is news from the queue's party beyond what was heard, or
    /// the process is cancelled.
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
            // It ends with a cancel, too.
            _ = news => round.cancel_with_reason("there is news"),
        }
        self.ctx.state_mut(|process| process.progress_mut().pause(None));
        self.unless_cancelled(&forward)
    }

    /// Tries a step, unless the process has been cancelled; answers what the activity does.
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
            // What is refused is refused in every run: none has begun another step than this one.
            Err(StepFailure::Refused(_)) => {
                let mut undos = mem::take(&mut self.undos);
                undos.retain(|undo| self.state_of(undo.step).is_some());
                self.undos = undos;
            }
            // Without a process there is nothing to undo; what another run has ended stays so.
            Err(StepFailure::NotOpen { .. }) => self.undos.clear(),
            Ok(_)
            | Err(StepFailure::Unknown(_) | StepFailure::Cancelled | StepFailure::Broken(_)) => {}
        }
        done.map_err(|failure| self.conclude(name, failure))
    }

    /// Writes down that a step is done.
    fn done<T>(&self, step: &'static str, output: T) -> Result<T, Stop<P::Refusal>> {
        self.mark(step, StepState::Done);
        tell(&self.ctx, format!("✔ {step}"));
        // Whoever cancelled the process meanwhile was told that it is cancelled.
        self.unless_cancelled(&self.forward())?;
        Ok(output)
    }

    /// Runs a step that lies past the point of no return: it is seen through, whatever happens.
    ///
    /// Answers whether it is done, or a person decided to go on without it.
    pub async fn run_to_the_end<A>(&mut self, step: Declared<A>) -> StepState
    where
        A: Step<Output = ()>,
    {
        self.must_succeed(step.activity, &step.argument).await
    }

    /// Does what must be done and has no undo of its own. From here the process only goes on.
    ///
    /// Answers whether it is done, or a person decided to go on without it.
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

    /// Waits in case somebody cancels.
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

    /// Undoes everything, last first. Returns when all of it is undone, or a person has decided
    /// to go on without, or that a step counts as done after all.
    ///
    /// The process puts on record that it unwinds *before* it calls this.
    pub async fn unwind(&mut self) -> Unwound {
        self.ctx.state_mut(|process| process.progress_mut().unwind());
        while let Some(Undo { step, can_be_accepted, attempt }) = self.undos.pop() {
            let duty = Duty { step, undoing: true, can_be_accepted, attempt: &attempt };
            let (state, text) = match duty.see_through(&self.ctx).await {
                // There was nothing to undo: this run has not begun the step, or it was refused.
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

    /// Writes down what became of a step that was not done, and answers why the process stops.
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

    /// From now on a cancel comes too late: the process has stopped for another reason.
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

/// What a timer is cancelled by: by the saga alone, and never by the process's own token.
///
/// Temporal's request to cancel a workflow cancels that token, and every timer that hangs on it, while
/// the SDK (1.1.1) is still reading what else is in the workflow task. If a timer fires there behind the
/// request, the SDK does not find it any more and panics. The next attempt has the same events, so the
/// process would stand still for ever. The saga cancels its timers once the whole task is read.
fn token_of_timer() -> WorkflowCancellationToken {
    WorkflowCancellationToken::new()
}

impl<P: Process, A: Step> Undeclared<'_, P, A> {
    /// Registers the undo, which takes the same argument. Only the undo that stands on the step's
    /// row of the contract table compiles.
    pub fn undone_by(self, undo: A::Undo) -> Declared<A> {
        let Self { saga, position, activity, argument } = self;
        let attempt = detached(&saga.ctx, undo, &argument);
        let can_be_accepted = A::Undo::CONTRACT.can_be_accepted;
        saga.undos.insert(position, Undo { step: A::CONTRACT.step, can_be_accepted, attempt });
        Declared { activity, argument }
    }
}
