//! Operations on orders over HTTP, one file each.

pub(crate) mod cancel;
pub(crate) mod events;
pub(crate) mod list;
pub(crate) mod place;
pub(crate) mod resolve;
pub(crate) mod show;
pub(crate) mod timeline;
