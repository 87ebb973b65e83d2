//! The protocols on which the shop's promises rest, as models that are small enough to visit every
//! state that they can reach.
//!
//! | module | what it models |
//! |---|---|
//! | [`payments`] | paying in two halves, with a provider that forgets keys and finds things late |
//!
//! Each model has switches that plant an error in it; its tests demand that the promises hold
//! without one, and that the search finds how each error breaks them. See `docs/models.md`.

pub mod check;
pub mod decisions;
pub mod launching;
pub mod payments;
pub mod steps;
