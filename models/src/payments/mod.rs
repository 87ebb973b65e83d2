//! Payments: an order that stands is paid for once, and one that is unwound keeps no money.
//!
//! The provider forgets idempotency keys, and its search shows a payment some time after it was
//! made; asked by a payment's own id it answers consistently. Several attempts of a charge and of
//! its refund run beside each other; each may die between any two steps, and what it has asked for
//! last may then arrive at any later moment. The order may be unwound at any moment until it is
//! completed.

mod one_call;
pub mod protocol;

use domain::PaymentStatus;
use protocol::{Answer, Key, Payment, PaymentState, Step};
use stateright::{Model, Property};

/// No order is charged twice.
pub const ONE_CAPTURE: &str = "an order has at most one capture, whether given back or not";
/// Whoever has not bought pays nothing.
pub const NO_MONEY: &str = "an unwound order keeps no money";
/// Whoever has not bought has no money set aside.
pub const NO_AUTHORISATION: &str = "an unwound order leaves no authorisation";
/// What an order that stands has been paid.
pub const PAID_ONCE: &str = "a standing order is captured exactly once, and holds nothing else";
/// The shop's record agrees with the provider's.
pub const RECORD_IS_TRUE: &str = "the record says paid exactly when the provider has the money";
/// No order is left half done.
pub const ENDS: &str = "the order is completed or unwound in the end";

/// A model of one order's payment.
#[derive(Clone, Copy, Debug)]
pub struct Payments {
    /// How many attempts of the charge there are, beside or after each other.
    pub charges: usize,
    /// How many attempts of the refund there are.
    pub refunds: usize,
    /// What the provider is like.
    pub provider: Habits,
    /// How payments are called.
    pub rules: Rules,
}

/// What a provider may do to the shop.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// It forgets idempotency keys.
    pub forgets_keys: bool,
    /// Its search shows a payment only after a while.
    pub search_lags: bool,
    /// An authorisation may lapse before it is captured.
    pub lets_lapse: bool,
}

impl Habits {
    /// Everything that real providers do.
    pub const REAL: Self = Self { forgets_keys: true, search_lags: true, lets_lapse: true };
    /// A provider that forgets nothing, and finds everything at once.
    pub const IDEAL: Self = Self { forgets_keys: false, search_lags: false, lets_lapse: false };
}

/// How payments are called: rightly, or with one error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// In two halves, as [`protocol`] has it.
    TwoHalves,
    /// Made and authorised in one call under the charge's key, and searched by it.
    OneCall,
    /// The refund searches for the payment instead of asking by its id.
    RefundSearches,
    /// The payment's id is stored after the payment is authorised.
    StoredTooLate,
    /// The payment's id is stored whether or not there is a tombstone.
    StoredBlindly,
    /// The refund reads the payment's id before it leaves its tombstone.
    ReadTooEarly,
    /// The refund leaves a declined payment as it is.
    DeclinedIsLeftOpen,
}

/// Where the order stands, as far as its payment is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// The charge has not been answered.
    Charging,
    /// The charge has succeeded.
    Standing,
    /// It will not be unwound any more.
    Completed,
    /// The refund is to be done.
    Unwinding,
    /// The refund is done.
    Unwound,
}

type Id = usize;

/// What is on record under the charge's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Record {
    key: Key,
    payment: Option<Id>,
    status: PaymentStatus,
}

/// What the provider has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Provider {
    payments: Vec<PaymentState>,
    /// What it remembers under the shop's idempotency key.
    remembered: Option<Id>,
    /// How many payments its search shows.
    listed: usize,
}

/// What an attempt does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Phase {
    Alive,
    /// Its worker has died; the request is still on its way.
    Late(Call),
    Over,
}

/// One attempt, and what it knows.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Attempt {
    phase: Phase,
    key: Option<Key>,
    payment: Payment,
    id: Option<Id>,
    is_stored: bool,
    has_looked_again: bool,
    has_searched: bool,
    has_left_tombstone: bool,
}

/// What an attempt does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Call {
    By(Step),
    /// Makes a payment and authorises it, in one call.
    AuthoriseByKey,
    /// Reads the key's record between authorisation and capture.
    LookAgain,
    /// Asks the provider's search.
    Search,
}

/// Everything in the model at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    order: Order,
    record: Record,
    provider: Provider,
    charges: Vec<Attempt>,
    refunds: Vec<Attempt>,
}

