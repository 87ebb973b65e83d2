//! Operations on products over HTTP, one file each.

pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod show;
pub(crate) mod update;
