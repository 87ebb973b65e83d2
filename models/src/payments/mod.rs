//! Payments: a standing order is paid for once, and an unwound one keeps no money.
//!
//! [`domain::payment`] decides the next call, with the same functions that the activities use. The
//! provider forgets idempotency keys, and its search shows a payment some time after it was made;
//! queries by a payment's own id are consistent. Several attempts to authorise, to capture and to
//! undo both run concurrently; each may die between any two steps, and its last request may then
//! arrive at any later moment. The order may be unwound at any moment until it is completed. The
//! bank may ask the customer first, who approves or declines at any moment, before or after their
//! deadline.

mod one_call;

use domain::PaymentStatus;
use domain::payment::{
    self, BankAnswer, Call as Right, CustomerTime, KeyState, Known, PaymentState,
};
use stateright::{Model, Property};

/// No order is charged twice.
pub const ONE_CAPTURE: &str = "an order has at most one capture, whether given back or not";
/// An unwound order costs nothing.
pub const NO_MONEY: &str = "an unwound order keeps no money";
/// An unwound order blocks no money.
pub const NO_AUTHORISATION: &str = "an unwound order leaves no authorisation";
/// The payment of a standing order.
pub const PAID_ONCE: &str = "a standing order is captured exactly once, and holds nothing else";
/// The shop's record agrees with the provider's.
pub const RECORD_IS_TRUE: &str = "the record says paid exactly when the provider has the money";
/// No order is left half done.
pub const ENDS: &str = "the order is completed or unwound in the end";

/// A model of one order's payment.
#[derive(Clone, Copy, Debug)]
pub struct Payments {
    /// The number of authorisation attempts, concurrent or sequential.
    pub authorises: usize,
    /// The number of capture attempts.
    pub captures: usize,
    /// The number of attempts to undo both.
    pub closes: usize,
    /// The provider's behaviour.
    pub provider: Habits,
    /// The payment protocol.
    pub rules: Rules,
}

/// The provider's behaviour.
#[expect(clippy::struct_excessive_bools, reason = "each is a habit of its own")]
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// It forgets idempotency keys.
    pub forgets_keys: bool,
    /// Its search shows a payment only after a while.
    pub search_lags: bool,
    /// An authorisation may expire before it is captured.
    pub lets_lapse: bool,
    /// The bank may ask the customer first.
    pub asks_customer: bool,
}

impl Habits {
    /// Everything that real providers do, except asking the customer.
    pub const REAL: Self =
        Self { forgets_keys: true, search_lags: true, lets_lapse: true, asks_customer: false };
    /// The same, and the bank may ask the customer.
    pub const ASKING: Self = Self { asks_customer: true, ..Self::REAL };
    /// A provider that forgets nothing, and whose search does not lag.
    pub const IDEAL: Self =
        Self { forgets_keys: false, search_lags: false, lets_lapse: false, asks_customer: false };
}

/// The payment protocol: correct, or with one planted error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// In two phases, as in [`domain::payment`].
    TwoHalves,
    /// One call under the step's key makes and authorises a payment, and searches use the key.
    OneCall,
    /// The undo searches for the payment instead of looking it up by its id.
    UndoSearches,
    /// The payment's id is stored after the payment is authorised.
    StoredTooLate,
    /// The payment's id is stored whether or not there is a tombstone.
    StoredBlindly,
    /// The undo reads the payment's id before it leaves its tombstone.
    ReadTooEarly,
    /// The undo leaves a declined payment open.
    DeclinedIsLeftOpen,
    /// The undo leaves a payment open that awaits the customer.
    AwaitingIsLeftOpen,
    /// The undo trusts the shop's own record of the payment instead of asking the provider.
    RecordIsBelieved,
}

/// The state of the order, as far as its payment is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// The authorisation has no answer yet.
    Authorising,
    /// The payment is authorised, and the capture has no answer yet.
    Capturing,
    /// The payment is captured.
    Standing,
    /// It can no longer be unwound.
    Completed,
    /// It is being unwound.
    Unwinding,
    /// It is undone.
    Unwound,
}

type Id = usize;

/// The record under a step's key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Step {
    /// The answer, if there is one: done or refused.
    answer: Option<bool>,
    is_undone: bool,
}

/// The record of the payment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Record {
    authorise: Step,
    capture: Step,
    payment: Option<Id>,
    status: PaymentStatus,
    /// What the customer was given time for.
    given_for: Option<PaymentState>,
    /// Whether their deadline has passed, by the record's clock.
    is_over: bool,
}

