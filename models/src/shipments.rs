//! Shipments: a standing order has one parcel, and one that is unwound or refused has none.
//!
//! [`domain::shipment`] decides the next call, with the same functions that the activities use. The
//! carrier forgets references, and the reservation of the goods may expire. Several attempts to
//! ship and to undo that run concurrently; each may die between any two steps, and its last request
//! may then arrive at any later moment. The order may be unwound at any moment until it is
//! completed.

use domain::payment::KeyState;
use domain::shipment::{self, Call, Known, ShipmentState};
use stateright::{Model, Property};

/// An unwound order ships nothing.
pub const NO_PARCEL: &str = "an unwound order has no parcel, now or ever";
/// A refusal is true.
pub const NONE_REFUSED: &str = "a step that is refused has no parcel, now or ever";
/// The parcel of a standing order.
pub const ONE_PARCEL: &str = "a standing order has exactly one parcel";
/// Goods leave the stock together with the parcel.
pub const GOODS_GO_ALONG: &str = "goods are sold exactly if their order stands";
/// No order is left half done.
pub const ENDS: &str = "the order is completed or unwound in the end";

/// A model of one order's parcel.
#[derive(Clone, Copy, Debug)]
pub struct Shipments {
    /// The number of shipping attempts, concurrent or sequential.
    pub ships: usize,
    /// The number of undo attempts.
    pub cancels: usize,
    /// The shipment protocol.
    pub rules: Rules,
}

/// The shipment protocol: correct, or with one planted error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// In two phases, as in [`domain::shipment`].
    TwoHalves,
    /// The shipment's id is stored after its label was bought.
    StoredTooLate,
    /// The shipment's id is stored whether or not there is a tombstone.
    StoredBlindly,
    /// The undo reads the shipment's id before it leaves its tombstone.
    ReadTooEarly,
    /// The undo leaves a draft open.
    DraftIsLeftOpen,
    /// A step is refused although another attempt has stored a shipment's id meanwhile.
    RefusedOverBegun,
    /// A step is refused before its shipment is cancelled.
    RefusedBeforeCancelled,
}

/// The state of the order, as far as its parcel is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Order {
    /// Shipping has no answer yet.
    Forward,
    /// The parcel is handed over.
    Standing,
    /// It can no longer be unwound.
    Completed,
    /// It is being unwound.
    Unwinding,
    /// It is undone.
    Unwound,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Goods {
    Held,
    Sold,
    /// Their reservation has expired.
    Gone,
}

type Id = usize;

/// The record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Record {
    /// The step's answer, if there is one: done or refused.
    answer: Option<bool>,
    is_undone: bool,
    shipment: Option<Id>,
    goods: Goods,
}

/// The carrier's state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Carrier {
    shipments: Vec<ShipmentState>,
    /// The shipment under the shop's reference, unless forgotten.
    remembered: Option<Id>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Attempt {
    phase: Phase,
    key: Option<KeyState>,
    is_refused: bool,
    shipment: Known,
    id: Option<Id>,
    is_stored: bool,
    has_left_tombstone: bool,
}

/// The state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    order: Order,
    record: Record,
    carrier: Carrier,
    ships: Vec<Attempt>,
    cancels: Vec<Attempt>,
}

/// The kind of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A shipping attempt.
    Ship,
    /// An undo attempt.
    Cancel,
}

const ROLES: [Role; 2] = [Role::Ship, Role::Cancel];

/// A transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// An attempt takes its next step, or its late request arrives.
    Goes(Role, usize),
    /// An attempt's worker dies.
    Dies(Role, usize),
    /// The carrier forgets the shop's reference.
    ReferenceExpires,
    /// The reservation of the goods expires.
    GoodsExpire,
    /// The order is unwound from now on.
    Unwinds,
    /// The order is completed.
    Completes,
}

impl Attempt {
    const NEW: Self = Self {
        phase: Phase::Alive,
        key: None,
        is_refused: false,
        shipment: Known::Nothing,
        id: None,
        is_stored: false,
        has_left_tombstone: false,
    };

    /// Reads the record.
    fn learn(&mut self, record: &Record) {
        let (is_answered, is_undone) = (record.answer.is_some(), record.is_undone);
        self.key = Some(KeyState { is_answered, is_undone });
        self.is_refused |= record.goods != Goods::Held;
        self.id = record.shipment;
        self.shipment = if self.id.is_some() { Known::Unasked } else { Known::Nothing };
        self.is_stored = self.id.is_some();
    }

    fn over(&mut self) {
        *self = Self { phase: Phase::Over, ..Self::NEW };
    }
}

impl Record {
    const fn is_open(&self) -> bool {
        self.answer.is_none() && !self.is_undone
    }
}

