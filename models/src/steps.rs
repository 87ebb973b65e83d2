//! A step and its undo: an undone step has no effect, now or ever, and a standing one has exactly
//! one.
//!
//! Several attempts of the step and of its undo run concurrently; each may die between any two
//! calls, and its last call may then arrive at any later moment. The order may be unwound at any
//! moment until it is completed, whether or not anybody has seen the step's success.
//!
//! A step within the shop takes effect in the transaction that inserts its key, like a reservation
//! or a journal entry. A step at a party takes effect there under a reference, and is recorded
//! afterwards; this models parties without the two-phase protocols of [`payments`](crate::payments)
//! and [`shipments`](crate::shipments).

use stateright::{Model, Property};

/// An undone step.
pub const NOTHING_LEFT: &str = "once the undo is finished, no effect is left or ever comes back";
/// A standing step.
pub const ONE_EFFECT: &str = "a step that stands has exactly one effect";
/// A second run of the order can rely on the key.
pub const RECORD_IS_TRUE: &str = "the key of a step that stands says done, and not undone";
/// No order is left half done.
pub const ENDS: &str = "the step stands or is undone in the end";

/// A model of one step and its undo.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// The number of attempts of the step, concurrent or sequential.
    pub does: usize,
    /// The number of attempts of the undo.
    pub undoes: usize,
    /// Where the step takes effect.
    pub place: Place,
    /// The protocol of step and undo.
    pub rules: Rules,
}

/// Where a step takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the shop's database.
    Inside,
    /// At a party, under a reference. The effect can become irreversible there: the parcel has
    /// left. Then a person accepts it as done.
    Outside,
}

/// The protocol of step and undo: correct, or with one planted error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// The undo leaves its tombstone before it looks the effect up. A party that is told to cancel
    /// an unknown reference refuses that reference from then on. A step accepted as done gets no
    /// tombstone.
    Right,
    /// The undo looks the effect up before it leaves its tombstone.
    LooksFirst,
    /// The undo leaves no tombstone.
    NoTombstone,
    /// The effect and the key are two transactions.
    KeyAfterEffect,
    /// Every attempt uses its own reference.
    ReferencePerAttempt,
    /// The party forgets that it was told to cancel an unknown reference.
    PartyForgets,
    /// A late undo leaves its tombstone although the step was accepted as done.
    TombstoneOverAccepted,
}

/// The state of the order, as far as this step is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Order {
    Forward,
    /// The step has succeeded.
    Standing,
    /// It can no longer be unwound.
    Completed,
    Unwinding,
    Undone,
    /// It could not be undone, and counts as done.
    Accepted,
}

/// The record under the step's key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    is_done: bool,
    is_undone: bool,
    is_accepted: bool,
}

/// The effect under one reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Effect {
    Absent,
    There,
    /// Cancelled, and refused from now on.
    Barred,
    /// Present and irreversible.
    Final,
}

/// The next call of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Call {
    Read,
    /// Takes effect and inserts the key, in one transaction.
    Take,
    /// Takes effect.
    Act,
    /// Inserts the key.
    Record,
    LeaveTombstone,
    TakeBack,
    Finish,
}

/// The state of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Phase {
    Alive,
    /// Its worker has died; the call is still in flight.
    Late(Call),
    Over,
}

/// An attempt, and what it knows.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Attempt {
    phase: Phase,
    key: Option<Key>,
    reference: usize,
    has_acted: bool,
    has_left_tombstone: bool,
    has_taken_back: bool,
    is_refused: bool,
}

/// The state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    order: Order,
    key: Key,
    effects: Vec<Effect>,
    does: Vec<Attempt>,
    undoes: Vec<Attempt>,
    /// An undo was refused, and waits for a person.
    needs_a_person: bool,
}

/// The kind of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An attempt of the step.
    Do,
    /// An attempt of the undo.
    Undo,
}

/// A transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// An attempt makes its next call, or its last one arrives late.
    Goes(Role, usize),
    /// An attempt's worker dies.
    Dies(Role, usize),
    /// The effect becomes irreversible.
    BecomesFinal,
    /// A person accepts an irreversible effect as done.
    IsAccepted,
    /// The order is unwound from now on.
    Unwinds,
    /// The order is completed.
    Completes,
}

impl Attempt {
    const fn new(reference: usize) -> Self {
        Self {
            phase: Phase::Alive,
            key: None,
            reference,
            has_acted: false,
            has_left_tombstone: false,
            has_taken_back: false,
            is_refused: false,
        }
    }
}

