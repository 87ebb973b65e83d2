//! Operations on the stock over HTTP, one file each.

pub(crate) mod list;
pub(crate) mod shift;
