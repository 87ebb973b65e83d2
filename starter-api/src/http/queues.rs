//! Operations on queues over HTTP, one file each.

pub(crate) mod list;
pub(crate) mod pause;
pub(crate) mod resume;