impl Steps {
    fn next_call(&self, role: Role, attempt: &Attempt) -> Call {
        match (attempt.phase, role) {
            (Phase::Late(call), _) => call,
            (Phase::Alive | Phase::Over, Role::Do) => self.next_of_do(attempt),
            (Phase::Alive | Phase::Over, Role::Undo) => self.next_of_undo(attempt),
        }
    }

    fn next_of_do(&self, attempt: &Attempt) -> Call {
        let Some(Key { is_done, is_undone, .. }) = attempt.key else { return Call::Read };
        let is_known = is_done || is_undone;
        match self.place {
            _ if attempt.is_refused || attempt.has_taken_back => Call::Finish,
            // It has arrived after the undo, and reverts its own effect.
            Place::Outside if is_undone && attempt.has_acted => Call::TakeBack,
            Place::Inside | Place::Outside if is_known => Call::Finish,
            Place::Inside if self.rules == Rules::KeyAfterEffect && !attempt.has_acted => Call::Act,
            Place::Inside if self.rules == Rules::KeyAfterEffect => Call::Record,
            Place::Inside => Call::Take,
            Place::Outside if attempt.has_acted => Call::Record,
            Place::Outside => Call::Act,
        }
    }

    fn next_of_undo(&self, attempt: &Attempt) -> Call {
        let Attempt { has_left_tombstone, has_taken_back, .. } = *attempt;
        let wants_tombstone = self.rules != Rules::NoTombstone;
        let looks_first = self.rules == Rules::LooksFirst;
        // A step accepted as done is not undone.
        let is_accepted = attempt.key.is_some_and(|key| key.is_accepted);
        match (has_left_tombstone, has_taken_back) {
            _ if is_accepted || attempt.is_refused => Call::Finish,
            (false, false) if looks_first || !wants_tombstone => Call::TakeBack,
            (false, false) => Call::LeaveTombstone,
            (false, true) if wants_tombstone => Call::LeaveTombstone,
            (true, false) => Call::TakeBack,
            (false | true, true) => Call::Finish,
        }
    }

    fn carry_out(&self, state: &mut State, attempt: &mut Attempt, call: Call) {
        let is_free = !state.key.is_done && !state.key.is_undone;
        let effect = &mut state.effects[attempt.reference];
        match call {
            Call::Read => attempt.key = Some(state.key),
            Call::Take => {
                if is_free {
                    *effect = Effect::There;
                    state.key.is_done = true;
                }
                attempt.key = Some(state.key);
            }
            Call::Act => match effect {
                Effect::Absent => (*effect, attempt.has_acted) = (Effect::There, true),
                Effect::There | Effect::Final => attempt.has_acted = true,
                Effect::Barred => attempt.is_refused = true,
            },
            Call::Record => {
                state.key.is_done |= is_free;
                attempt.key = Some(state.key);
            }
            Call::LeaveTombstone => {
                let is_blind = self.rules == Rules::TombstoneOverAccepted;
                state.key.is_undone |= is_blind || !state.key.is_accepted;
                attempt.has_left_tombstone = true;
                if !is_blind {
                    attempt.key = Some(state.key);
                }
            }
            Call::TakeBack => {
                attempt.has_taken_back = true;
                match (*effect, self.place) {
                    (Effect::Final, _) => attempt.is_refused = true,
                    (Effect::There, Place::Inside) => *effect = Effect::Absent,
                    (Effect::Absent, Place::Inside) | (Effect::Barred, _) => {}
                    (Effect::Absent, Place::Outside) if self.rules == Rules::PartyForgets => {}
                    (Effect::Absent | Effect::There, Place::Outside) => *effect = Effect::Barred,
                }
            }
            Call::Finish => {}
        }
    }

    fn step(&self, state: &mut State, role: Role, number: usize) {
        let mut attempt = state.attempts(role)[number];
        let call = self.next_call(role, &attempt);
        self.carry_out(state, &mut attempt, call);
        let is_late = attempt.phase != Phase::Alive;
        if call == Call::Finish && !is_late {
            state.hear(role, &attempt);
        }
        if call == Call::Finish || is_late {
            attempt = Attempt { phase: Phase::Over, ..Attempt::new(attempt.reference) };
        }
        state.put(role, number, attempt);
    }

    fn actions_of(role: Role, state: &State, actions: &mut Vec<Action>) {
        let may_begin = role == Role::Do
            || matches!(state.order, Order::Unwinding | Order::Undone | Order::Accepted);
        if !may_begin {
            return;
        }
        let attempts = state.attempts(role);
        let alive = attempts.iter().filter(|attempt| attempt.phase == Phase::Alive).count();
        // An undo never gives up: if its worker dies, another attempt follows.
        let may_die = role == Role::Do || alive > 1 || state.order != Order::Unwinding;
        for (number, attempt) in attempts.iter().enumerate() {
            if attempt.phase != Phase::Over {
                actions.push(Action::Goes(role, number));
            }
            if attempt.phase == Phase::Alive && may_die {
                actions.push(Action::Dies(role, number));
            }
        }
    }
}

