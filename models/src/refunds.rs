//! Refunds: an order's refunds give back no more than was captured, each at most once, and the
//! record, the ledger and the provider agree about them.
//!
//! [`domain::refund`] decides the next call, with the same functions that the activities use.
//! Refunds are requested concurrently, one of them is in progress at a time, and each claims its
//! amount of what was captured. The provider decides about a refund at any moment, and forgets
//! idempotency keys. Several attempts to issue a refund, and to give it up, run concurrently; each
//! may die between any two steps, and its last request may then arrive at any later moment. A
//! person may give a refund up at any moment until it has ended.

use domain::refund::{self, AtProvider, Call as Right, Known, RefundState};
use stateright::{Model, Property};

/// However many are requested concurrently.
pub const CLAIMED: &str =
    "what is claimed is what refunds give back or may, and no more than was captured";
/// No money is given back twice.
pub const ONCE: &str = "the provider makes a refund at most once, but for those that failed";
/// Nobody gets more than they have paid.
pub const AT_MOST: &str = "the provider gives back no more than was captured";
/// The recorded end of a refund is true.
pub const RECORD_IS_TRUE: &str =
    "a refund that has ended gave money back, now or ever, exactly if the record says so";
/// The ledger never shows less than the shop holds.
pub const BOOKED: &str = "what the record says is given back is booked once, and nothing else is";
/// No refund is left half done.
pub const ENDS: &str = "every refund has ended or is refused in the end";

/// A model of one order's refunds.
#[derive(Clone, Copy, Debug)]
pub struct Refunds {
    /// The captured amount.
    pub captured: u8,
    /// The amount of each refund.
    pub asks: &'static [u8],
    /// The number of attempts to issue each refund, concurrent or sequential.
    pub issues: usize,
    /// The number of attempts to give it up.
    pub withdraws: usize,
    /// How often a refund fails at the provider.
    pub failures: u8,
    /// What the environment may do.
    pub world: World,
    /// The refund protocol.
    pub rules: Rules,
}

/// What the environment may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// What the protocol is designed for: a key is remembered for as long as a request may be in
    /// flight, and when a refund is given up, no request for it is in flight.
    Usual,
    /// The provider forgets a key although a request under it is in flight.
    ForgetsEarly,
    /// A request is in flight when its refund is given up, and arrives later.
    ArrivesLate,
    /// A refund fails after it has succeeded.
    FailsLate,
}

/// The refund protocol: correct, or with one planted error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// As in [`domain::refund`].
    Right,
    /// The claimed amount is read in one statement, and written in another.
    ReadThenClaim,
    /// The provider is asked for a refund without a lookup before.
    NotLookedUp,
    /// The provider is asked before that is recorded.
    NotBegun,
    /// The refund is looked up before it is recorded as given up.
    GivenUpUnmarked,
    /// A refund is given up without a lookup.
    GivenUpUnasked,
    /// Each attempt that finds the money given back posts it.
    BookedByEach,
    /// Each attempt to give a refund up frees its amount.
    FreedByEach,
}

type Id = usize;

/// The state of the request for a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Asking {
    Not,
    /// It is computed, based on this claimed amount.
    WorkedOut(u8),
    /// It is more than is left.
    Refused,
    OnRecord,
}

/// A refund.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Refund {
    asking: Asking,
    /// Its state, once it is on record.
    state: Option<RefundState>,
    /// Whether a person has decided to give it up.
    is_decided: bool,
    /// Whether that is on record.
    is_given_up: bool,
    /// The provider's refund of which a person was told.
    told: Option<Id>,
    /// Whether the provider remembers its key.
    is_remembered: bool,
    issues: Vec<Attempt>,
    withdraws: Vec<Attempt>,
}

/// A refund in the provider's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Made {
    /// Which of the shop's refunds it belongs to.
    of: usize,
    state: AtProvider,
}

/// The state of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Phase {
    Alive,
    /// Its worker has died; the request is still in flight.
    Late(Call),
    Over,
}

/// The progress of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Progress {
    New,
    /// The record says what is about to be done.
    Prepared,
    HasRead,
}

/// An attempt, and what it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Attempt {
    phase: Phase,
    progress: Progress,
    known: Known,
}

/// The next call of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Call {
    /// Records that the provider is asked from now on, unless the refund is given up.
    Begin,
    /// Records that the refund is given up.
    GiveUp,
    /// Reads the record.
    Read,
    By(Right),
}

