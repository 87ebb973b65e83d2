//! Operators' decisions: each applies to the wait it was made for, once, and to nothing else.
//!
//! A process has several steps to undo, one after another. A broken undo is recorded, which numbers
//! the occurrence, and waits for a decision; meanwhile the saga retries at intervals. If the record
//! is broken too, the saga waits for a decision about the record. Operators decide about the waits
//! that they see; their decisions arrive late, twice, and in any order. The run may be reset, and
//! starts again, while decisions are in flight.
//!
//! [`saga::Wait`], the saga's own code, decides which decision a wait accepts.

use saga::{Decision, Resolution, Wait, WaitingFor};
use stateright::{Model, Property};

/// Decisions are addressed.
pub const ONLY_ITS_OWN: &str = "a decision acts only upon the wait that it was made for";
/// Decisions are idempotent.
pub const ONCE: &str = "a decision acts at most once";
/// Only a person can skip something.
pub const DECIDED: &str = "nothing is skipped that nobody decided to skip";
/// Nothing waits for ever.
pub const ENDS: &str = "everything is undone or skipped in the end";

/// A model of one process that waits for decisions.
#[derive(Clone, Copy, Debug)]
pub struct Decisions {
    /// The number of undos.
    pub undos: usize,
    /// The number of decisions.
    pub decisions: usize,
    /// How many of the saga's own retries fail.
    pub vain_retries: usize,
    /// How often the run is reset.
    pub resets: usize,
    /// Whether the record is broken at first.
    pub is_record_broken: bool,
    /// How decisions are matched to waits.
    pub rules: Rules,
}

/// How decisions are matched to waits: correctly, or with one planted error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// A decision names step and occurrence, and no two waits of a process share both.
    Right,
    /// A decision names only the step.
    NoOccurrence,
    /// A decision names nothing.
    NoAddressee,
    /// A decision that arrives while nothing waits is kept for the next wait.
    Kept,
    /// A wait that could not be recorded has no unique number.
    UnnumberedWithoutRecord,
    /// Each run counts its waits for the record from one.
    RecordWaitsCountedPerRun,
}

/// The subject of a wait, and of the saga's next action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Subject {
    /// An undo.
    Undo(usize),
    /// The note that the undo waits for a decision.
    Note(usize),
    /// The note of the decision about it.
    Resolved(usize, Outcome),
}

/// How an undo ended, or that it is retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Outcome {
    Open,
    Done,
    Skipped,
}

/// What the saga is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// Executing it.
    At(Subject),
    /// Waiting for a decision about it.
    Waiting(Subject),
    /// Waiting, with its own retry in progress.
    Retrying(Subject),
    Ended,
}

/// A decision of a person, about what was waiting then.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Letter {
    /// The wait's number over all runs, which the code does not know.
    meant_for: usize,
    about: Subject,
    resolution: Resolution,
    copies: usize,
    has_acted: bool,
}

/// The state of the model.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    phase: Phase,
    outcomes: Vec<Outcome>,
    /// Which undos are repaired.
    is_repaired: Vec<bool>,
    is_record_broken: bool,
    /// The saga's own state.
    wait: Option<Wait>,
    /// The letter that the wait has accepted.
    taken: Option<usize>,
    /// A decision that arrived while nothing waited.
    kept: Option<usize>,
    letters: Vec<Letter>,
    /// The number of waits so far.
    waits: usize,
    /// The number of occurrences on record.
    on_record: u32,
    /// The number of this run's waits for the record.
    record_waits: u32,
    decisions_left: usize,
    retries_left: usize,
    resets_left: usize,
    went_astray: bool,
    acted_twice: bool,
    skipped_undecided: bool,
}

/// A transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The saga executes its current action, or applies a decision.
    Goes,
    /// The pause ends, and the saga retries by itself.
    Retries,
    /// Its retry succeeds.
    RetrySucceeds,
    /// Its retry fails, or a decision ends it.
    RetryFails,
    /// A person decides about what waits.
    Decides(Choice),
    /// A copy of a decision arrives.
    Arrives(usize),
    /// The cause of a broken undo is fixed.
    UndoIsRepaired(usize),
    /// The record is repaired.
    RecordIsRepaired,
    /// The run is reset, and starts again.
    Resets,
}

/// The choice of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// See [`Decision::Retry`].
    Retry,
    /// See [`Decision::Skip`].
    Skip,
}

impl Subject {
    fn step(self) -> String {
        match self {
            Self::Undo(number) => format!("undo-{number}"),
            Self::Note(_) | Self::Resolved(..) => "record".to_owned(),
        }
    }
}

