//! The ledger over HTTP, one file per operation.

pub(crate) mod balance;
pub(crate) mod transactions;
pub(crate) mod validate;