/// The state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The claimed part of what was captured.
    claimed: u8,
    refunded: u8,
    booked: u8,
    refunds: Vec<Refund>,
    provider: Vec<Made>,
    failures_left: u8,
}

/// The kind of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An attempt to give the money back.
    Issue,
    /// An attempt to give the refund up.
    Withdraw,
}

const ROLES: [Role; 2] = [Role::Issue, Role::Withdraw];

/// A transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A refund is computed from what is left.
    WorksOut(usize),
    /// It is requested as computed.
    Asks(usize),
    /// An attempt takes its next step, or its late request arrives.
    Goes(Role, usize, usize),
    /// An attempt's worker dies.
    Dies(Role, usize, usize),
    /// A person gives a refund up.
    GivesUp(usize),
    /// The provider forgets a refund's key.
    KeyExpires(usize),
    /// The provider gives the money back.
    Succeeds(Id),
    /// The provider does not give the money back.
    Fails(Id),
}

impl Attempt {
    const NEW: Self = Self { phase: Phase::Alive, progress: Progress::New, known: Known::Unasked };

    fn is_alive(self) -> bool {
        self.phase == Phase::Alive
    }

    fn over(&mut self) {
        *self = Self { phase: Phase::Over, ..Self::NEW };
    }
}

impl Call {
    /// Whether it changes anything at its destination.
    const fn acts(self) -> bool {
        !matches!(self, Self::Read | Self::By(Right::LookUp | Right::Wait))
    }
}

impl Refund {
    fn is_open(&self) -> bool {
        self.state.is_some_and(RefundState::is_open)
    }

    fn attempts(&self, role: Role) -> &[Attempt] {
        match role {
            Role::Issue => &self.issues,
            Role::Withdraw => &self.withdraws,
        }
    }

    /// Attempts of one kind are interchangeable, so they are kept sorted (symmetry reduction).
    fn put(&mut self, role: Role, number: usize, attempt: Attempt) {
        let attempts = match role {
            Role::Issue => &mut self.issues,
            Role::Withdraw => &mut self.withdraws,
        };
        attempts[number] = attempt;
        attempts.sort_unstable();
    }

    /// Changes to the next state, if the record allows it; returns whether it did.
    fn becomes(&mut self, next: RefundState) -> bool {
        let taken = self.state.and_then(|state| state.transition_to(next).ok());
        self.state = taken.or(self.state);
        taken.is_some()
    }
}

impl State {
    fn is_under_way(&self) -> bool {
        self.refunds.iter().any(Refund::is_open)
    }

    /// The newest refund that the provider has made for this one.
    fn newest(&self, number: usize) -> Option<Id> {
        self.provider.iter().rposition(|made| made.of == number)
    }

    /// The provider's refunds for this one that have not failed.
    fn standing(&self, number: usize) -> impl Iterator<Item = &Made> {
        let of_it = self.provider.iter().filter(move |made| made.of == number);
        of_it.filter(|made| made.state != AtProvider::Failed)
    }
}

impl Refunds {
    fn next_call(&self, role: Role, attempt: Attempt) -> Call {
        if let Phase::Late(call) = attempt.phase {
            return call;
        }
        match (attempt.progress, role) {
            (Progress::New, Role::Issue) if self.rules == Rules::NotBegun => Call::Read,
            (Progress::New, Role::Withdraw) if self.rules == Rules::GivenUpUnmarked => Call::Read,
            (Progress::New, Role::Issue) => Call::Begin,
            (Progress::New, Role::Withdraw) => Call::GiveUp,
            (Progress::Prepared, Role::Issue | Role::Withdraw) => Call::Read,
            (Progress::HasRead, Role::Issue) => Call::By(refund::issue(attempt.known)),
            (Progress::HasRead, Role::Withdraw) => Call::By(refund::withdraw(attempt.known)),
        }
    }

    /// The amount that is neither given back nor going to be, by the provider's records.
    fn left_at_the_provider(&self, state: &State) -> u8 {
        let refunds = 0..self.asks.len();
        let given = refunds.flat_map(|number| state.standing(number));
        given.fold(self.captured, |left, made| left.saturating_sub(self.asks[made.of]))
    }