/// The provider's state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Provider {
    payments: Vec<PaymentState>,
    /// The payment under the shop's idempotency key, unless forgotten.
    remembered: Option<Id>,
    /// How many payments its search shows.
    listed: usize,
}

/// The state of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Phase {
    Alive,
    /// Its worker has died; the request is still in flight.
    Late(Call),
    Over,
}

/// An attempt, and what it knows.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Attempt {
    phase: Phase,
    key: Option<KeyState>,
    payment: Known,
    time: CustomerTime,
    id: Option<Id>,
    is_stored: bool,
    has_looked_again: bool,
    has_searched: bool,
    has_left_tombstone: bool,
    /// For an undo: whether it has undone the capture, and continues with the authorisation.
    has_closed_capture: bool,
}

/// The next call of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Call {
    By(Right),
    /// Makes a payment and authorises it, in one call.
    AuthoriseByKey,
    /// Reads the key's record between authorisation and capture.
    LookAgain,
    /// Asks the provider's search.
    Search,
}

/// The state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    order: Order,
    record: Record,
    provider: Provider,
    authorises: Vec<Attempt>,
    captures: Vec<Attempt>,
    closes: Vec<Attempt>,
}

/// The kind of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An authorisation attempt.
    Authorise,
    /// A capture attempt.
    Capture,
    /// An attempt to undo the capture, and then the authorisation.
    Close,
}

const ROLES: [Role; 3] = [Role::Authorise, Role::Capture, Role::Close];

/// A transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// An attempt takes its next step, or its late request arrives. If the bank is asked, it
    /// approves.
    Goes(Role, usize),
    /// The same, but the bank declines.
    IsDeclined(Role, usize),
    /// The same, but the bank asks the customer.
    AsksCustomer(Role, usize),
    /// The customer approves an awaiting payment, or has it declined.
    CustomerActs(usize, bool),
    /// The customer's deadline passes.
    TimeIsOver,
    /// An attempt's worker dies.
    Dies(Role, usize),
    /// The provider forgets the shop's key.
    KeyExpires,
    /// The provider's search shows one more payment.
    SearchCatchesUp,
    /// An authorisation expires.
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
        payment: Known::Nothing,
        time: CustomerTime { given_for: None, is_over: false, may_replace: false },
        id: None,
        is_stored: false,
        has_looked_again: false,
        has_searched: false,
        has_left_tombstone: false,
        has_closed_capture: false,
    };

    /// The step whose key it uses.
    const fn step(self, role: Role) -> Role {
        match (role, self.has_closed_capture) {
            (Role::Authorise, _) | (Role::Close, true) => Role::Authorise,
            (Role::Capture, _) | (Role::Close, false) => Role::Capture,
        }
    }

    /// Reads the record. A capture assumes that it is up to date, and is corrected by the provider.
    fn learn(&mut self, role: Role, record: &Record) {
        self.key = Some(record.step(self.step(role)).key());
        self.time.given_for = record.given_for;
        self.time.is_over = record.is_over;
        if record.payment.is_some() && self.id != record.payment {
            (self.id, self.payment) = (record.payment, Known::Unasked);
            if role == Role::Capture && record.authorise.answer == Some(true) {
                self.payment = Known::Is(PaymentState::Authorised);
            }
        }
        self.is_stored = record.payment.is_some();
    }

    fn over(&mut self) {
        *self = Self { phase: Phase::Over, ..Self::NEW };
    }
}

impl Call {
    /// Whether it changes anything at its destination.
    const fn acts(self) -> bool {
        !matches!(
            self,
            Self::LookAgain
                | Self::Search
                | Self::By(Right::Read | Right::LookUp | Right::Wait | Right::Finish)
        )
    }

    /// Whether the bank decides.
    const fn asks_the_bank(self) -> bool {
        matches!(self, Self::AuthoriseByKey | Self::By(Right::Authorise))
    }
}

impl Step {
    const fn key(self) -> KeyState {
        KeyState { is_answered: self.answer.is_some(), is_undone: self.is_undone }
    }

    fn is_open(self) -> bool {
        self == Self::default()
    }
}

impl Record {
    const fn step(&self, role: Role) -> Step {
        match role {
            Role::Authorise => self.authorise,
            Role::Capture | Role::Close => self.capture,
        }
    }

    const fn step_mut(&mut self, role: Role) -> &mut Step {
        match role {
            Role::Authorise => &mut self.authorise,
            Role::Capture | Role::Close => &mut self.capture,
        }
    }