/// Who attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An attempt of the charge.
    Charge,
    /// An attempt of the refund.
    Refund,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// An attempt takes its next step, or what it has asked for arrives late. If the bank is asked,
    /// it says yes.
    Goes(Role, usize),
    /// The same, and the bank says no.
    IsDeclined(Role, usize),
    /// An attempt's worker dies.
    Dies(Role, usize),
    /// The provider forgets the shop's key.
    KeyExpires,
    /// The provider's search shows one more payment.
    SearchCatchesUp,
    /// An authorisation lapses.
    Lapses(usize),
    /// The order is unwound from now on.
    Unwinds,
    /// The order is completed.
    Completes,
}

impl Attempt {
    const NEW: Self = Self {
        phase: Phase::Alive,
        key: None,
        payment: Payment::Nothing,
        id: None,
        is_stored: false,
        has_looked_again: false,
        has_searched: false,
        has_left_tombstone: false,
    };

    fn learn(&mut self, record: &Record) {
        self.key = Some(record.key);
        if record.payment.is_some() && self.id != record.payment {
            (self.id, self.payment) = (record.payment, Payment::Unasked);
        }
        self.is_stored = record.payment.is_some();
    }

    fn over(&mut self) {
        *self = Self { phase: Phase::Over, ..Self::NEW };
    }
}

impl Call {
    /// Whether it changes anything where it arrives.
    const fn acts(self) -> bool {
        !matches!(
            self,
            Self::LookAgain | Self::Search | Self::By(Step::Read | Step::LookUp | Step::Finish)
        )
    }

    /// Whether the bank decides.
    const fn asks_the_bank(self) -> bool {
        matches!(self, Self::AuthoriseByKey | Self::By(Step::Authorise))
    }
}

impl Record {
    fn answer(&mut self, answer: Answer, payment: PaymentState) {
        if self.key == Key::default() {
            self.key.answer = Some(answer);
            self.status = protocol::recorded(self.status, payment);
        }
    }
}

impl Payments {
    fn next_call(&self, role: Role, attempt: &Attempt) -> Call {
        if let Phase::Late(call) = attempt.phase {
            return call;
        }
        let Attempt { key, payment, is_stored, has_left_tombstone, has_searched, .. } = *attempt;
        let right = match role {
            Role::Charge => protocol::charge(key, payment),
            Role::Refund => protocol::refund(has_left_tombstone, key, payment),
        };
        let is_open = key == Some(Key::default());
        match (self.rules, role) {
            (Rules::OneCall, Role::Charge) => one_call::charge(attempt),
            (Rules::OneCall, Role::Refund) => one_call::refund(attempt),
            (Rules::RefundSearches, Role::Refund) if has_left_tombstone && !has_searched => {
                Call::Search
            }
            (Rules::StoredTooLate, Role::Charge) if is_open && payment == Payment::Fresh => {
                Call::By(Step::Authorise)
            }
            (Rules::StoredTooLate, Role::Charge)
                if is_open && !is_stored && matches!(payment, Payment::Is(_)) =>
            {
                Call::By(Step::Store)
            }
            (Rules::ReadTooEarly, Role::Refund) if key.is_none() => Call::By(Step::Read),
            (Rules::DeclinedIsLeftOpen, Role::Refund)
                if has_left_tombstone && payment == Payment::Is(PaymentState::Declined) =>
            {
                Call::By(Step::Finish)
            }
            _ => Call::By(right),
        }
    }

    /// Lets the attempt's next call take effect where it arrives, and the attempt learn the answer.
    fn carry_out(&self, state: &mut State, attempt: &mut Attempt, call: Call, is_approved: bool) {
        let State { record, provider, .. } = state;
        match call {
            Call::By(Step::Read) => attempt.learn(record),
            Call::LookAgain => {
                attempt.key = Some(record.key);
                attempt.has_looked_again = true;
            }
            Call::By(Step::Open) => {
                attempt.id = Some(provider.make(PaymentState::Opened, self.provider));
                attempt.payment = Payment::Fresh;
            }
            Call::AuthoriseByKey => {
                let state =
                    if is_approved { PaymentState::Authorised } else { PaymentState::Declined };
                let id = provider.make(state, self.provider);
                attempt.id = Some(id);
                attempt.payment = Payment::Is(provider.replayed(id));
            }
            Call::Search => {
                attempt.has_searched = true;
                attempt.key = Some(record.key);
                attempt.id = provider.listed.checked_sub(1);
                let found = attempt.id.map(|id| provider.payments[id]);
                attempt.payment = found.map_or(Payment::Nothing, Payment::Is);
            }
            Call::By(Step::LookUp) => {
                let found = attempt.id.map(|id| provider.payments[id]);
                attempt.payment = found.map_or(Payment::Nothing, Payment::Is);
            }
            Call::By(step @ (Step::Authorise | Step::Capture | Step::Void | Step::Refund)) => {
                attempt.payment = provider.asked(attempt.id, step, is_approved);
            }
            Call::By(Step::Store) => self.store(record, attempt),
            Call::By(Step::RecordCharge) => {
                record.answer(Answer::Charged, PaymentState::Captured);
                attempt.learn(record);
            }
            Call::By(Step::RecordRefusal) => {
                record.answer(Answer::Refused, PaymentState::Declined);
                attempt.learn(record);
            }
            Call::By(Step::LeaveTombstone) => {
                record.key.is_undone = true;
                attempt.has_left_tombstone = true;
            }
            Call::By(Step::RecordReturn) => {
                if let Payment::Is(payment) = attempt.payment {
                    record.status = protocol::recorded(record.status, payment);
                }
                attempt.payment = Payment::Nothing;
            }
            Call::By(Step::Finish) => {}
        }
    }

