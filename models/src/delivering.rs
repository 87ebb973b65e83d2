//! The outbox and a sink: every message is delivered, and an order's messages in order, even if
//! messages commit late and a process whose lease has expired continues.
//!
//! An order has two messages, the second written once the first is committed, and another order has
//! one. Two processes share one shard by a lease. The lease may expire at any moment, whatever its
//! process is doing, and a process may die at any moment.

use stateright::{Model, Property};

/// The order of first deliveries.
pub const IN_ORDER: &str = "an order's messages are first told in their order, without a gap";
/// The sink's progress on record.
pub const HAD_IS_TOLD: &str = "what the sink has had by the record, it was told";
/// Every message is delivered.
pub const ALL_TOLD: &str = "every message is told in the end";

/// The messages: the order of each, and its number within the order.
const MESSAGES: [(usize, u8); 3] = [(0, 1), (0, 2), (1, 1)];

/// A model of one shard of one sink.
#[derive(Clone, Copy, Debug)]
pub struct Delivering {
    /// How many messages are read per batch.
    pub page: usize,
    /// How often a lease expires that was not released.
    pub lapses: u8,
    /// How often a process dies.
    pub deaths: u8,
    /// The relay's method.
    pub rules: Rules,
}

/// The relay's method: correct, or with one planted error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// It stores a snapshot as its cursor, and a write of its progress is fenced by the lease under
    /// which it was read.
    Right,
    /// Its cursor is the last position.
    ByPosition,
    /// After a backlog it stores the newest snapshot instead of the one with which it began.
    NewestSnapshot,
    /// Its progress is written without fencing.
    NoFence,
    /// Its progress is written if the process has any lease, even a newer one.
    FenceByName,
    /// It records a batch before it delivers it.
    RecordsFirst,
}

/// Which messages are committed.
type Snapshot = [bool; 3];

/// The state of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Written {
    Not,
    /// It has its position, and is not visible yet.
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

/// A process, and the lease that it believes it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Process {
    lease: u8,
    batch: Option<Batch>,
}

/// The state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    written: [Written; 3],
    /// The sink has received everything visible in this snapshot.
    seen: Snapshot,
    /// It is working through what is visible in this snapshot, and has received it up to a
    /// position.
    reading: Option<Snapshot>,
    after: u8,
    owner: Option<usize>,
    lease: u8,
    processes: [Process; 2],
    lapses: u8,
    deaths: u8,
    /// Per order, the last number that was delivered.
    told: [u8; 2],
    is_out_of_order: bool,
    /// A process without its lease has tried to record, and was refused.
    was_fenced: bool,
    /// A message was delivered after one with a higher position.
    was_late: bool,
    highest_told: u8,
}

/// A transition. Processes and messages are given by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A message gets its position, in its own transaction.
    Write(usize),
    /// That transaction commits.
    Commit(usize),
    /// The lease expires.
    Lapse,
    /// A process takes the lease.
    Take(usize),
    /// A process dies, and restarts without memory.
    Die(usize),
    /// A process reads the next messages.
    Read(usize),
    /// It delivers the next message that it has read.
    Deliver(usize),
    /// It records what it has delivered.
    Record(usize),
}

impl State {
    fn committed(&self) -> Snapshot {
        self.written.map(|written| matches!(written, Written::Committed(_)))
    }

    fn position(&self, message: usize) -> u8 {
        self.written[message].position()
    }

    /// Whether the sink has received a message, according to the record.
    fn has_had(&self, rules: Rules, message: usize) -> bool {
        let is_before = self.position(message) <= self.after;
        if rules == Rules::ByPosition {
            return is_before;
        }
        let is_read = self.reading.is_some_and(|reading| reading[message]);
        self.seen[message] || (is_read && is_before)
    }

    /// The next messages to deliver, in order of position.
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

    /// Records that a batch was received.
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