impl Decisions {
    /// The saga executes its current action.
    fn attempt(&self, state: &mut State, subject: Subject) {
        match subject {
            Subject::Undo(number) if state.is_repaired[number] => {
                state.settle(number, Outcome::Done);
            }
            Subject::Undo(number) => state.phase = Phase::At(Subject::Note(number)),
            Subject::Note(_) | Subject::Resolved(..) if state.is_record_broken => {
                state.record_waits = state.record_waits.saturating_add(1);
                let is_per_run = self.rules == Rules::RecordWaitsCountedPerRun;
                let occurrence =
                    if is_per_run { state.record_waits } else { state.unique_number() };
                self.wait(state, subject, occurrence);
            }
            Subject::Note(number) => {
                state.on_record = state.on_record.saturating_add(1);
                let occurrence = state.on_record;
                self.wait(state, Subject::Undo(number), occurrence);
            }
            Subject::Resolved(number, outcome) => state.settle(number, outcome),
        }
    }

    fn wait(&self, state: &mut State, subject: Subject, occurrence: u32) {
        let decisions = vec![Decision::Retry, Decision::Skip];
        let about = WaitingFor { step: subject.step(), occurrence, decisions };
        state.wait = Some(Wait::about(about));
        state.waits = state.waits.saturating_add(1);
        state.phase = Phase::Waiting(subject);
        if let Some(letter) = state.kept.take() {
            self.deliver(state, letter);
        }
    }

    fn deliver(&self, state: &mut State, letter: usize) {
        let Some(wait) = &mut state.wait else {
            if self.rules == Rules::Kept {
                state.kept = Some(letter);
            }
            return;
        };
        let mut resolution = state.letters[letter].resolution.clone();
        let about = wait.waiting_for();
        if matches!(self.rules, Rules::NoOccurrence | Rules::NoAddressee | Rules::Kept) {
            resolution.occurrence = about.occurrence;
        }
        if matches!(self.rules, Rules::NoAddressee | Rules::Kept) {
            resolution.step.clone_from(&about.step);
        }
        if wait.resolve(resolution).is_ok() {
            state.taken = Some(letter);
        }
    }

    /// Applies the decision that the wait has accepted, if any; returns whether there was one.
    fn act(&self, state: &mut State, subject: Subject) -> bool {
        let taken = state.wait.as_mut().and_then(Wait::take_resolution);
        let (Some(resolution), Some(letter)) = (taken, state.taken.take()) else { return false };
        let waits = state.waits;
        let letter = &mut state.letters[letter];
        state.went_astray |= letter.meant_for != waits;
        state.acted_twice |= letter.has_acted;
        letter.has_acted = true;
        let is_decided = letter.about == subject && letter.resolution.decision == Decision::Skip;
        let is_skipped = resolution.decision == Decision::Skip;
        state.skipped_undecided |= is_skipped && !is_decided;
        state.wait = None;
        match subject {
            Subject::Undo(number) => {
                let outcome = if is_skipped { Outcome::Skipped } else { Outcome::Open };
                state.phase = Phase::At(Subject::Resolved(number, outcome));
            }
            Subject::Note(number) if is_skipped => {
                let has_none = self.rules == Rules::UnnumberedWithoutRecord;
                let occurrence = if has_none { 0 } else { state.unique_number() };
                self.wait(state, Subject::Undo(number), occurrence);
            }
            Subject::Resolved(number, outcome) if is_skipped => state.settle(number, outcome),
            Subject::Note(_) | Subject::Resolved(..) => state.phase = Phase::At(subject),
        }
        true
    }

    fn decide(state: &mut State, subject: Subject, decision: Decision) {
        let Some(wait) = &state.wait else { return };
        let about = wait.waiting_for();
        let (step, occurrence) = (about.step.clone(), about.occurrence);
        let (by, why) = ("an operator".to_owned(), String::new());
        let resolution = Resolution { step, occurrence, decision, by, why };
        state.decisions_left = state.decisions_left.saturating_sub(1);
        let meant_for = state.waits;
        let about = subject;
        state.letters.push(Letter { meant_for, about, resolution, copies: 2, has_acted: false });
    }
}

impl State {
    /// A number that no other wait of the process has, in any run.
    fn unique_number(&self) -> u32 {
        u32::MAX.saturating_sub(u32::try_from(self.waits).unwrap_or(u32::MAX))
    }

    fn settle(&mut self, number: usize, outcome: Outcome) {
        self.outcomes[number] = outcome;
        let next = self.outcomes.iter().position(|outcome| *outcome == Outcome::Open);
        self.phase = next.map_or(Phase::Ended, |next| Phase::At(Subject::Undo(next)));
    }

    fn works(&self, subject: Subject) -> bool {
        match subject {
            Subject::Undo(number) => self.is_repaired[number],
            Subject::Note(_) | Subject::Resolved(..) => !self.is_record_broken,
        }
    }

    /// The saga's own retry has succeeded: no decision is needed.
    fn succeed(&mut self, decisions: &Decisions, subject: Subject) {
        (self.wait, self.taken) = (None, None);
        match subject {
            Subject::Undo(number) => {
                self.phase = Phase::At(Subject::Resolved(number, Outcome::Done));
            }
            Subject::Note(_) | Subject::Resolved(..) => decisions.attempt(self, subject),
        }
    }
}

