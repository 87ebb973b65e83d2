//! What the tests of several crates share: a Temporal server for one test, an order, its placing,
//! and a program's rights in the database, with the errors that it gives.

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