    /// The payment's state according to the record alone.
    const fn believed(&self) -> Known {
        match (self.payment, self.capture.answer, self.authorise.answer) {
            (Some(_), Some(true), _) => Known::Is(PaymentState::Captured),
            (Some(_), _, Some(true)) => Known::Is(PaymentState::Authorised),
            (None | Some(_), _, _) => Known::Nothing,
        }
    }

    fn wait(&mut self) {
        if self.authorise.is_open() {
            self.given_for = Some(PaymentState::AwaitingCustomer);
            self.status = payment::recorded(self.status, PaymentState::AwaitingCustomer);
        }
    }

    fn answer(&mut self, role: Role, is_done: bool) {
        if !self.step(role).is_open() {
            return;
        }
        self.step_mut(role).answer = Some(is_done);
        let payment = match (role, is_done) {
            (Role::Authorise, true) => PaymentState::Authorised,
            (Role::Authorise, false) => PaymentState::Declined,
            (Role::Capture | Role::Close, true) => PaymentState::Captured,
            (Role::Capture | Role::Close, false) => PaymentState::Voided,
        };
        self.status = payment::recorded(self.status, payment);
    }
}

impl Payments {
    fn next_call(&self, role: Role, attempt: &Attempt) -> Call {
        if let Phase::Late(call) = attempt.phase {
            return call;
        }
        let Attempt { key, payment, time, is_stored, has_left_tombstone, has_searched, .. } =
            *attempt;
        let right = match role {
            Role::Authorise => payment::authorise(key, payment, time),
            Role::Capture => payment::capture(key, payment),
            Role::Close => payment::close(has_left_tombstone, key, payment),
        };
        let is_open = key == Some(KeyState::default());
        match (self.rules, role) {
            (Rules::OneCall, role) => one_call::next(role, attempt),
            (Rules::UndoSearches, Role::Close) if has_left_tombstone && !has_searched => {
                Call::Search
            }
            (Rules::StoredTooLate, Role::Authorise) if is_open && payment == Known::Fresh => {
                Call::By(Right::Authorise)
            }
            (Rules::StoredTooLate, Role::Authorise)
                if is_open && !is_stored && matches!(payment, Known::Is(_)) =>
            {
                Call::By(Right::Store)
            }
            (Rules::ReadTooEarly, Role::Close) if key.is_none() => Call::By(Right::Read),
            (Rules::DeclinedIsLeftOpen, Role::Close)
                if has_left_tombstone && payment == Known::Is(PaymentState::Declined) =>
            {
                Call::By(Right::Finish)
            }
            (Rules::AwaitingIsLeftOpen, Role::Close)
                if has_left_tombstone && payment == Known::Is(PaymentState::AwaitingCustomer) =>
            {
                Call::By(Right::Finish)
            }
            _ => Call::By(right),
        }
    }

    /// The attempt's next call takes effect at its destination, and the attempt receives the
    /// answer.
    fn carry_out(
        &self,
        state: &mut State,
        role: Role,
        attempt: &mut Attempt,
        call: Call,
        bank: BankAnswer,
    ) {
        let State { record, provider, .. } = state;
        match call {
            Call::By(Right::Read) => {
                attempt.learn(role, record);
                if self.rules == Rules::RecordIsBelieved && role == Role::Close {
                    attempt.payment = record.believed();
                }
            }
            Call::LookAgain => {
                attempt.key = Some(record.step(attempt.step(role)).key());
                attempt.has_looked_again = true;
            }
            Call::By(Right::Open) => {
                attempt.id = Some(provider.make(PaymentState::Opened, self.provider));
                attempt.payment = Known::Fresh;
            }
            Call::AuthoriseByKey => {
                let id = provider.make(one_call::made_by(bank), self.provider);
                attempt.id = Some(id);
                attempt.payment = Known::Is(provider.replayed(id));
            }
            Call::Search => {
                attempt.has_searched = true;
                attempt.key = Some(record.step(attempt.step(role)).key());
                attempt.id = provider.listed.checked_sub(1);
                let found = attempt.id.map(|id| provider.payments[id]);
                attempt.payment = found.map_or(Known::Nothing, Known::Is);
            }
            Call::By(Right::LookUp) => {
                let found = attempt.id.map(|id| provider.payments[id]);
                attempt.payment = found.map_or(Known::Nothing, Known::Is);
            }
            Call::By(call @ (Right::Authorise | Right::Capture | Right::Void | Right::Refund)) => {
                attempt.payment = provider.asked(attempt.id, call, bank);
            }
            Call::By(Right::Store) => self.store(record, attempt),
            Call::By(done @ (Right::RecordDone | Right::RecordRefusal)) => {
                record.answer(role, done == Right::RecordDone);
                attempt.learn(role, record);
            }
            Call::By(Right::RecordWait) => {
                record.wait();
                attempt.learn(role, record);
            }
            // When asked again, it starts by reading.
            Call::By(Right::Wait) => *attempt = Attempt::NEW,
            Call::By(Right::LeaveTombstone) => {
                record.step_mut(attempt.step(role)).is_undone = true;
                attempt.has_left_tombstone = true;
            }
            Call::By(Right::RecordReturn) => {
                if let Known::Is(payment) = attempt.payment {
                    record.status = payment::recorded(record.status, payment);
                }
                attempt.payment = Known::Nothing;
            }
            Call::By(Right::Finish) => {}
        }
    }

