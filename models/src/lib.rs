//! The protocols on which the shop's promises rest, as models that are small enough to visit every
//! state that they can reach.
//!
//! | module | what it models |
//! |---|---|
//! | [`launching`] | an order is put on record, launched, and launched again when its workflow is lost |
//! | [`steps`] | a step and its undo, which leaves a tombstone |
//! | [`payments`] | paying in two halves, with a provider that forgets keys and finds things late |
//! | [`shipments`] | shipping in two halves, with a carrier that forgets references and goods that expire |
//! | [`refunds`] | giving money of a completed order back, with a provider that decides late and forgets keys |
//! | [`decisions`] | what operators decide, and what it acts upon |
//! | [`delivering`] | what the outbox holds reaches a sink, whatever commits late, dies or is taken for dead |
//!
//! Each model has switches that plant an error in it; its tests demand that the promises hold
//! without one, and that the search finds how each error breaks them. See `docs/models.md`.

pub mod check;
pub mod decisions;
pub mod delivering;
pub mod launching;
pub mod payments;
pub mod refunds;
pub mod shipments;
pub mod steps;
