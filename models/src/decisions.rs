//! Operators' decisions: each acts upon the wait it was made for, once, and upon nothing else.
//!
//! A process has several things to undo, one after another. One that is broken is put on record,
//! which numbers the occurrence, and waits for a decision; meanwhile the saga tries again by itself
//! every now and then. When the record is broken too, the saga waits for a decision about the
//! record. Operators decide about what they see waiting; what they have decided arrives late, twice,
//! and in any order. The run may be reset, and begins anew, while decisions are on their way.
//!
//! Which decision a wait takes is the saga's own code, [`saga::Wait`].

use saga::{Decision, Resolution, Wait, WaitingFor};
use stateright::{Model, Property};

/// A decision has an addressee.
pub const ONLY_ITS_OWN: &str = "a decision acts only upon the wait that it was made for";
/// A decision that is sent twice is one.
pub const ONCE: &str = "a decision acts at most once";
/// Only a person can go on without something.
pub const DECIDED: &str = "nothing is skipped that nobody decided to skip";
/// Nothing waits for ever.
pub const ENDS: &str = "everything is undone or skipped in the end";

/// A model of one process that waits for decisions.
#[derive(Clone, Copy, Debug)]
pub struct Decisions {
    /// How many things have to be undone.
    pub undos: usize,
    /// How many decisions are made.
    pub decisions: usize,
    /// How often the saga tries by itself, in vain.
    pub vain_retries: usize,
    /// How often the run is reset.
    pub resets: usize,
    /// Whether the record is broken at first.
    pub is_record_broken: bool,
    /// How decisions find their wait.
    pub rules: Rules,
}

/// How decisions find their wait: rightly, or with one error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// A decision names step and occurrence, and no two waits of a process share both.
    Right,
    /// A decision names the step alone.
    NoOccurrence,
    /// A decision names nothing.
    NoAddressee,
    /// A decision that arrives while nothing waits is kept for the next wait.
    Kept,
    /// A wait that could not be put on record has no number of its own.
    UnnumberedWithoutRecord,
    /// Waits for the record are counted by each run from one.
    RecordWaitsCountedPerRun,
}

/// What a wait is about, and what the saga does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Subject {
    /// Something that has to be undone.
    Undo(usize),
    /// The note that it waits for a decision.
    Note(usize),
    /// The note of what was decided about it.
    Resolved(usize, Outcome),
}

/// How an undo came to its end, or that it is to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Outcome {
    Open,
    Done,
    Skipped,
}

/// What the saga is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// Does it.
    At(Subject),
    /// Waits for a decision about it.
    Waiting(Subject),
    /// Waits, and is trying again by itself.
    Retrying(Subject),
    Ended,
}

/// A decision that a person has made, about what was waiting then.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Letter {
    /// Counts all waits; no code knows of it.
    meant_for: usize,
    about: Subject,
    resolution: Resolution,
    copies: usize,
    has_acted: bool,
}

/// Everything in the model at one moment.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    phase: Phase,
    outcomes: Vec<Outcome>,
    /// What is repaired, by undo.
    is_repaired: Vec<bool>,
    is_record_broken: bool,
    /// The saga's own bookkeeping.
    wait: Option<Wait>,
    /// The letter that the wait has taken.
    taken: Option<usize>,
    /// A decision that came while nothing waited.
    kept: Option<usize>,
    letters: Vec<Letter>,
    /// How many waits there have been.
    waits: usize,
    /// How many occurrences are on record.
    on_record: u32,
    /// How many waits for the record this run has had.
    record_waits: u32,
    decisions_left: usize,
    retries_left: usize,
    resets_left: usize,
    went_astray: bool,
    acted_twice: bool,
    skipped_undecided: bool,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The saga does what it is at, or acts on a decision.
    Goes,
    /// The pause is over, and the saga tries again by itself.
    Retries,
    /// What it tries again succeeds.
    RetrySucceeds,
    /// What it tries again fails, or a decision ends it.
    RetryFails,
    /// A person decides about what waits.
    Decides(Choice),
    /// A copy of a decision arrives.
    Arrives(usize),
    /// The cause of a broken undo is repaired.
    UndoIsRepaired(usize),
    /// The record is repaired.
    RecordIsRepaired,
    /// The run is reset, and begins anew.
    Resets,
}

/// What a person chooses.
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
    /// The saga does what it is at.
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

    /// The saga acts on the decision that its wait has taken, if it has taken one.
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
    /// A number that no other wait of the process has, in whichever run.
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

    /// The saga's own retry has succeeded: no decision is needed any more.
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