    fn store(&self, record: &mut Record, attempt: &mut Attempt) {
        let may_store = record.authorise.is_open() || self.rules == Rules::StoredBlindly;
        if record.payment.is_none() && may_store {
            record.payment = attempt.id;
        }
        let key = attempt.key;
        attempt.learn(Role::Authorise, record);
        if self.rules == Rules::StoredBlindly {
            attempt.key = key;
        }
        if attempt.payment == Known::Fresh {
            attempt.payment = Known::Is(PaymentState::Opened);
        }
    }

    /// Whether the attempt is over, and not only the first half of an undo.
    fn finish(state: &mut State, role: Role, attempt: &mut Attempt) -> bool {
        let Step { answer, is_undone } = state.record.step(attempt.step(role));
        let answer = answer.filter(|_| !is_undone);
        if role == Role::Close && !attempt.has_closed_capture {
            *attempt = Attempt { has_closed_capture: true, ..Attempt::NEW };
            return false;
        }
        state.order = match (role, state.order, answer) {
            (Role::Authorise, Order::Authorising, Some(true)) => Order::Capturing,
            (Role::Capture, Order::Capturing, Some(true)) => Order::Standing,
            (Role::Authorise, Order::Authorising, Some(false))
            | (Role::Capture, Order::Capturing, Some(false)) => Order::Unwinding,
            (Role::Close, Order::Unwinding, _) => Order::Unwound,
            (Role::Authorise | Role::Capture | Role::Close, order, _) => order,
        };
        true
    }

    fn step(&self, state: &mut State, role: Role, number: usize, bank: BankAnswer) {
        let mut attempt = state.attempts(role)[number];
        let call = self.next_call(role, &attempt);
        self.carry_out(state, role, &mut attempt, call, bank);
        let is_late = attempt.phase != Phase::Alive;
        let is_finished = call == Call::By(Right::Finish);
        if is_late || (is_finished && Self::finish(state, role, &mut attempt)) {
            attempt.over();
        }
        state.put(role, number, attempt);
    }