impl State {
    fn attempts(&self, role: Role) -> &[Attempt] {
        match role {
            Role::Do => &self.does,
            Role::Undo => &self.undoes,
        }
    }

    /// Attempts of one kind are interchangeable, so they are kept sorted (symmetry reduction).
    fn put(&mut self, role: Role, number: usize, attempt: Attempt) {
        let attempts = match role {
            Role::Do => &mut self.does,
            Role::Undo => &mut self.undoes,
        };
        attempts[number] = attempt;
        attempts.sort_unstable();
    }

    /// The order receives an attempt's answer.
    fn hear(&mut self, role: Role, attempt: &Attempt) {
        let is_accepted = attempt.key.is_some_and(|key| key.is_accepted);
        let is_done = attempt.key.is_some_and(|key| key.is_done && !key.is_undone);
        match (role, self.order) {
            (Role::Do, Order::Forward) if is_done => self.order = Order::Standing,
            (Role::Undo, Order::Unwinding) if attempt.is_refused => self.needs_a_person = true,
            (Role::Undo, Order::Unwinding) if !is_accepted => self.order = Order::Undone,
            (Role::Do | Role::Undo, _) => {}
        }
    }

    fn stands(&self) -> bool {
        matches!(self.order, Order::Standing | Order::Completed | Order::Accepted)
    }

    fn count(&self) -> usize {
        let is_there = |effect: &&Effect| matches!(effect, Effect::There | Effect::Final);
        self.effects.iter().filter(is_there).count()
    }
}

impl Model for Steps {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let is_own = self.rules == Rules::ReferencePerAttempt;
        let reference = |number| if is_own { number } else { 0 };
        vec![State {
            order: Order::Forward,
            key: Key::default(),
            effects: vec![Effect::Absent; if is_own { self.does } else { 1 }],
            does: (0..self.does).map(|number| Attempt::new(reference(number))).collect(),
            undoes: vec![Attempt::new(0); self.undoes],
            needs_a_person: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        Self::actions_of(Role::Do, state, actions);
        Self::actions_of(Role::Undo, state, actions);
        match state.order {
            Order::Forward => actions.push(Action::Unwinds),
            Order::Standing => actions.extend([Action::Unwinds, Action::Completes]),
            Order::Completed | Order::Unwinding | Order::Undone | Order::Accepted => {}
        }
        if self.place == Place::Outside && state.effects.contains(&Effect::There) {
            actions.push(Action::BecomesFinal);
        }
        if state.order == Order::Unwinding && state.needs_a_person {
            actions.push(Action::IsAccepted);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Goes(role, number) => self.step(&mut state, role, number),
            Action::Dies(role, number) => {
                let mut attempt = state.attempts(role)[number];
                attempt.phase = Phase::Late(self.next_call(role, &attempt));
                state.put(role, number, attempt);
            }
            Action::BecomesFinal => {
                let there = state.effects.iter().position(|effect| *effect == Effect::There)?;
                state.effects[there] = Effect::Final;
            }
            Action::IsAccepted => {
                state.key = Key { is_done: true, is_undone: false, is_accepted: true };
                state.order = Order::Accepted;
            }
            Action::Unwinds => state.order = Order::Unwinding,
            Action::Completes => state.order = Order::Completed,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![
            Property::always(NOTHING_LEFT, |_, state: &State| {
                state.order != Order::Undone || state.count() == 0
            }),
            Property::always(ONE_EFFECT, |_, state: &State| !state.stands() || state.count() == 1),
            Property::always(RECORD_IS_TRUE, |_, state: &State| {
                !state.stands() || (state.key.is_done && !state.key.is_undone)
            }),
            Property::eventually(ENDS, |_, state: &State| {
                matches!(state.order, Order::Completed | Order::Undone | Order::Accepted)
            }),
            Property::sometimes("a step is completed", |_, state: &State| {
                state.order == Order::Completed
            }),
            Property::sometimes("a step that had succeeded is undone", |_, state: &State| {
                state.order == Order::Undone && state.key.is_done
            }),
            Property::sometimes("a late call arrives after the undo", |_, state: &State| {
                let is_late = |attempt: &Attempt| matches!(attempt.phase, Phase::Late(_));
                state.order == Order::Undone && state.does.iter().any(is_late)
            }),
        ];
        if self.place == Place::Outside {
            all.push(Property::sometimes(
                "what cannot be undone is accepted",
                |_, state: &State| state.order == Order::Accepted,
            ));
        }
        all
    }
}
