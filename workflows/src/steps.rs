//! The contract table: every activity the saga asks for, with its name on the wire, its queue
//! and its two time limits. The tests iterate it, so a new line is tested without a new test.

use std::time::Duration;

use domain::ledger::Posting;
use domain::{Charge, Consignment, Parcel, Placement, Receipt, StatusNote, StepName, StockClaim};
use temporalio_common::ActivityDefinition;

/// How long Temporal waits for a worker that carries an order a little further, and for a sign of
/// life from one that tries patiently, before it takes the worker for dead and asks another. An
/// order whose worker has died goes on within five seconds; this leaves room for the next worker.
pub const WORKFLOW_TASK_TIMEOUT: Duration = Duration::from_secs(3);

/// See [`WORKFLOW_TASK_TIMEOUT`]. Another second passes before the next attempt.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(3);

/// Where patient work waits. Each queue is scaled, rate-limited and paused on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Queue {
    /// Workflows, and everything the shop's own database does.
    Orders,
    /// What the payment provider does.
    Payments,
    /// What the carrier does.
    Fulfilment,
    /// What customers are told.
    Notifications,
}

impl Queue {
    /// Every queue.
    pub const ALL: [Self; 4] =
        [Self::Orders, Self::Payments, Self::Fulfilment, Self::Notifications];

    /// The task queue's name in Temporal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Payments => "payments",
            Self::Fulfilment => "fulfilment",
            Self::Notifications => "notifications",
        }
    }
}

/// What an activity does in the saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes effect for this step.
    Does(StepName),
    /// Takes this step's effect back.
    Undoes(StepName),
    /// Writes down what the order has become.
    Notes,
}

/// One line of the contract: how an activity is called and how long it may take.
#[derive(Clone, Copy, Debug)]
pub struct Contract {
    /// The activity's name on the wire. Never renamed: running orders ask for it.
    pub name: &'static str,
    /// What it does in the saga.
    pub role: Role,
    /// Where it goes on when the quick try was not enough.
    pub queue: Queue,
    /// How long one quick, local try may take.
    pub quick: Duration,
    /// How long one patient attempt may take.
    pub attempt: Duration,
    /// How long the patient attempts may take together; without it they never end.
    pub patience: Option<Duration>,
}

impl Contract {
    /// The step it belongs to. A note belongs to the record that [`OpenOrder`] opened.
    #[must_use]
    pub const fn step(&self) -> StepName {
        match self.role {
            Role::Does(step) | Role::Undoes(step) => step,
            Role::Notes => StepName::OpenOrder,
        }
    }
}

/// An activity of the contract table. Implemented by the table alone.
pub trait Activity: ActivityDefinition<Input: Clone> + Copy + 'static {
    /// Its line of the table.
    const CONTRACT: Contract;
}

macro_rules! contract {
    ($(
        $(#[$doc:meta])*
        $name:ident: $input:ty => $output:ty, $role:expr, on $queue:ident,
        quick $quick:literal s, attempt $attempt:literal s, $patience:expr;
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            pub struct $name;

            impl ActivityDefinition for $name {
                type Input = $input;
                type Output = $output;

                fn name(&self) -> &str {
                    Self::CONTRACT.name
                }
            }

            impl Activity for $name {
                const CONTRACT: Contract = Contract {
                    name: stringify!($name),
                    role: $role,
                    queue: Queue::$queue,
                    quick: Duration::from_secs($quick),
                    attempt: Duration::from_secs($attempt),
                    patience: $patience,
                };
            }
        )*

        /// The whole table, in reading order.
        pub const CONTRACTS: &[Contract] = &[$(<$name as Activity>::CONTRACT),*];
    };
}

/// Undos, and steps past the point of no return, go on until they are done.
const FOR_EVER: Option<Duration> = None;

contract! {
    /// Puts the order on record, with its lines and its first event. Has no undo: an order that
    /// was placed stays on record, whatever becomes of it.
    OpenOrder: Placement => (), Role::Does(StepName::OpenOrder), on Orders,
    quick 3 s, attempt 10 s, FOR_EVER;

    /// Sets the order's stock aside, all of it or nothing. Refused as out of stock. Undone by
    /// [`ReleaseStock`].
    ReserveStock: StockClaim => (), Role::Does(StepName::ReserveStock), on Orders,
    quick 3 s, attempt 10 s, Some(Duration::from_mins(10));

    /// Gives the reserved stock back.
    ReleaseStock: StockClaim => (), Role::Undoes(StepName::ReserveStock), on Orders,
    quick 3 s, attempt 10 s, FOR_EVER;

    /// Takes the customer's money. Refused as declined. Undone by [`RefundPayment`].
    ChargePayment: Charge => Receipt, Role::Does(StepName::ChargePayment), on Payments,
    quick 5 s, attempt 30 s, Some(Duration::from_mins(10));

    /// Asks the provider what became of the charge, and gives the money back if it was taken.
    RefundPayment: Charge => (), Role::Undoes(StepName::ChargePayment), on Payments,
    quick 5 s, attempt 30 s, FOR_EVER;

    /// Books the payment. Undone by [`ReverseEntries`].
    PostEntries: Posting => (), Role::Does(StepName::PostEntries), on Orders,
    quick 3 s, attempt 10 s, Some(Duration::from_mins(10));

    /// Books the reversal; nothing in the books is ever erased.
    ReverseEntries: Posting => (), Role::Undoes(StepName::PostEntries), on Orders,
    quick 3 s, attempt 10 s, FOR_EVER;

    /// Hands the parcel to the carrier. Refused as undeliverable. Undone by [`CancelShipment`],
    /// as long as the workflow does not know that it is done.
    ShipOrder: Parcel => Consignment, Role::Does(StepName::ShipOrder), on Fulfilment,
    quick 5 s, attempt 30 s, Some(Duration::from_hours(1));

    /// Asks the carrier what became of the parcel, and calls it off.
    CancelShipment: Parcel => (), Role::Undoes(StepName::ShipOrder), on Fulfilment,
    quick 5 s, attempt 30 s, FOR_EVER;

    /// Books the sale: the deposit becomes revenue, tax and shipping income, and the goods
    /// their cost. Past the point of no return, so it has no undo and no end of patience.
    RecogniseRevenue: Posting => (), Role::Does(StepName::RecogniseRevenue), on Orders,
    quick 3 s, attempt 10 s, FOR_EVER;

    /// Writes down a turn that no step's own effect records: unwinding, stuck, the end.
    NoteStatus: StatusNote => (), Role::Notes, on Orders,
    quick 3 s, attempt 10 s, FOR_EVER;
}
