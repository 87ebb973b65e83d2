//! Launch and recover: an accepted order is executed to exactly one end, whatever is lost on the
//! way.
//!
//! Placing an order records it together with a launch row. Launchers take the row, start the
//! order's workflow and delete the row; each may crash in between, and two may handle the same
//! order. The workflow takes the order's first step and its last, which completes it, and unwinds
//! when it sees a cancel. One workflow task takes both steps, and Temporal learns of them only when
//! it completes: a task that timed out is dispatched again while the first one continues. The
//! namespace may be lost, or the workflow terminated; `recover` then has the order launched again.
//!
//! Orders share no row, so a model of one order is a model of all.

mod run;

use std::collections::BTreeSet;
use std::mem;

use run::{At, Run, Task};
use stateright::{Model, Property};

/// No accepted order is lost.
pub const NOT_LOST: &str =
    "an accepted order has ended, is under way, waits for its launch, or for `recover`";
/// Every final state of the model is an end of the order.
pub const ENDS: &str = "when nothing more can happen, an accepted order has ended";
/// An end is final.
pub const ENDS_ONCE: &str =
    "an order that has ended stays so, unless the run that completed it takes that back";
/// The end agrees with what was done.
pub const END_IS_TRUE: &str =
    "a completed order has taken every step, and a cancelled one has none left";
/// An order cancelled in time ships no parcel.
pub const NEVER_LAUNCHED: &str = "an order that was cancelled before its launch takes no step";
/// A promise to the customer.
pub const CANCEL_IS_KEPT: &str = "a cancel that was accepted is kept";
/// Temporal runs an order once.
pub const ONE_RUN: &str = "an order has at most one open run";

/// A model of one order's launch.
#[derive(Clone, Copy, Debug)]
pub struct Launching {
    /// The number of launchers.
    pub launchers: usize,
    /// How often a launcher crashes.
    pub crashes: usize,
    /// How often a workflow task times out and continues.
    pub timeouts: usize,
    /// How often the namespace is lost, or the workflow terminated.
    pub losses: usize,
    /// Whether a worker continues a run that is lost.
    pub workers_outlive_loss: bool,
    /// How often `recover` runs although nothing is lost.
    pub spare_recovers: usize,
    /// How launching is done.
    pub rules: Rules,
}

/// How launching is done: correctly, or with one planted error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Correct.
    Right,
    /// The launch row is written after the order, in a separate transaction.
    RowAfterOrder,
    /// The launcher deletes the row before it starts the workflow.
    MarksBeforeStarting,
    /// The launcher deletes the row by the kind of launch, not by its identity.
    SettlesByKind,
    /// Every launch uses its own workflow id.
    IdPerLaunch,
    /// A launch by `recover` also refuses the id of a workflow that was ended.
    RefusesEndedIds,
    /// `recover` skips an order that has a launch row, instead of giving it a new one.
    TrustsTheRow,
    /// A cancel before the launch leaves no tombstone.
    CancelWithoutTombstone,
    /// Any run may revert a completion.
    AnyRunTakesBack,
    /// The last step completes an order even while it is being unwound.
    CompletesWhileUnwinding,
    /// A step that is done returns its answer even while the order is being unwound.
    AnswersWhileUnwinding,
    /// The customer is told that the order is cancelled before that is recorded.
    PromisesBeforeNoting,
}

/// The order's status on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Status {
    Processing,
    Completed,
    Cancelled,
}

/// A step's key. A step takes effect in the transaction that inserts its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Open,
    Done,
    /// The tombstone.
    Undone,
}

/// The order on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Record {
    status: Status,
    is_unwinding: bool,
    first: Key,
    last: Key,
    completed_by: Option<usize>,
}

/// A launch row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Launch {
    number: usize,
    is_recovery: bool,
}

/// The state of a launcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Launcher {
    Idle,
    /// It has read the row and the record.
    Claimed {
        launch: Launch,
        is_unwinding: bool,
    },
    /// The workflow exists, or is not needed.
    Launched(Launch),
}