    fn actions_of(&self, role: Role, state: &State, actions: &mut Vec<Action>) {
        let attempts = state.attempts(role);
        let is_unwinding = matches!(state.order, Order::Unwinding | Order::Unwound);
        let has_come_so_far = match role {
            Role::Authorise => true,
            Role::Capture => state.record.authorise.answer == Some(true),
            Role::Close => is_unwinding,
        };
        if !has_come_so_far {
            return;
        }
        let alive = attempts.iter().filter(|attempt| attempt.phase == Phase::Alive).count();
        // An undo never gives up: if its worker dies, another attempt follows.
        let may_die = role != Role::Close || alive > 1 || state.order == Order::Unwound;
        for (number, attempt) in attempts.iter().enumerate() {
            let is_twin = number.checked_sub(1).is_some_and(|before| attempts[before] == *attempt);
            if attempt.phase == Phase::Over || is_twin {
                continue;
            }
            let call = self.next_call(role, attempt);
            if call != Call::By(Right::Wait) || state.has_news_for(attempt) {
                actions.push(Action::Goes(role, number));
            }
            if call.asks_the_bank() {
                actions.push(Action::IsDeclined(role, number));
                if self.provider.asks_customer {
                    actions.push(Action::AsksCustomer(role, number));
                }
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

    /// The answer to a repeated request under a key: the first one's.
    fn replayed(&self, id: Id) -> PaymentState {
        match self.payments[id] {
            PaymentState::Declined => PaymentState::Declined,
            PaymentState::Opened
            | PaymentState::AwaitingCustomer
            | PaymentState::Authorised
            | PaymentState::Captured
            | PaymentState::Voided
            | PaymentState::Refunded => PaymentState::Authorised,
        }
    }

    fn asked(&mut self, id: Option<Id>, call: Right, bank: BankAnswer) -> Known {
        let Some(payment) = id.and_then(|id| self.payments.get_mut(id)) else {
            return Known::Nothing;
        };
        match payment::at_the_provider(call, bank, *payment) {
            Some(next) => {
                *payment = next;
                Known::Is(next)
            }
            None => Known::Unasked,
        }
    }

    fn count(&self, which: &[PaymentState]) -> usize {
        self.payments.iter().filter(|payment| which.contains(payment)).count()
    }
}

impl State {
    fn attempts(&self, role: Role) -> &[Attempt] {
        match role {
            Role::Authorise => &self.authorises,
            Role::Capture => &self.captures,
            Role::Close => &self.closes,
        }
    }

    /// Attempts of one kind are interchangeable, so they are kept sorted (symmetry reduction).
    fn put(&mut self, role: Role, number: usize, attempt: Attempt) {
        let attempts = match role {
            Role::Authorise => &mut self.authorises,
            Role::Capture => &mut self.captures,
            Role::Close => &mut self.closes,
        };
        attempts[number] = attempt;
        attempts.sort_unstable();
    }

    /// Whether an attempt that waits for the customer would find a change: their deadline has
    /// passed, or they have acted.
    fn has_news_for(&self, attempt: &Attempt) -> bool {
        let now = attempt.id.map(|id| self.provider.payments[id]);
        self.record.is_over != attempt.time.is_over || now != Some(PaymentState::AwaitingCustomer)
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
        let provider = Provider { payments: Vec::new(), remembered: None, listed: 0 };
        vec![State {
            order: Order::Authorising,
            record: Record::default(),
            provider,
            authorises: vec![Attempt::NEW; self.authorises],
            captures: vec![Attempt::NEW; self.captures],
            closes: vec![Attempt::NEW; self.closes],
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for role in ROLES {
            self.actions_of(role, state, actions);
        }
        match state.order {
            Order::Authorising | Order::Capturing => actions.push(Action::Unwinds),
            Order::Standing => actions.extend([Action::Unwinds, Action::Completes]),
            Order::Completed | Order::Unwinding | Order::Unwound => {}
        }
        if self.provider.forgets_keys && state.provider.remembered.is_some() {
            actions.push(Action::KeyExpires);
        }
        if state.provider.listed < state.provider.payments.len() {
            actions.push(Action::SearchCatchesUp);
        }
        if state.record.given_for.is_some() && !state.record.is_over {
            actions.push(Action::TimeIsOver);
        }
        let awaiting = state.provider.payments.iter().enumerate();
        let awaiting = awaiting.filter(|(_, payment)| **payment == PaymentState::AwaitingCustomer);
        actions.extend(
            awaiting.flat_map(|(id, _)| {
                [Action::CustomerActs(id, true), Action::CustomerActs(id, false)]
            }),
        );
        if self.provider.lets_lapse {
            let held = state.provider.payments.iter().enumerate();
            let held = held.filter(|(_, payment)| **payment == PaymentState::Authorised);
            actions.extend(held.map(|(id, _)| Action::Lapses(id)));
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Goes(role, number) => {
                self.step(&mut state, role, number, BankAnswer::Approved);
            }
            Action::IsDeclined(role, number) => {
                self.step(&mut state, role, number, BankAnswer::Declined);
            }
            Action::AsksCustomer(role, number) => {
                self.step(&mut state, role, number, BankAnswer::AsksCustomer);
            }
            Action::CustomerActs(id, approves) => {
                state.provider.payments[id] =
                    if approves { PaymentState::Authorised } else { PaymentState::Declined };
            }
            Action::TimeIsOver => state.record.is_over = true,
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
        let mut properties = vec![
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
                state.order == Order::Unwound && state.captures.iter().any(is_late)
            }),
        ];
        if self.provider.asks_customer {
            properties.push(Property::sometimes(
                "an order is completed although its customer's time is over by then",
                |_, state: &State| state.order == Order::Completed && state.record.is_over,
            ));
            properties.push(Property::sometimes(
                "an order is unwound whose customer did nothing in time",
                |_, state: &State| {
                    state.order == Order::Unwound
                        && state.record.is_over
                        && state.provider.payments == [S::Voided]
                },
            ));
        }
        properties
    }
}
