//! Rule sets over HTTP, one file per operation.

pub(crate) mod activate;
pub(crate) mod add;
pub(crate) mod list;
pub(crate) mod show;
pub(crate) mod trial;
