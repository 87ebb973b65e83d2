//! Orders over HTTP, one file per operation.

pub(crate) mod cancel;
pub(crate) mod deliver;
pub(crate) mod events;
pub(crate) mod invoice;
pub(crate) mod invoices;
pub(crate) mod list;
pub(crate) mod pay;
pub(crate) mod place;
pub(crate) mod refund;
pub(crate) mod refunds;
pub(crate) mod resolve;
pub(crate) mod show;
pub(crate) mod timeline;
