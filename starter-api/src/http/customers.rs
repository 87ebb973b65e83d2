//! Operations on customers over HTTP, one file each.

pub(crate) mod list;
pub(crate) mod show;
pub(crate) mod update;
