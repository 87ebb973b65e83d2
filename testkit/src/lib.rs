//! Shared by the tests of several crates: a Temporal server per test, a valid order and its
//! placement, and database pools with a program's rights, with the errors that they may return.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "what cannot be prepared fails its test"
)]

mod database;
mod order;
mod temporal;

pub use database::{SQLSTATES, as_role, place, refused};
pub use order::{british_rates, order_of, pounds, priced};
pub use temporal::{Server, server};