    fn store(&self, record: &mut Record, attempt: &mut Attempt) {
        let is_open = record.key == Key::default();
        let may_store = is_open || self.rules == Rules::StoredBlindly;
        if record.payment.is_none() && may_store {
            record.payment = attempt.id;
        }
        let key = attempt.key;
        attempt.learn(record);
        if self.rules == Rules::StoredBlindly {
            attempt.key = key;
        }
        if attempt.payment == Payment::Fresh {
            attempt.payment = Payment::Is(PaymentState::Opened);
        }
    }

    fn finish(state: &mut State, role: Role, attempt: &Attempt) {
        let answer = attempt.key.filter(|key| !key.is_undone).and_then(|key| key.answer);
        state.order = match (role, state.order, answer) {
            (Role::Charge, Order::Charging, Some(Answer::Charged)) => Order::Standing,
            (Role::Charge, Order::Charging, Some(Answer::Refused)) => Order::Unwinding,
            (Role::Refund, Order::Unwinding, _) => Order::Unwound,
            (Role::Charge | Role::Refund, order, _) => order,
        };
    }

    fn step(&self, state: &mut State, role: Role, number: usize, is_approved: bool) {
        let mut attempt = state.attempts(role)[number];
        let call = self.next_call(role, &attempt);
        self.carry_out(state, &mut attempt, call, is_approved);
        let is_late = attempt.phase != Phase::Alive;
        if is_late || call == Call::By(Step::Finish) {
            if !is_late {
                Self::finish(state, role, &attempt);
            }
            attempt.over();
        }
        state.put(role, number, attempt);
    }

    fn actions_of(&self, role: Role, state: &State, actions: &mut Vec<Action>) {
        let attempts = state.attempts(role);
        let is_unwinding = matches!(state.order, Order::Unwinding | Order::Unwound);
        if role == Role::Refund && !is_unwinding {
            return;
        }
        let alive = attempts.iter().filter(|attempt| attempt.phase == Phase::Alive).count();
        // An undo never gives up: whoever dies, another attempt comes.
        let may_die = role == Role::Charge || alive > 1 || state.order == Order::Unwound;
        for (number, attempt) in attempts.iter().enumerate() {
            let is_twin = number.checked_sub(1).is_some_and(|before| attempts[before] == *attempt);
            if attempt.phase == Phase::Over || is_twin {
                continue;
            }
            actions.push(Action::Goes(role, number));
            if self.next_call(role, attempt).asks_the_bank() {
                actions.push(Action::IsDeclined(role, number));
            }
            if attempt.phase == Phase::Alive && may_die {
                actions.push(Action::Dies(role, number));
            }
        }
    }
}

impl Provider {
    /// Makes a payment, unless the key is remembered.
    fn make(&mut self, state: PaymentState, habits: Habits) -> Id {
        if let Some(known) = self.remembered {
            return known;
        }
        let id = self.payments.len();
        self.payments.push(state);
        self.remembered = Some(id);
        if !habits.search_lags {
            self.listed = self.payments.len();
        }
        id
    }

    /// What a request under a key is answered: what it was answered the first time.
    fn replayed(&self, id: Id) -> PaymentState {
        match self.payments[id] {
            PaymentState::Declined => PaymentState::Declined,
            PaymentState::Opened
            | PaymentState::Authorised
            | PaymentState::Captured
            | PaymentState::Voided
            | PaymentState::Refunded => PaymentState::Authorised,
        }
    }

    fn asked(&mut self, id: Option<Id>, step: Step, is_approved: bool) -> Payment {
        let Some(payment) = id.and_then(|id| self.payments.get_mut(id)) else {
            return Payment::Nothing;
        };
        match protocol::at_the_provider(step, is_approved, *payment) {
            Some(next) => {
                *payment = next;
                Payment::Is(next)
            }
            None => Payment::Unasked,
        }
    }

