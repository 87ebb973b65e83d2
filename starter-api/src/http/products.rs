//! Products over HTTP, one file per operation.

pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod show;
pub(crate) mod update;
