//! The contract table: every activity that a process calls, with its name on the wire, its queue
//! and its time limits. A step and its undo share one row.

use std::time::Duration;

use temporalio_common::ActivityDefinition;

/// How long Temporal waits for a worker that runs a workflow task, and for a heartbeat of a patient
/// attempt, before it gives the work to another worker. After a worker's death a process must
/// continue within five seconds; this leaves time for the next worker.
pub const WORKFLOW_TASK_TIMEOUT: Duration = Duration::from_secs(3);

/// See [`WORKFLOW_TASK_TIMEOUT`]. Another second passes before the next attempt.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(3);

/// An activity's role in the saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes effect.
    Does,
    /// Takes the step's effect back.
    Undoes,
    /// Records that an effect which could not be undone counts as done.
    Accepts,
    /// Records a new state of the process.
    Notes,
}

/// One activity of the table: its name and its time limits.
#[derive(Clone, Copy, Debug)]
pub struct Contract {
    /// The activity's name on the wire. Never renamed: running processes ask for it.
    pub name: &'static str,
    /// Its role.
    pub role: Role,
    /// The step it belongs to; empty for a note.
    pub step: &'static str,
    /// The task queue of the patient attempts, which follow the quick ones.
    pub queue: &'static str,
    /// Timeout of one quick (local) attempt.
    pub quick: Duration,
    /// Timeout of one patient attempt.
    pub attempt: Duration,
    /// How long the patient attempts of a step may take together. `None`: only the patience given
    /// to [`Saga::begin`](crate::Saga::begin) ends them.
    pub patience: Option<Duration>,
    /// Whether a person may decide `accept-as-done` for a broken undo.
    pub can_be_accepted: bool,
}

/// An activity of a contract table. Only [`contract!`](crate::contract!) implements it.
pub trait Activity: ActivityDefinition<Input: Clone> + Copy + 'static {
    /// Its row of the table.
    const CONTRACT: Contract;
}

/// An activity with an effect, and so with an undo that takes the same argument.
pub trait Step: Activity {
    /// The undo, on the same row of the table.
    type Undo: Activity<Input = Self::Input, Output = ()>;
}

#[doc(hidden)]
pub mod __private {
    pub use temporalio_common::ActivityDefinition;
}

/// Declares a process's activities as unit structs, and `CONTRACTS`, the whole table.
///
/// ```text
/// saga::contract! {
///     /// Books the room.
///     step "book-hotel": BookHotel(TripId) -> Booking, undone by CancelHotel,
///         on "trips", quick 3 s, attempt 10 s, patience Some(Duration::from_secs(60));
///     ;
///     /// Puts on record that a person is needed.
///     note NoteAttention(AttentionNote) -> u32, on "trips", quick 3 s, attempt 10 s;
/// }
/// ```
///
/// An undo has the step's queue and attempt timeouts, and unlimited patience. `accepted by X` after
/// the undo names the activity that records an effect which cannot be undone.
#[macro_export]
macro_rules! contract {
    (
        $(
            $(#[$doc:meta])*
            step $step:literal: $does:ident($input:ty) -> $output:ty,
            undone by $undo:ident $(, accepted by $accept:ident)?,
            on $queue:expr, quick $quick:literal s, attempt $attempt:literal s,
            patience $patience:expr;
        )*
        ;
        $(
            $(#[$note_doc:meta])*
            note $note:ident($note_input:ty) -> $note_output:ty,
            on $note_queue:expr, quick $note_quick:literal s, attempt $note_attempt:literal s;
        )*
    ) => {
        $(
            $crate::contract!(@activity $(#[$doc])* $does($input) -> $output, Does, $step,
                $queue, $quick, $attempt, $patience, false);
            $crate::contract!(@activity
                #[doc = concat!("Undoes [`", stringify!($does), "`].")]
                $undo($input) -> (), Undoes, $step,
                $queue, $quick, $attempt, None, $crate::contract!(@given $($accept)?));
            $(
                $crate::contract!(@activity
                    #[doc = concat!(
                        "Puts on record that what [`", stringify!($undo), "`] could not undo is done.",
                    )]
                    $accept($input) -> (), Accepts, $step,
                    $queue, $quick, $attempt, None, false);
            )?

            impl $crate::Step for $does {
                type Undo = $undo;
            }
        )*
        $(
            $crate::contract!(@activity $(#[$note_doc])* $note($note_input) -> $note_output,
                Notes, "", $note_queue, $note_quick, $note_attempt, None, false);
        )*

        /// The whole table, in reading order. The tests iterate it, so a new row is tested without
        /// a new test.
        pub const CONTRACTS: &[$crate::Contract] = &[
            $(
                <$does as $crate::Activity>::CONTRACT,
                <$undo as $crate::Activity>::CONTRACT,
                $(<$accept as $crate::Activity>::CONTRACT,)?
            )*
            $(<$note as $crate::Activity>::CONTRACT,)*
        ];
    };
    (@given) => { false };
    (@given $accept:ident) => { true };
    (@activity
        $(#[$doc:meta])* $name:ident($input:ty) -> $output:ty, $role:ident, $step:literal,
        $queue:expr, $quick:expr, $attempt:expr, $patience:expr, $can_be_accepted:expr
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl $crate::__private::ActivityDefinition for $name {
            type Input = $input;
            type Output = $output;

            fn name(&self) -> &str {
                <Self as $crate::Activity>::CONTRACT.name
            }
        }

        impl $crate::Activity for $name {
            const CONTRACT: $crate::Contract = $crate::Contract {
                name: stringify!($name),
                role: $crate::Role::$role,
                step: $step,
                queue: $queue,
                quick: ::std::time::Duration::from_secs($quick),
                attempt: ::std::time::Duration::from_secs($attempt),
                patience: $patience,
                can_be_accepted: $can_be_accepted,
            };
        }
    };
}