/// The state of `recover`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Recover {
    Idle,
    /// It has read that the order has not ended, and whether it waits for its launch.
    Listed {
        waits: bool,
        losses_before: usize,
    },
    /// It has seen that the order has no open run.
    Unmanned {
        losses_before: usize,
    },
}

/// The state of a customer's request to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Cancel {
    NotAsked,
    /// It was too late to cancel before the launch.
    AsksTemporal,
    Asked,
}

/// How the last run that Temporal knows of has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Closed {
    None,
    ByItself,
    CutShort,
}

/// The state of the model.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    record: Option<Record>,
    /// The starter still has to write the launch row.
    owes_row: bool,
    row: Option<Launch>,
    launchers: Vec<Launcher>,
    open: Vec<Run>,
    closed: Closed,
    /// Tasks that timed out and continue.
    stale: Vec<Task>,
    recover: Recover,
    /// Something was lost, and `recover` has not run since.
    needs_recover: bool,
    losses: usize,
    crashes: usize,
    timeouts: usize,
    spare_recovers: usize,
    cancel: Cancel,
    cancelled_unlaunched: bool,
    /// The customer was told that the order is cancelled.
    has_promised: bool,
    /// An end was changed that must not change.
    end_was_changed: bool,
}

/// A transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The starter places the order.
    Places,
    /// The starter writes the missing launch row.
    WritesRow,
    /// The starter dies first; on a retry, another starter finds the order on record, and accepts
    /// it.
    StarterDies,
    /// A launcher takes its next step.
    Launches(usize),
    /// A launcher crashes.
    Crashes(usize),
    /// A run takes its next step.
    Runs(usize),
    /// A run's workflow task times out, and continues.
    TimesOut(usize),
    /// A task that timed out takes its next step.
    RunsOn(usize),
    /// A task that timed out stops.
    Vanishes(usize),
    /// The customer cancels.
    Cancels,
    /// Temporal loses the namespace.
    LosesNamespace,
    /// Somebody terminates the workflow.
    Terminates,
    /// `recover` takes its next step.
    Recovers,
}

impl Record {
    const NEW: Self = Self {
        status: Status::Processing,
        is_unwinding: false,
        first: Key::Open,
        last: Key::Open,
        completed_by: None,
    };

    fn has_ended(&self) -> bool {
        self.status != Status::Processing
    }
}

impl Launching {
    fn launch(&self, state: &mut State, number: usize) {
        let launcher = match (state.launchers[number], state.row, state.record) {
            (Launcher::Idle, Some(launch), Some(record)) => {
                if self.rules == Rules::MarksBeforeStarting {
                    state.row = None;
                }
                let is_unwinding = record.is_unwinding;
                if record.has_ended() {
                    Launcher::Launched(launch)
                } else {
                    Launcher::Claimed { launch, is_unwinding }
                }
            }
            (Launcher::Claimed { launch, is_unwinding }, ..) => {
                self.start(state, launch, is_unwinding);
                Launcher::Launched(launch)
            }
            (Launcher::Launched(launch), row, _) => {
                let by_kind = self.rules == Rules::SettlesByKind;
                let is_this = |row: &Launch| {
                    *row == launch || (by_kind && row.is_recovery == launch.is_recovery)
                };
                state.row = row.filter(|row| !is_this(row));
                Launcher::Idle
            }
            (idle @ Launcher::Idle, ..) => idle,
        };
        state.set_launcher(number, launcher);
    }

    /// Temporal starts no second run under an id that has an open one.
    fn start(&self, state: &mut State, launch: Launch, is_unwinding: bool) {
        let takes_ended_id = launch.is_recovery && self.rules != Rules::RefusesEndedIds;
        let is_refused =
            !state.open.is_empty() || (state.closed != Closed::None && !takes_ended_id);
        if is_refused && self.rules != Rules::IdPerLaunch {
            return;
        }
        state.open.push(Run::start(state.new_run(), is_unwinding));
    }

