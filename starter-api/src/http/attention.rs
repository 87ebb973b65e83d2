//! The list of what waits for a person, over HTTP, one file per operation.

pub(crate) mod list;
pub(crate) mod resolve;
