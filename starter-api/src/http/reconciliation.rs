//! Differences between provider and shop over HTTP, one file per operation.

pub(crate) mod list;
pub(crate) mod settle;
