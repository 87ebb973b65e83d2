//! The outbox and a sink: every message reaches it, and an order's messages in their order, although
//! messages commit late, and a process that was taken for dead goes on.
//!
//! An order has two messages, the second written once the first is committed, and another order has
//! one. Two processes share one shard by a lease. The lease may run out at any moment, whatever its
//! process is doing, and a process may die at any moment.

use stateright::{Model, Property};

/// The first sightings of an order's messages.
pub const IN_ORDER: &str = "an order's messages are first told in their order, without a gap";
/// What is on record of the sink.
pub const HAD_IS_TOLD: &str = "what the sink has had by the record, it was told";
/// Nothing is left.
pub const ALL_TOLD: &str = "every message is told in the end";

/// The messages: each one's order, and its number there.
const MESSAGES: [(usize, u8); 3] = [(0, 1), (0, 2), (1, 1)];

/// A model of one shard of one sink.
#[derive(Clone, Copy, Debug)]
pub struct Delivering {
    /// How many messages are read at once.
    pub page: usize,
    /// How often a lease runs out that nobody has given back.
    pub lapses: u8,
    /// How often a process dies.
    pub deaths: u8,
    /// How the relay goes about it.
    pub rules: Rules,
}

/// How the relay goes about it: rightly, or with one error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// It remembers a snapshot, and what it records counts only under the lease that it was read under.
    Right,
    /// It remembers the last position.
    ByPosition,
    /// Once a backlog is worked through, it takes the newest snapshot for the one that it began with.
    NewestSnapshot,
    /// What it records counts whoever has the lease.
    NoFence,
    /// What it records counts if it has a lease, be it another one.
    FenceByName,
    /// It records a batch, and then delivers it.
    RecordsFirst,
}

/// Which messages are committed.
type Snapshot = [bool; 3];

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Written {
    Not,
    /// It has its position, and nobody sees it yet.
    Open(u8),
    Committed(u8),
}

impl Written {
    const fn position(self) -> u8 {
        match self {
            Self::Not => 0,
            Self::Open(position) | Self::Committed(position) => position,
        }
    }
}

/// What a process has read and not recorded yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Batch {
    lease: u8,
    snapshot: Snapshot,
    is_full: bool,
    messages: Vec<usize>,
    delivered: usize,
}

/// A process, and the lease that it believes to have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Process {
    lease: u8,
    batch: Option<Batch>,
}

/// All there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    written: [Written; 3],
    /// The sink has had what this snapshot sees.
    seen: Snapshot,
    /// It works through what this one sees, and has had that up to a position.
    reading: Option<Snapshot>,
    after: u8,
    owner: Option<usize>,
    lease: u8,
    processes: [Process; 2],
    lapses: u8,
    deaths: u8,
    /// Of each order, the last number that was told.
    told: [u8; 2],
    is_out_of_order: bool,
    /// A process that had lost its lease has recorded in vain.
    was_fenced: bool,
    /// A message was told after one with a higher position.
    was_late: bool,
    highest_told: u8,
}

/// What may happen. Processes and messages go by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A message gets its position, in a transaction of its own.
    Write(usize),
    /// That transaction commits.
    Commit(usize),
    /// The lease runs out.
    Lapse,
    /// A process takes the lease.
    Take(usize),
    /// A process dies; it begins anew with nothing in its memory.
    Die(usize),
    /// A process reads the next messages.
    Read(usize),
    /// It delivers the next one of what it has read.
    Deliver(usize),
    /// It puts on record what it has delivered.
    Record(usize),
}

impl State {
    fn committed(&self) -> Snapshot {
        self.written.map(|written| matches!(written, Written::Committed(_)))
    }

    fn position(&self, message: usize) -> u8 {
        self.written[message].position()
    }

    /// Whether the record says that the sink has had a message.
    fn has_had(&self, rules: Rules, message: usize) -> bool {
        let is_before = self.position(message) <= self.after;
        if rules == Rules::ByPosition {
            return is_before;
        }
        let is_read = self.reading.is_some_and(|reading| reading[message]);
        self.seen[message] || (is_read && is_before)
    }

    /// What is next to be delivered, in order of position.
    fn next(&self, rules: Rules) -> Vec<usize> {
        let sees = match self.reading {
            Some(reading) if rules != Rules::ByPosition => reading,
            Some(_) | None => self.committed(),
        };
        let is_next = |message: &usize| sees[*message] && !self.has_had(rules, *message);
        let mut next: Vec<_> = (0..MESSAGES.len()).filter(is_next).collect();
        next.sort_unstable_by_key(|message| self.position(*message));
        next
    }

    fn tell(&mut self, message: usize) {
        let (order, number) = MESSAGES[message];
        let last = self.told[order];
        if number > last {
            self.is_out_of_order |= number > last.saturating_add(1);
            self.told[order] = number;
            let position = self.position(message);
            self.was_late |= position < self.highest_told;
            self.highest_told = self.highest_told.max(position);
        }
    }

    fn is_told(&self, message: usize) -> bool {
        let (order, number) = MESSAGES[message];
        self.told[order] >= number
    }

