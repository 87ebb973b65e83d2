//! Fraud screening for operators: orders that wait for a review, the block and allow lists, and
//! rule sets. Only operators see why an order was stopped.

pub(crate) mod entries;
pub(crate) mod review;
pub(crate) mod reviews;
pub(crate) mod rule_sets;