    fn cancel(&self, state: &mut State) {
        match state.cancel {
            Cancel::NotAsked => {
                let is_done = self.cancel_before_launch(state);
                state.cancel = if is_done { Cancel::Asked } else { Cancel::AsksTemporal };
            }
            Cancel::AsksTemporal => {
                state.cancel = Cancel::Asked;
                if let Some(run) = state.open.first_mut() {
                    run.is_cancelled = true;
                    if run.task.at == At::ReadFirst {
                        self.hand_out_again(state, 0);
                    }
                } else {
                    self.cancel_before_launch(state);
                }
            }
            Cancel::Asked => {}
        }
    }

    /// One transaction: the tombstone under the first step's key decides. What a lost run has done
    /// is not on record, so the cancel of an order that is launched again is left to its workflow.
    fn cancel_before_launch(&self, state: &mut State) -> bool {
        let (Some(record), Some(row)) = (&mut state.record, state.row) else { return false };
        if row.is_recovery || record.has_ended() || record.first != Key::Open {
            return false;
        }
        if self.rules != Rules::CancelWithoutTombstone {
            record.first = Key::Undone;
        }
        record.status = Status::Cancelled;
        record.is_unwinding = false;
        state.row = None;
        (state.cancelled_unlaunched, state.has_promised) = (true, true);
        true
    }

    fn recover(&self, state: &mut State) {
        let has_ended = state.record.is_none_or(|record| record.has_ended());
        let trusts_row = self.rules == Rules::TrustsTheRow;
        let is_marked = trusts_row && state.row.is_some_and(|row| row.is_recovery);
        match state.recover {
            Recover::Idle if has_ended || is_marked => {
                state.recovered(state.losses);
            }
            Recover::Idle => {
                let (waits, losses_before) = (state.row.is_some(), state.losses);
                state.recover = Recover::Listed { waits, losses_before };
            }
            Recover::Listed { waits, losses_before } => {
                let is_missing = state.open.is_empty() && state.closed == Closed::None;
                let is_trusted = trusts_row && waits && is_missing;
                if !state.open.is_empty() || is_trusted {
                    state.recovered(losses_before);
                } else {
                    state.recover = Recover::Unmanned { losses_before };
                }
            }
            Recover::Unmanned { losses_before } => {
                if !has_ended && !is_marked {
                    state.write_row(true);
                }
                state.recovered(losses_before);
            }
        }
    }

    fn lose(&self, state: &mut State, closed: Closed) {
        let runs = mem::take(&mut state.open);
        if self.workers_outlive_loss {
            state.stale.extend(runs.into_iter().map(|run| run.task));
            state.stale.sort_unstable();
        } else {
            state.stale.clear();
        }
        state.closed = closed;
        state.losses = state.losses.saturating_add(1);
        state.needs_recover = true;
    }

    /// A run takes its next step, and closes if that was its last.
    fn run(&self, state: &mut State, number: usize) {
        let Some(record) = &mut state.record else { return };
        let Run { mut task, .. } = state.open[number];
        let was_at = task.at;
        state.end_was_changed |= task.step(record, self.rules);
        if record.has_ended() && was_at == At::NoteEnd {
            state.row = None;
        }
        let run = &mut state.open[number];
        run.has_noted |= task.at == At::UndoLast;
        state.has_promised |= run.hears_cancel && was_at == At::NoteUnwinding && run.has_noted;
        run.task = task;
        if task.at != At::Over {
            return;
        }
        if run.is_cancelled {
            // The server does not let a run complete with unseen events: its task is dispatched
            // again.
            self.hand_out_again(state, number);
        } else {
            state.open.remove(number);
            state.closed = Closed::ByItself;
        }
    }

    /// The task starts again, from what Temporal knows. A cancel is seen before anything is done.
    fn hand_out_again(&self, state: &mut State, number: usize) {
        let run = &mut state.open[number];
        let hears_cancel = run.is_cancelled && !run.has_noted;
        run.hears_cancel |= hears_cancel;
        run.is_cancelled = false;
        run.task.at = run.begins_at();
        let has_ended = state.record.is_some_and(|record| record.has_ended());
        let promises = self.rules == Rules::PromisesBeforeNoting && hears_cancel && !has_ended;
        state.has_promised |= promises;
    }

