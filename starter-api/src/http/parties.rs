//! Parties over HTTP, one file per operation.

pub(crate) mod list;
pub(crate) mod resume;
pub(crate) mod stop;
