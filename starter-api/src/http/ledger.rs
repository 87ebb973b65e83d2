//! Questions about the ledger over HTTP, one file each.

pub(crate) mod balance;
pub(crate) mod transactions;
pub(crate) mod validate;
