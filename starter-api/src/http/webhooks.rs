//! Webhooks over HTTP, one file per operation.

pub(crate) mod dismiss;
pub(crate) mod list;
pub(crate) mod retry;
pub(crate) mod stripe;
