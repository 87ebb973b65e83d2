//! Task queues over HTTP, one file per operation.

pub(crate) mod list;
pub(crate) mod pause;
pub(crate) mod resume;