    fn actions_of_runs(state: &State, actions: &mut Vec<Action>) {
        for (number, run) in state.open.iter().enumerate() {
            actions.push(Action::Runs(number));
            if state.timeouts > 0 && run.task.at.is_local() {
                actions.push(Action::TimesOut(number));
            }
        }
        for (number, _) in state.stale.iter().enumerate() {
            actions.extend([Action::RunsOn(number), Action::Vanishes(number)]);
        }
    }

    fn actions_of_launchers(state: &State, actions: &mut Vec<Action>) {
        for (number, launcher) in state.launchers.iter().enumerate() {
            match launcher {
                Launcher::Idle if state.row.is_some() => actions.push(Action::Launches(number)),
                Launcher::Idle => {}
                Launcher::Claimed { .. } | Launcher::Launched(_) => {
                    actions.push(Action::Launches(number));
                    if state.crashes > 0 {
                        actions.push(Action::Crashes(number));
                    }
                }
            }
        }
    }

    fn is_over(&self, state: &State) -> bool {
        let mut actions = Vec::new();
        self.actions(state, &mut actions);
        actions.is_empty()
    }
}

impl State {
    /// Launchers are interchangeable, so they are kept sorted (symmetry reduction).
    fn set_launcher(&mut self, number: usize, launcher: Launcher) {
        self.launchers[number] = launcher;
        self.launchers.sort_unstable();
    }

    /// `recover` has run; what was lost after its start remains open.
    fn recovered(&mut self, losses_before: usize) {
        self.recover = Recover::Idle;
        if !self.needs_recover {
            self.spare_recovers = self.spare_recovers.saturating_sub(1);
        }
        self.needs_recover &= self.losses != losses_before;
    }

    fn place(&mut self, rules: Rules) {
        self.record = Some(Record::NEW);
        if rules == Rules::RowAfterOrder {
            self.owes_row = true;
        } else {
            self.write_row(false);
        }
    }

    /// The new row differs from those that a launcher may still hold.
    fn write_row(&mut self, is_recovery: bool) {
        self.owes_row = false;
        let held = self.launchers.iter().filter_map(|launcher| match launcher {
            Launcher::Idle => None,
            Launcher::Claimed { launch, .. } | Launcher::Launched(launch) => Some(*launch),
        });
        let number = first_free(held.chain(self.row).map(|launch| launch.number));
        self.row = Some(Launch { number, is_recovery });
    }

    /// The number of a run that nothing refers to is reused.
    fn new_run(&self) -> usize {
        let open = self.open.iter().map(|run| run.task.run);
        let stale = self.stale.iter().map(|task| task.run);
        first_free(open.chain(stale).chain(self.record.and_then(|record| record.completed_by)))
    }

    fn has(&self, status: Status) -> bool {
        self.record.is_some_and(|record| record.status == status)
    }

    fn is_lost(&self) -> bool {
        let is_cared_for = self.row.is_some() || !self.open.is_empty() || self.needs_recover;
        // The order is not accepted until the starter has written everything.
        self.has(Status::Processing) && !is_cared_for && !self.owes_row
    }

    fn end_is_true(&self) -> bool {
        self.record.is_none_or(|Record { status, first, last, .. }| match status {
            Status::Processing => true,
            Status::Completed => (first, last) == (Key::Done, Key::Done),
            Status::Cancelled => first != Key::Done && last != Key::Done,
        })
    }
}