    /// Whether an attempt may ask the provider based only on what it has read.
    fn is_on_its_way(&self, refund: &Refund) -> bool {
        refund.issues.iter().any(|attempt| {
            let has_read = attempt.is_alive() && attempt.progress == Progress::HasRead;
            let call = self.next_call(Role::Issue, *attempt);
            attempt.phase == Phase::Late(Call::By(Right::Ask))
                || (has_read && call != Call::By(Right::Wait))
        })
    }

    /// Whether the attempt's next call, or its late request, asks the provider.
    fn is_asking(&self, refund: &Refund) -> bool {
        refund.issues.iter().any(|attempt| {
            let is_over = attempt.phase == Phase::Over;
            !is_over && self.next_call(Role::Issue, *attempt) == Call::By(Right::Ask)
        })
    }

    /// One statement: nothing happens in between.
    fn request(&self, state: &mut State, number: usize) {
        let Asking::WorkedOut(seen) = state.refunds[number].asking else { return };
        let claims = self.asks[number].saturating_add(seen);
        state.refunds[number].asking = if self.rules == Rules::ReadThenClaim {
            Asking::OnRecord
        } else if seen != state.claimed {
            Asking::Not
        } else if claims > self.captured {
            Asking::Refused
        } else {
            Asking::OnRecord
        };
        if state.refunds[number].asking == Asking::OnRecord {
            state.claimed = claims;
            state.refunds[number].state = Some(RefundState::Requested);
        }
    }

    /// The attempt reads the record. One that finds nothing to do is over.
    fn read(&self, refund: &Refund, role: Role, attempt: &mut Attempt) {
        let is_given_up = role == Role::Issue && refund.is_given_up;
        if !refund.is_open() || is_given_up {
            return attempt.over();
        }
        let is_trusting = match role {
            Role::Issue => self.rules == Rules::NotLookedUp,
            Role::Withdraw => {
                let is_unasked = refund.state == Some(RefundState::Requested);
                is_unasked || self.rules == Rules::GivenUpUnasked
            }
        };
        attempt.progress = Progress::HasRead;
        attempt.known = if is_trusting { Known::Nothing } else { Known::Unasked };
    }

    /// The provider makes the refund, unless there is one under its key or too little is left.
    fn ask(&self, state: &mut State, number: usize) {
        let is_known = state.refunds[number].is_remembered && state.standing(number).count() > 0;
        if !is_known && self.asks[number] <= self.left_at_the_provider(state) {
            state.provider.push(Made { of: number, state: AtProvider::Pending });
            state.refunds[number].is_remembered = true;
        }
    }

    /// The attempt's next call takes effect at its destination, and the attempt receives the
    /// answer.
    fn carry_out(
        &self,
        state: &mut State,
        (role, number): (Role, usize),
        attempt: &mut Attempt,
        call: Call,
    ) {
        let newest = state.newest(number);
        let amount = self.asks[number];
        let refund = &mut state.refunds[number];
        match call {
            Call::Begin => {
                if !refund.is_given_up && refund.state == Some(RefundState::Requested) {
                    refund.becomes(RefundState::Pending);
                }
                attempt.progress = Progress::Prepared;
            }
            Call::GiveUp => {
                refund.is_given_up |= refund.is_open();
                attempt.progress = Progress::Prepared;
            }
            Call::Read => self.read(refund, role, attempt),
            Call::By(Right::LookUp) => {
                attempt.known = newest.map_or(Known::Nothing, |id| {
                    Known::Is(state.provider[id].state, refund.told == Some(id))
                });
            }
            Call::By(Right::Ask) => {
                self.ask(state, number);
                attempt.known = Known::Unasked;
            }
            // It is retried.
            Call::By(Right::Wait) => *attempt = Attempt::NEW,
            Call::By(Right::RecordSuccess) => {
                let is_first = refund.becomes(RefundState::Succeeded);
                if is_first {
                    state.refunded = state.refunded.saturating_add(amount);
                }
                if is_first || self.rules == Rules::BookedByEach {
                    state.booked = state.booked.saturating_add(amount);
                }
                attempt.over();
            }
            Call::By(Right::Tell) => {
                if refund.state == Some(RefundState::Pending) {
                    refund.told = newest;
                }
                *attempt = Attempt::NEW;
                if refund.is_decided {
                    attempt.over();
                }
            }
            Call::By(Right::RecordEnd) => {
                let was_asked = refund.state == Some(RefundState::Pending);
                let end = if was_asked { RefundState::Failed } else { RefundState::Cancelled };
                if refund.becomes(end) || self.rules == Rules::FreedByEach {
                    state.claimed = state.claimed.saturating_sub(amount);
                }
                attempt.over();
            }
        }
    }