impl Model for Decisions {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            phase: Phase::At(Subject::Undo(0)),
            outcomes: vec![Outcome::Open; self.undos],
            is_repaired: vec![false; self.undos],
            is_record_broken: self.is_record_broken,
            wait: None,
            taken: None,
            kept: None,
            letters: Vec::new(),
            waits: 0,
            on_record: 0,
            record_waits: 0,
            decisions_left: self.decisions,
            retries_left: self.vain_retries,
            resets_left: self.resets,
            went_astray: false,
            acted_twice: false,
            skipped_undecided: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        match state.phase {
            Phase::At(_) => actions.push(Action::Goes),
            Phase::Waiting(_) if state.taken.is_some() => actions.push(Action::Goes),
            Phase::Waiting(subject) if state.works(subject) || state.retries_left > 0 => {
                actions.push(Action::Retries);
            }
            Phase::Retrying(subject) => {
                if state.works(subject) {
                    actions.push(Action::RetrySucceeds);
                }
                if !state.works(subject) || state.taken.is_some() {
                    actions.push(Action::RetryFails);
                }
            }
            Phase::Waiting(_) | Phase::Ended => {}
        }
        if state.wait.is_some() && state.decisions_left > 0 {
            actions.extend([Action::Decides(Choice::Retry), Action::Decides(Choice::Skip)]);
        }
        let on_their_way = state.letters.iter().enumerate().filter(|(_, letter)| letter.copies > 0);
        actions.extend(on_their_way.map(|(number, _)| Action::Arrives(number)));
        if state.phase == Phase::Ended {
            return;
        }
        let broken = state.is_repaired.iter().enumerate().filter(|(_, repaired)| !**repaired);
        actions.extend(broken.map(|(number, _)| Action::UndoIsRepaired(number)));
        if state.is_record_broken {
            actions.push(Action::RecordIsRepaired);
        }
        if state.resets_left > 0 {
            actions.push(Action::Resets);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match (action, state.phase) {
            (Action::Goes, Phase::At(subject)) => self.attempt(&mut state, subject),
            (Action::Goes, Phase::Waiting(subject)) => {
                self.act(&mut state, subject);
            }
            (Action::Retries, Phase::Waiting(subject)) => {
                if !state.works(subject) {
                    state.retries_left = state.retries_left.saturating_sub(1);
                }
                state.phase = Phase::Retrying(subject);
            }
            (Action::RetrySucceeds, Phase::Retrying(subject)) => state.succeed(self, subject),
            (Action::RetryFails, Phase::Retrying(subject)) => {
                if !self.act(&mut state, subject) {
                    state.phase = Phase::Waiting(subject);
                }
            }
            (
                Action::Decides(choice),
                Phase::At(subject) | Phase::Waiting(subject) | Phase::Retrying(subject),
            ) => {
                let decision = match choice {
                    Choice::Retry => Decision::Retry,
                    Choice::Skip => Decision::Skip,
                };
                Self::decide(&mut state, subject, decision);
            }
            (Action::Arrives(letter), _) => {
                let copies = &mut state.letters[letter].copies;
                *copies = copies.saturating_sub(1);
                self.deliver(&mut state, letter);
            }
            (Action::UndoIsRepaired(number), _) => state.is_repaired[number] = true,
            (Action::RecordIsRepaired, _) => state.is_record_broken = false,
            (Action::Resets, _) => {
                state.resets_left = state.resets_left.saturating_sub(1);
                (state.wait, state.taken, state.kept) = (None, None, None);
                state.record_waits = 0;
                state.outcomes.fill(Outcome::Open);
                state.phase = Phase::At(Subject::Undo(0));
            }
            _ => return None,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![
            Property::always(ONLY_ITS_OWN, |_, state: &State| !state.went_astray),
            Property::always(ONCE, |_, state: &State| !state.acted_twice),
            Property::always(DECIDED, |_, state: &State| !state.skipped_undecided),
            Property::eventually(ENDS, |_, state: &State| state.phase == Phase::Ended),
            Property::sometimes("an undo is skipped", |_, state: &State| {
                state.outcomes.contains(&Outcome::Skipped)
            }),
            Property::sometimes("an undo is tried again, and succeeds", |_, state: &State| {
                state.letters.iter().any(|letter| letter.has_acted)
                    && state.outcomes.contains(&Outcome::Done)
            }),
            Property::sometimes(
                "a decision comes when nothing waits any more",
                |_, state: &State| {
                    state.phase == Phase::Ended
                        && state.letters.iter().any(|letter| letter.copies > 0)
                },
            ),
            Property::sometimes(
                "a decision comes while another is acted on",
                |_, state: &State| {
                    state.taken.is_some() && state.letters.iter().any(|letter| letter.copies > 0)
                },
            ),
        ];
        if self.is_record_broken {
            all.push(Property::sometimes("a wait is not on record", |_, state: &State| {
                let is_undo = matches!(state.phase, Phase::Waiting(Subject::Undo(_)));
                is_undo && state.is_record_broken
            }));
        }
        all
    }
}
