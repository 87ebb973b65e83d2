//! The shop's processes as workflows: their steps, their order, and their undos.
//!
//! One folder per process: `mod.rs` holds the workflow with its signals, updates and queries, and
//! `contract.rs` the table of its activities. `told.rs` holds the signal handlers and notes that
//! all processes share. The `saga` crate runs and undoes steps; `activities` implements them.
//!
//! # Determinism
//!
//! A workflow is replayed from its history whenever a worker picks it up, and must then issue the
//! same commands again. So nothing here reads a clock, randomness, the environment or the iteration
//! order of a map, and nothing here does I/O; `clippy.toml` bans the functions that would.
//!
//! # Changing a running process
//!
//! A change of the commands (another step, another order of steps, another duration of a timer)
//! makes running orders non-deterministic, unless workers are versioned, so that each order ends on
//! the release on which it began (`docs/deploys.md`). Otherwise put the change behind
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