    fn count(&self, which: &[PaymentState]) -> usize {
        self.payments.iter().filter(|payment| which.contains(payment)).count()
    }
}

impl State {
    fn attempts(&self, role: Role) -> &[Attempt] {
        match role {
            Role::Charge => &self.charges,
            Role::Refund => &self.refunds,
        }
    }

    /// Attempts of one kind are alike, so which is which does not count.
    fn put(&mut self, role: Role, number: usize, attempt: Attempt) {
        let attempts = match role {
            Role::Charge => &mut self.charges,
            Role::Refund => &mut self.refunds,
        };
        attempts[number] = attempt;
        attempts.sort_unstable();
    }

    fn stands(&self) -> bool {
        matches!(self.order, Order::Standing | Order::Completed)
    }

    fn holds_money(&self) -> bool {
        self.provider.count(&[PaymentState::Captured]) > 0
    }
}

impl Model for Payments {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let record =
            Record { key: Key::default(), payment: None, status: PaymentStatus::default() };
        let provider = Provider { payments: Vec::new(), remembered: None, listed: 0 };
        let charges = vec![Attempt::NEW; self.charges];
        let refunds = vec![Attempt::NEW; self.refunds];
        vec![State { order: Order::Charging, record, provider, charges, refunds }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.actions_of(Role::Charge, state, actions);
        self.actions_of(Role::Refund, state, actions);
        match state.order {
            Order::Charging => actions.push(Action::Unwinds),
            Order::Standing => actions.extend([Action::Unwinds, Action::Completes]),
            Order::Completed | Order::Unwinding | Order::Unwound => {}
        }
        if self.provider.forgets_keys && state.provider.remembered.is_some() {
            actions.push(Action::KeyExpires);
        }
        if state.provider.listed < state.provider.payments.len() {
            actions.push(Action::SearchCatchesUp);
        }
        if self.provider.lets_lapse {
            let held = state.provider.payments.iter().enumerate();
            let held = held.filter(|(_, payment)| **payment == PaymentState::Authorised);
            actions.extend(held.map(|(id, _)| Action::Lapses(id)));
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Goes(role, number) => self.step(&mut state, role, number, true),
            Action::IsDeclined(role, number) => self.step(&mut state, role, number, false),
            Action::Dies(role, number) => {
                let mut attempt = state.attempts(role)[number];
                let call = self.next_call(role, &attempt);
                if call.acts() {
                    attempt.phase = Phase::Late(call);
                } else {
                    attempt.over();
                }
                state.put(role, number, attempt);
            }
            Action::KeyExpires => state.provider.remembered = None,
            Action::SearchCatchesUp => {
                state.provider.listed = state.provider.listed.saturating_add(1);
            }
            Action::Lapses(id) => state.provider.payments[id] = PaymentState::Voided,
            Action::Unwinds => state.order = Order::Unwinding,
            Action::Completes => state.order = Order::Completed,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        use PaymentState as S;
        vec![
            Property::always(ONE_CAPTURE, |_, state: &State| {
                state.provider.count(&[S::Captured, S::Refunded]) <= 1
            }),
            Property::always(NO_MONEY, |_, state: &State| {
                state.order != Order::Unwound || !state.holds_money()
            }),
            Property::always(NO_AUTHORISATION, |_, state: &State| {
                state.order != Order::Unwound || state.provider.count(&[S::Authorised]) == 0
            }),
            Property::always(PAID_ONCE, |_, state: &State| {
                !state.stands()
                    || (state.provider.count(&[S::Captured]) == 1
                        && state.provider.count(&[S::Authorised]) == 0)
            }),
            Property::always(RECORD_IS_TRUE, |_, state: &State| {
                let is_at_rest = state.stands() || state.order == Order::Unwound;
                let says_paid = state.record.status == PaymentStatus::Paid;
                !is_at_rest || says_paid == state.holds_money()
            }),
            Property::eventually(ENDS, |_, state: &State| {
                matches!(state.order, Order::Completed | Order::Unwound)
            }),
            Property::sometimes("an order is completed", |_, state: &State| {
                state.order == Order::Completed
            }),
            Property::sometimes("a captured payment is given back", |_, state: &State| {
                state.order == Order::Unwound && state.provider.payments.contains(&S::Refunded)
            }),
            Property::sometimes("an open payment is let go", |_, state: &State| {
                state.order == Order::Unwound && state.provider.payments.contains(&S::Voided)
            }),
            Property::sometimes("a late request arrives after the end", |_, state: &State| {
                let is_late = |attempt: &Attempt| matches!(attempt.phase, Phase::Late(_));
                state.order == Order::Unwound && state.charges.iter().any(is_late)
            }),
        ]
    }
}
