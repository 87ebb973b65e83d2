//! The shop's processes as workflows: their steps, their order, and their undos.
//!
//! One folder per process. In each: `mod.rs` is the process and how it is addressed while it runs,
//! `contract.rs` the table of its activities. What all of them are told, and have put on the order's
//! record, is in `told.rs`. How steps are done and undone is the `saga` crate's part; what they do is
//! `activities`'.
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
//! timer) breaks orders that are under way, unless workers name their release, so that each order
//! ends on the one that it began on (`docs/deploys.md`). Else put it behind
//! `ctx.patched("what-changed")`, keep the old branch until the last such order has ended, and
//! record a new history for the replay test. Texts in the timeline and summaries may change freely.

pub mod order;
mod queue;
pub mod reconcile;
pub mod refund;
mod registry;
mod told;

pub use queue::Queue;
pub use registry::{PROCESSES, ProcessEntry, contract_of};
