//! A run of the order's workflow, and the task that executes it.

use super::{Key, Record, Rules, Status};

/// The position of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum At {
    /// Reads the record for the first step.
    ReadFirst,
    /// Takes the first step, in one statement.
    TakeFirst,
    /// Reads the record for the last step.
    ReadLast,
    /// Takes the last step, which completes the order.
    TakeLast,
    /// Notes that the order is unwound. A regular activity, so what led to it is in the history.
    NoteUnwinding,
    UndoLast,
    UndoFirst,
    NoteEnd,
    Over,
}

/// A workflow task, in a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Task {
    pub(super) run: usize,
    pub(super) at: At,
}

/// A run, as Temporal knows it.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Run {
    pub(super) task: Task,
    is_unwinding: bool,
    /// A cancel is on the server, and has not been seen yet.
    pub(super) is_cancelled: bool,
    /// It stops because of a cancel.
    pub(super) hears_cancel: bool,
    /// The note that the order is unwound is in the history.
    pub(super) has_noted: bool,
}

impl At {
    /// Whether a worker does it within a workflow task, which can be lost.
    pub(super) fn is_local(self) -> bool {
        self != Self::NoteUnwinding
    }
}

impl Run {
    pub(super) fn start(run: usize, is_unwinding: bool) -> Self {
        let at = if is_unwinding { At::NoteUnwinding } else { At::ReadFirst };
        let task = Task { run, at };
        Self { task, is_unwinding, is_cancelled: false, hears_cancel: false, has_noted: false }
    }

    /// Where a task that is dispatched again starts.
    pub(super) const fn begins_at(&self) -> At {
        match (self.has_noted, self.hears_cancel || self.is_unwinding) {
            (true, _) => At::UndoLast,
            (false, true) => At::NoteUnwinding,
            (false, false) => At::ReadFirst,
        }
    }
}

impl Task {
    /// Takes the next step; returns whether that changed an end that must not change.
    pub(super) fn step(&mut self, record: &mut Record, rules: Rules) -> bool {
        let mut changes_end = false;
        self.at = match self.at {
            At::ReadFirst => begin(record, rules, record.first, (At::TakeFirst, At::ReadLast)),
            At::TakeFirst => match record.first {
                Key::Open => {
                    record.first = Key::Done;
                    At::ReadLast
                }
                Key::Done => At::ReadLast,
                Key::Undone => At::NoteUnwinding,
            },
            At::ReadLast => begin(record, rules, record.last, (At::TakeLast, At::Over)),
            At::TakeLast => self.take_last(record, rules),
            At::NoteUnwinding => {
                let is_own = record.completed_by == Some(self.run);
                let may_take_back = is_own || rules == Rules::AnyRunTakesBack;
                match record.status {
                    Status::Cancelled => At::Over,
                    Status::Completed if !may_take_back => At::Over,
                    Status::Completed | Status::Processing => {
                        changes_end = record.has_ended() && !is_own;
                        (record.status, record.is_unwinding) = (Status::Processing, true);
                        At::UndoLast
                    }
                }
            }
            At::UndoLast => {
                record.last = Key::Undone;
                At::UndoFirst
            }
            At::UndoFirst => {
                record.first = Key::Undone;
                At::NoteEnd
            }
            At::NoteEnd => {
                if !record.has_ended() {
                    (record.status, record.is_unwinding) = (Status::Cancelled, false);
                }
                At::Over
            }
            At::Over => At::Over,
        };
        changes_end
    }

    fn take_last(self, record: &mut Record, rules: Rules) -> At {
        let is_barred = record.is_unwinding && rules != Rules::CompletesWhileUnwinding;
        match record.last {
            Key::Done => At::Over,
            Key::Undone => At::NoteUnwinding,
            Key::Open if is_barred => At::NoteUnwinding,
            Key::Open => {
                record.last = Key::Done;
                record.completed_by = Some(self.run);
                if !record.has_ended() {
                    (record.status, record.is_unwinding) = (Status::Completed, false);
                }
                At::Over
            }
        }
    }
}

/// Reads the record under a step's key, and the order's status. `take` is the next position if the
/// step has to be taken, `next` if it is done.
fn begin(record: &Record, rules: Rules, key: Key, (take, next): (At, At)) -> At {
    match key {
        _ if record.is_unwinding && rules != Rules::AnswersWhileUnwinding => At::NoteUnwinding,
        Key::Done => next,
        Key::Undone => At::NoteUnwinding,
        Key::Open if record.has_ended() => At::Over,
        Key::Open => take,
    }
}