    fn step(&self, state: &mut State, (role, number): (Role, usize), which: usize) {
        let mut attempt = state.refunds[number].attempts(role)[which];
        let is_late = !attempt.is_alive();
        let call = self.next_call(role, attempt);
        self.carry_out(state, (role, number), &mut attempt, call);
        if is_late {
            attempt.over();
        }
        state.refunds[number].put(role, which, attempt);
    }

    fn die(&self, state: &mut State, (role, number): (Role, usize), which: usize) {
        let mut attempt = state.refunds[number].attempts(role)[which];
        let call = self.next_call(role, attempt);
        attempt.over();
        if call.acts() {
            attempt.phase = Phase::Late(call);
        }
        state.refunds[number].put(role, which, attempt);
    }

    fn may_go(&self, state: &State, (role, number): (Role, usize), attempt: Attempt) -> bool {
        let is_new = attempt.is_alive() && attempt.progress == Progress::New;
        if role == Role::Withdraw && is_new && self.world != World::ArrivesLate {
            return !self.is_on_its_way(&state.refunds[number]);
        }
        if self.next_call(role, attempt) != Call::By(Right::Wait) {
            return true;
        }
        // Something has changed once the provider has decided.
        let newest = state.newest(number);
        newest.is_none_or(|id| state.provider[id].state != AtProvider::Pending)
    }

    fn actions_of(&self, state: &State, of: (Role, usize), actions: &mut Vec<Action>) {
        let (role, number) = of;
        let refund = &state.refunds[number];
        if role == Role::Withdraw && !refund.is_decided {
            return;
        }
        let attempts = refund.attempts(role);
        let alive = attempts.iter().filter(|attempt| attempt.is_alive()).count();
        // Neither gives up: if a worker dies, another attempt follows.
        let is_over = !refund.is_open() || (role == Role::Issue && refund.is_decided);
        let may_die = alive > 1 || is_over;
        for (which, attempt) in attempts.iter().enumerate() {
            let is_twin = which.checked_sub(1).is_some_and(|before| attempts[before] == *attempt);
            if attempt.phase == Phase::Over || is_twin {
                continue;
            }
            if self.may_go(state, of, *attempt) {
                actions.push(Action::Goes(role, number, which));
            }
            if attempt.is_alive() && may_die {
                actions.push(Action::Dies(role, number, which));
            }
        }
    }

    fn actions_about(&self, state: &State, number: usize, actions: &mut Vec<Action>) {
        let refund = &state.refunds[number];
        let is_free = !state.is_under_way() || self.rules == Rules::ReadThenClaim;
        match refund.asking {
            Asking::Not if is_free => actions.push(Action::WorksOut(number)),
            Asking::WorkedOut(_) if is_free => actions.push(Action::Asks(number)),
            Asking::Not | Asking::WorkedOut(_) | Asking::Refused => {}
            Asking::OnRecord => {
                for role in ROLES {
                    self.actions_of(state, (role, number), actions);
                }
                if refund.is_open() && !refund.is_decided {
                    actions.push(Action::GivesUp(number));
                }
                let may_forget = self.world == World::ForgetsEarly || !self.is_asking(refund);
                if refund.is_remembered && may_forget {
                    actions.push(Action::KeyExpires(number));
                }
            }
        }
    }
}