    /// Puts on record that a batch was had.
    fn record(&mut self, rules: Rules, process: usize, batch: &Batch) {
        let is_owner = self.owner == Some(process);
        let counts = match rules {
            Rules::NoFence => true,
            Rules::FenceByName => is_owner,
            Rules::Right | Rules::ByPosition | Rules::NewestSnapshot | Rules::RecordsFirst => {
                is_owner && self.lease == batch.lease
            }
        };
        if !counts {
            self.was_fenced = true;
            return;
        }
        let last = batch.messages.last().map_or(0, |last| self.position(*last));
        let began_with = self.reading.unwrap_or(batch.snapshot);
        if rules == Rules::ByPosition {
            self.after = self.after.max(last);
        } else if batch.is_full {
            self.reading = Some(began_with);
            self.after = self.after.max(last);
        } else {
            let is_newest = rules == Rules::NewestSnapshot;
            self.seen = if is_newest { batch.snapshot } else { began_with };
            self.reading = None;
            self.after = 0;
        }
    }
}

impl Delivering {
    /// What a process would read now, if it may read and there is something to do.
    fn batch(&self, state: &State, process: usize) -> Option<Batch> {
        let Process { lease, batch } = &state.processes[process];
        if batch.is_some() || state.owner != Some(process) || *lease != state.lease {
            return None;
        }
        let mut messages = state.next(self.rules);
        messages.truncate(self.page);
        let is_full = messages.len() == self.page;
        let is_idle = messages.is_empty() && state.reading.is_none();
        let snapshot = state.committed();
        (!is_idle).then_some(Batch { lease: *lease, snapshot, is_full, messages, delivered: 0 })
    }

    fn may_write(state: &State, message: usize) -> bool {
        let is_first = message != 1 || matches!(state.written[0], Written::Committed(_));
        state.written[message] == Written::Not && is_first
    }
}

impl Model for Delivering {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            written: [Written::Not; 3],
            seen: [false; 3],
            reading: None,
            after: 0,
            owner: None,
            lease: 0,
            processes: [Process::default(), Process::default()],
            lapses: self.lapses,
            deaths: self.deaths,
            told: [0; 2],
            is_out_of_order: false,
            was_fenced: false,
            was_late: false,
            highest_told: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for message in 0..MESSAGES.len() {
            if Self::may_write(state, message) {
                actions.push(Action::Write(message));
            }
            if matches!(state.written[message], Written::Open(_)) {
                actions.push(Action::Commit(message));
            }
        }
        if state.owner.is_some() && state.lapses > 0 {
            actions.push(Action::Lapse);
        }
        for (number, process) in state.processes.iter().enumerate() {
            if state.owner.is_none() {
                actions.push(Action::Take(number));
            }
            if state.deaths > 0 && *process != Process::default() {
                actions.push(Action::Die(number));
            }
            if self.batch(state, number).is_some() {
                actions.push(Action::Read(number));
            }
            if let Some(batch) = &process.batch {
                let is_over = batch.delivered == batch.messages.len();
                let (record, deliver) = (Action::Record(number), Action::Deliver(number));
                actions.push(if is_over { record } else { deliver });
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Write(message) => {
                let positions = before.written.iter().map(|written| written.position());
                let next = positions.max().unwrap_or_default().saturating_add(1);
                state.written[message] = Written::Open(next);
            }
            Action::Commit(message) => {
                state.written[message] = Written::Committed(before.position(message));
            }
            Action::Lapse => {
                state.owner = None;
                state.lapses = state.lapses.saturating_sub(1);
            }
            Action::Take(process) => {
                state.owner = Some(process);
                state.lease = state.lease.saturating_add(1);
                state.processes[process].lease = state.lease;
            }
            Action::Die(process) => {
                state.processes[process] = Process::default();
                state.owner = state.owner.filter(|owner| *owner != process);
                state.deaths = state.deaths.saturating_sub(1);
            }
            Action::Read(process) => {
                let batch = self.batch(before, process)?;
                if self.rules == Rules::RecordsFirst {
                    state.record(self.rules, process, &batch);
                }
                state.processes[process].batch = Some(batch);
            }
            Action::Deliver(process) => {
                let batch = state.processes[process].batch.as_mut()?;
                let message = *batch.messages.get(batch.delivered)?;
                batch.delivered = batch.delivered.saturating_add(1);
                state.tell(message);
            }
            Action::Record(process) => {
                let batch = state.processes[process].batch.take()?;
                if self.rules != Rules::RecordsFirst {
                    state.record(self.rules, process, &batch);
                }
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(IN_ORDER, |_, state: &State| !state.is_out_of_order),
            Property::always(HAD_IS_TOLD, |model: &Self, state: &State| {
                let committed = state.committed();
                (0..MESSAGES.len()).all(|message| {
                    let has_had = committed[message] && state.has_had(model.rules, message);
                    !has_had || state.is_told(message)
                })
            }),
            Property::eventually(ALL_TOLD, |_, state: &State| {
                (0..MESSAGES.len()).all(|message| state.is_told(message))
            }),
            Property::sometimes("a message is told after a later one", |_, state: &State| {
                state.was_late
            }),
            Property::sometimes(
                "a process that was taken for dead records in vain",
                |_, state: &State| state.was_fenced,
            ),
        ]
    }
}
