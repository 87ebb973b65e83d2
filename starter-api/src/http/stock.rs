//! The stock over HTTP, one file per operation.

pub(crate) mod list;
pub(crate) mod shift;
