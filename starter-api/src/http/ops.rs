//! For whoever runs the starter: is it alive, can it work, what does it do?

pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod ready;
