//! What operators have to do with screening: orders that wait for a review, the lists of those who are
//! blocked or allowed, and the sets of rules. Why an order was stopped is shown here and nowhere else.

pub(crate) mod entries;
pub(crate) mod review;
pub(crate) mod reviews;
pub(crate) mod rule_sets;
