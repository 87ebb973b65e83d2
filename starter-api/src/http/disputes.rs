//! Disputes over HTTP.

pub(crate) mod list;