impl Carrier {
    /// Drafts a shipment, unless the reference is remembered.
    fn draft(&mut self) -> Id {
        if let Some(known) = self.remembered {
            return known;
        }
        let id = self.shipments.len();
        self.shipments.push(ShipmentState::Drafted);
        self.remembered = Some(id);
        id
    }

    fn asked(&mut self, id: Option<Id>, call: Call) -> Known {
        let Some(shipment) = id.and_then(|id| self.shipments.get_mut(id)) else {
            return Known::Nothing;
        };
        match shipment::at_the_carrier(call, *shipment) {
            Some(next) => {
                *shipment = next;
                Known::Is(next)
            }
            None => Known::Unasked,
        }
    }

    fn parcels(&self) -> usize {
        let purchased = |shipment: &&ShipmentState| **shipment == ShipmentState::Purchased;
        self.shipments.iter().filter(purchased).count()
    }
}

/// Whether a call changes anything at its destination.
const fn acts(call: Call) -> bool {
    !matches!(call, Call::Read | Call::LookUp | Call::Finish)
}

impl Shipments {
    fn next_call(&self, role: Role, attempt: &Attempt) -> Call {
        if let Phase::Late(call) = attempt.phase {
            return call;
        }
        let Attempt { key, is_refused, shipment, is_stored, has_left_tombstone, .. } = *attempt;
        let is_open = key == Some(KeyState::default());
        match (self.rules, role) {
            (Rules::StoredTooLate, Role::Ship) if is_open && shipment == Known::Fresh => {
                Call::Purchase
            }
            (Rules::StoredTooLate, Role::Ship)
                if is_open && !is_stored && matches!(shipment, Known::Is(_)) =>
            {
                Call::Store
            }
            (Rules::RefusedBeforeCancelled, Role::Ship)
                if is_open && is_refused && matches!(shipment, Known::Is(_)) =>
            {
                Call::RecordRefusal
            }
            (Rules::ReadTooEarly, Role::Cancel) if key.is_none() => Call::Read,
            (Rules::DraftIsLeftOpen, Role::Cancel)
                if has_left_tombstone && shipment == Known::Is(ShipmentState::Drafted) =>
            {
                Call::Finish
            }
            (_, Role::Ship) => shipment::ship(key, is_refused, shipment),
            (_, Role::Cancel) => shipment::cancel(has_left_tombstone, key, shipment),
        }
    }

    /// The attempt's next call takes effect at its destination, and the attempt receives the
    /// answer.
    fn carry_out(&self, state: &mut State, attempt: &mut Attempt, call: Call) {
        let State { record, carrier, .. } = state;
        match call {
            Call::Read => attempt.learn(record),
            Call::Draft => {
                attempt.id = Some(carrier.draft());
                attempt.shipment = Known::Fresh;
            }
            Call::Store => self.store(record, attempt),
            Call::LookUp => {
                let found = attempt.id.and_then(|id| carrier.shipments.get(id).copied());
                attempt.shipment = found.map_or(Known::Nothing, Known::Is);
            }
            Call::Purchase | Call::Cancel => attempt.shipment = carrier.asked(attempt.id, call),
            Call::RecordDone => {
                if record.is_open() && record.goods == Goods::Held {
                    (record.answer, record.goods) = (Some(true), Goods::Sold);
                }
                attempt.learn(record);
            }
            Call::RecordRefusal => {
                let is_overlooked = attempt.id.is_none() && record.shipment.is_some();
                let may_refuse = !is_overlooked || self.rules == Rules::RefusedOverBegun;
                if record.is_open() && may_refuse {
                    record.answer = Some(false);
                }
                attempt.learn(record);
            }
            Call::LeaveTombstone => {
                record.is_undone = true;
                attempt.has_left_tombstone = true;
            }
            Call::RecordCancel => {
                if record.goods == Goods::Sold {
                    record.goods = Goods::Held;
                }
                attempt.shipment = Known::Nothing;
            }
            Call::Finish => {}
        }
    }

    fn store(&self, record: &mut Record, attempt: &mut Attempt) {
        let may_store = record.is_open() || self.rules == Rules::StoredBlindly;
        if record.shipment.is_some() || !may_store {
            attempt.learn(record);
            return;
        }
        record.shipment = attempt.id;
        attempt.is_stored = true;
        if attempt.shipment == Known::Fresh {
            attempt.shipment = Known::Is(ShipmentState::Drafted);
        }
    }

    fn finish(state: &mut State, role: Role) {
        let Record { answer, is_undone, .. } = state.record;
        state.order = match (role, state.order, answer) {
            (Role::Ship, Order::Forward, Some(true)) if !is_undone => Order::Standing,
            (Role::Ship, Order::Forward, Some(false)) => Order::Unwinding,
            (Role::Cancel, Order::Unwinding, _) => Order::Unwound,
            (Role::Ship | Role::Cancel, order, _) => order,
        };
    }

