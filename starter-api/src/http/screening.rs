//! Screening over HTTP, one file per operation.

pub(crate) mod add;
pub(crate) mod entries;
pub(crate) mod remove;
pub(crate) mod review;
pub(crate) mod reviews;
pub(crate) mod rule_sets;