impl Model for Refunds {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let refund = Refund {
            asking: Asking::Not,
            state: None,
            is_decided: false,
            is_given_up: false,
            told: None,
            is_remembered: false,
            issues: vec![Attempt::NEW; self.issues],
            withdraws: vec![Attempt::NEW; self.withdraws],
        };
        vec![State {
            claimed: 0,
            refunded: 0,
            booked: 0,
            refunds: vec![refund; self.asks.len()],
            provider: Vec::new(),
            failures_left: self.failures,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for number in 0..state.refunds.len() {
            self.actions_about(state, number, actions);
        }
        let may_fail = state.failures_left > 0;
        for (id, made) in state.provider.iter().enumerate() {
            if made.state == AtProvider::Pending {
                actions.push(Action::Succeeds(id));
            }
            let is_undecided = match made.state {
                AtProvider::Pending => true,
                AtProvider::Succeeded => self.world == World::FailsLate,
                AtProvider::Failed => false,
            };
            if is_undecided && may_fail {
                actions.push(Action::Fails(id));
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::WorksOut(number) => {
                let is_too_much = self.asks[number] > self.captured.saturating_sub(state.claimed);
                let worked_out = Asking::WorkedOut(state.claimed);
                state.refunds[number].asking =
                    if is_too_much { Asking::Refused } else { worked_out };
            }
            Action::Asks(number) => self.request(&mut state, number),
            Action::Goes(role, number, which) => self.step(&mut state, (role, number), which),
            Action::Dies(role, number, which) => self.die(&mut state, (role, number), which),
            Action::GivesUp(number) => state.refunds[number].is_decided = true,
            Action::KeyExpires(number) => state.refunds[number].is_remembered = false,
            Action::Succeeds(id) => state.provider[id].state = AtProvider::Succeeded,
            Action::Fails(id) => {
                state.provider[id].state = AtProvider::Failed;
                state.failures_left = state.failures_left.saturating_sub(1);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(CLAIMED, |model: &Self, state: &State| {
                let claims = |state: RefundState| match state {
                    RefundState::Requested | RefundState::Pending | RefundState::Succeeded => true,
                    RefundState::Failed | RefundState::Cancelled => false,
                };
                state.claimed == model.sum(state, claims) && state.claimed <= model.captured
            }),
            Property::always(ONCE, |_, state: &State| {
                (0..state.refunds.len()).all(|number| state.standing(number).count() <= 1)
            }),
            Property::always(AT_MOST, |model: &Self, state: &State| {
                let all = (0..state.refunds.len()).flat_map(|number| state.standing(number));
                let given = all.fold(0_u8, |sum, made| sum.saturating_add(model.asks[made.of]));
                given <= model.captured
            }),
            Property::always(RECORD_IS_TRUE, |_, state: &State| {
                state.refunds.iter().enumerate().all(|(number, refund)| {
                    let mut standing = state.standing(number).map(|made| made.state);
                    match refund.state {
                        Some(RefundState::Succeeded) => {
                            standing.any(|state| state == AtProvider::Succeeded)
                        }
                        Some(RefundState::Failed | RefundState::Cancelled) => {
                            standing.next().is_none()
                        }
                        Some(RefundState::Requested | RefundState::Pending) | None => true,
                    }
                })
            }),
            Property::always(BOOKED, |model: &Self, state: &State| {
                let given = model.sum(state, |state| state == RefundState::Succeeded);
                (state.refunded, state.booked) == (given, given)
            }),
            Property::eventually(ENDS, |_, state: &State| {
                state.refunds.iter().all(|refund| {
                    refund.asking == Asking::Refused || refund.state.is_some_and(|it| !it.is_open())
                })
            }),
            Property::sometimes("money is given back", |_, state: &State| state.refunded > 0),
            Property::sometimes(
                "a refund is given up before the provider is asked",
                |_, state: &State| state.has_one(RefundState::Cancelled),
            ),
            Property::sometimes("a refund is given up after it has failed", |_, state: &State| {
                state.has_one(RefundState::Failed) && !state.provider.is_empty()
            }),
            Property::sometimes("a refund that failed is made anew", |_, state: &State| {
                let made = |number| state.provider.iter().filter(move |it| it.of == number).count();
                (0..state.refunds.len()).any(|number| made(number) > 1)
            }),
            Property::sometimes(
                "an attempt comes after its refund was given up",
                |_, state: &State| {
                    let is_late = |refund: &Refund| {
                        refund.is_given_up && refund.issues.iter().any(|it| it.is_alive())
                    };
                    state.refunds.iter().any(is_late)
                },
            ),
        ]
    }
}

impl Refunds {
    /// The sum of the refunds in such states.
    fn sum(&self, state: &State, counts: impl Fn(RefundState) -> bool) -> u8 {
        let refunds = state.refunds.iter().zip(self.asks);
        let counted = refunds.filter(|(refund, _)| refund.state.is_some_and(&counts));
        counted.fold(0_u8, |sum, (_, amount)| sum.saturating_add(*amount))
    }
}

impl State {
    fn has_one(&self, in_state: RefundState) -> bool {
        self.refunds.iter().any(|refund| refund.state == Some(in_state))
    }
}