    fn step(&self, state: &mut State, role: Role, number: usize) {
        let mut attempt = state.attempts(role)[number];
        let call = self.next_call(role, &attempt);
        self.carry_out(state, &mut attempt, call);
        let is_late = attempt.phase != Phase::Alive;
        if !is_late && call == Call::Finish {
            Self::finish(state, role);
        }
        if is_late || call == Call::Finish {
            attempt.over();
        }
        state.put(role, number, attempt);
    }

    fn actions_of(role: Role, state: &State, actions: &mut Vec<Action>) {
        let is_unwinding = matches!(state.order, Order::Unwinding | Order::Unwound);
        if role == Role::Cancel && !is_unwinding {
            return;
        }
        let attempts = state.attempts(role);
        let alive = attempts.iter().filter(|attempt| attempt.phase == Phase::Alive).count();
        // An undo never gives up: if its worker dies, another attempt follows.
        let may_die = role == Role::Ship || alive > 1 || state.order == Order::Unwound;
        for (number, attempt) in attempts.iter().enumerate() {
            let is_twin = number.checked_sub(1).is_some_and(|before| attempts[before] == *attempt);
            if attempt.phase == Phase::Over || is_twin {
                continue;
            }
            actions.push(Action::Goes(role, number));
            if attempt.phase == Phase::Alive && may_die {
                actions.push(Action::Dies(role, number));
            }
        }
    }
}

impl State {
    fn attempts(&self, role: Role) -> &[Attempt] {
        match role {
            Role::Ship => &self.ships,
            Role::Cancel => &self.cancels,
        }
    }

    /// Attempts of one kind are interchangeable, so they are kept sorted (symmetry reduction).
    fn put(&mut self, role: Role, number: usize, attempt: Attempt) {
        let attempts = match role {
            Role::Ship => &mut self.ships,
            Role::Cancel => &mut self.cancels,
        };
        attempts[number] = attempt;
        attempts.sort_unstable();
    }

    fn stands(&self) -> bool {
        matches!(self.order, Order::Standing | Order::Completed)
    }
}

impl Model for Shipments {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            order: Order::Forward,
            record: Record { answer: None, is_undone: false, shipment: None, goods: Goods::Held },
            carrier: Carrier { shipments: Vec::new(), remembered: None },
            ships: vec![Attempt::NEW; self.ships],
            cancels: vec![Attempt::NEW; self.cancels],
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for role in ROLES {
            Self::actions_of(role, state, actions);
        }
        match state.order {
            Order::Forward => actions.push(Action::Unwinds),
            Order::Standing => actions.extend([Action::Unwinds, Action::Completes]),
            Order::Completed | Order::Unwinding | Order::Unwound => {}
        }
        if state.carrier.remembered.is_some() {
            actions.push(Action::ReferenceExpires);
        }
        if state.record.goods == Goods::Held {
            actions.push(Action::GoodsExpire);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Goes(role, number) => self.step(&mut state, role, number),
            Action::Dies(role, number) => {
                let mut attempt = state.attempts(role)[number];
                let call = self.next_call(role, &attempt);
                if acts(call) {
                    attempt.phase = Phase::Late(call);
                } else {
                    attempt.over();
                }
                state.put(role, number, attempt);
            }
            Action::ReferenceExpires => state.carrier.remembered = None,
            Action::GoodsExpire => state.record.goods = Goods::Gone,
            Action::Unwinds => state.order = Order::Unwinding,
            Action::Completes => state.order = Order::Completed,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NO_PARCEL, |_, state: &State| {
                state.order != Order::Unwound || state.carrier.parcels() == 0
            }),
            Property::always(NONE_REFUSED, |_, state: &State| {
                state.record.answer != Some(false) || state.carrier.parcels() == 0
            }),
            Property::always(ONE_PARCEL, |_, state: &State| {
                !state.stands() || state.carrier.parcels() == 1
            }),
            Property::always(GOODS_GO_ALONG, |_, state: &State| {
                let is_at_rest = state.stands() || state.order == Order::Unwound;
                !is_at_rest || (state.record.goods == Goods::Sold) == state.stands()
            }),
            Property::eventually(ENDS, |_, state: &State| {
                matches!(state.order, Order::Completed | Order::Unwound)
            }),
            Property::sometimes("an order is completed", |_, state: &State| {
                state.order == Order::Completed
            }),
            Property::sometimes("a step is refused", |_, state: &State| {
                state.record.answer == Some(false)
            }),
            Property::sometimes("a shipment is drafted twice", |_, state: &State| {
                state.carrier.shipments.len() > 1
            }),
            Property::sometimes("a purchase arrives after the end", |_, state: &State| {
                let is_late = |attempt: &Attempt| attempt.phase == Phase::Late(Call::Purchase);
                state.order == Order::Unwound && state.ships.iter().any(is_late)
            }),
        ]
    }
}
