//! Mails to customers over HTTP, one file per operation.

pub(crate) mod list;
pub(crate) mod retry;
pub(crate) mod skip;
pub(crate) mod unsubscribe;
pub(crate) mod unsubscribe_page;
