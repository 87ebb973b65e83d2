//! Where provider and shop do not say the same, over HTTP, one file per operation.

pub(crate) mod list;
pub(crate) mod settle;
