//! Customers over HTTP, one file per operation.

pub(crate) mod list;
pub(crate) mod show;
pub(crate) mod show_mail;
pub(crate) mod update;
pub(crate) mod update_mail;
pub(crate) mod wait_for;
pub(crate) mod wait_no_more;
