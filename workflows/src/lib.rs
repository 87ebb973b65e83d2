//! The order's process, and the contract with the outside world that it asks to act.
//!
//! # Determinism
//!
//! A workflow is replayed from its history whenever a worker picks it up, and must then give
//! the same commands again. So nothing here reads a clock, randomness, the environment or the
//! order of a map, and nothing here does I/O; `clippy.toml` bans what could.
//!
//! # Changing a running process
//!
//! A change of the commands (another step, another order of steps, another time limit on a
//! timer) breaks orders that are under way. Put it behind `ctx.patched("what-changed")`, keep
//! the old branch until the last such order has ended, and record a new history for the replay
//! test. Texts in the timeline and summaries may change freely.

mod attributes;
mod failure;
mod order_saga;
mod progress;
mod saga;
mod steps;

pub use attributes::{
    CURRENCY, CUSTOMER_ID, MEMO_REQUEST_HASH, NEEDS_ATTENTION, ORDER_STATUS, ORDER_TOTAL,
    search_attributes_at_start, static_details, static_summary,
};
pub use failure::{BROKEN, REJECTED, StepFailure, UNAVAILABLE};
pub use order_saga::{
    CancelAnswer, CancelDecision, CancelRequest, OrderOutcome, OrderSaga, PartyUpdate, Resolution,
    ResolutionKind, signal_payload,
};
pub use progress::{OrderView, StepProgress, StepState, TimelineEntry};
pub use steps::{
    Activity, CONTRACTS, CancelShipment, ChargePayment, Contract, HEARTBEAT_TIMEOUT, NoteStatus,
    OpenOrder, PostEntries, Queue, RecogniseRevenue, RefundPayment, ReleaseStock, ReserveStock,
    ReverseEntries, Role, ShipOrder, WORKFLOW_TASK_TIMEOUT,
};