impl Model for Launching {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            record: None,
            owes_row: false,
            row: None,
            launchers: vec![Launcher::Idle; self.launchers],
            open: Vec::new(),
            closed: Closed::None,
            stale: Vec::new(),
            recover: Recover::Idle,
            needs_recover: false,
            losses: 0,
            crashes: self.crashes,
            timeouts: self.timeouts,
            spare_recovers: self.spare_recovers,
            cancel: Cancel::NotAsked,
            cancelled_unlaunched: false,
            has_promised: false,
            end_was_changed: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.record.is_none() {
            actions.push(Action::Places);
            return;
        }
        if state.owes_row {
            actions.extend([Action::WritesRow, Action::StarterDies]);
            return;
        }
        Self::actions_of_launchers(state, actions);
        Self::actions_of_runs(state, actions);
        if state.cancel != Cancel::Asked {
            actions.push(Action::Cancels);
        }
        if state.losses < self.losses {
            actions.push(Action::LosesNamespace);
            if !state.open.is_empty() {
                actions.push(Action::Terminates);
            }
        }
        let is_running = state.recover != Recover::Idle;
        if is_running || state.needs_recover || state.spare_recovers > 0 {
            actions.push(Action::Recovers);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Places => state.place(self.rules),
            Action::WritesRow => state.write_row(false),
            Action::StarterDies => state.owes_row = false,
            Action::Launches(number) => self.launch(&mut state, number),
            Action::Crashes(number) => {
                state.crashes = state.crashes.saturating_sub(1);
                state.set_launcher(number, Launcher::Idle);
            }
            Action::Runs(number) => self.run(&mut state, number),
            Action::TimesOut(number) => {
                state.timeouts = state.timeouts.saturating_sub(1);
                state.stale.push(state.open[number].task);
                state.stale.sort_unstable();
                self.hand_out_again(&mut state, number);
            }
            Action::RunsOn(number) => {
                let mut task = state.stale.remove(number);
                let is_last = !task.at.is_local();
                if let Some(record) = &mut state.record {
                    state.end_was_changed |= task.step(record, self.rules);
                }
                if !is_last && task.at != At::Over {
                    state.stale.push(task);
                    state.stale.sort_unstable();
                }
            }
            Action::Vanishes(number) => {
                state.stale.remove(number);
            }
            Action::Cancels => self.cancel(&mut state),
            Action::LosesNamespace => self.lose(&mut state, Closed::None),
            Action::Terminates => self.lose(&mut state, Closed::CutShort),
            Action::Recovers => self.recover(&mut state),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NOT_LOST, |_, state: &State| !state.is_lost()),
            Property::always(ENDS, |model: &Self, state: &State| {
                !state.has(Status::Processing) || !model.is_over(state)
            }),
            Property::always(ENDS_ONCE, |_, state: &State| !state.end_was_changed),
            Property::always(END_IS_TRUE, |_, state: &State| state.end_is_true()),
            Property::always(NEVER_LAUNCHED, |_, state: &State| {
                let is_untouched = |record: Record| {
                    record.first != Key::Done && record.last != Key::Done && record.has_ended()
                };
                !state.cancelled_unlaunched || state.record.is_some_and(is_untouched)
            }),
            Property::always(CANCEL_IS_KEPT, |model: &Self, state: &State| {
                !state.has_promised || state.has(Status::Cancelled) || !model.is_over(state)
            }),
            Property::always(ONE_RUN, |_, state: &State| state.open.len() <= 1),
            Property::sometimes("an order is completed", |_, state: &State| {
                state.has(Status::Completed)
            }),
            Property::sometimes("an order is cancelled before its launch", |_, state: &State| {
                state.cancelled_unlaunched
            }),
            Property::sometimes("an order is unwound", |_, state: &State| {
                state.has(Status::Cancelled) && !state.cancelled_unlaunched
            }),
            Property::sometimes("a completion is taken back", |_, state: &State| {
                let is_back = |record: Record| record.completed_by.is_some();
                state.has(Status::Cancelled) && state.record.is_some_and(is_back)
            }),
            Property::sometimes("an order is completed after a loss", |_, state: &State| {
                state.has(Status::Completed) && state.losses > 0
            }),
        ]
    }
}

fn first_free(taken: impl Iterator<Item = usize>) -> usize {
    let taken: BTreeSet<_> = taken.collect();
    (0..=taken.len()).find(|number| !taken.contains(number)).unwrap_or_default()
}
