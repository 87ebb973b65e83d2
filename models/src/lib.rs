//! The protocols behind the shop's guarantees, as models that are small enough for exhaustive
//! checking.
//!
//! | module | what it models |
//! |---|---|
//! | [`launching`] | an order is recorded, launched, and launched again when its workflow is lost |
//! | [`steps`] | a step and its undo, which leaves a tombstone |
//! | [`payments`] | payments in two phases; the provider forgets keys, its search lags |
//! | [`shipments`] | shipments in two phases; the carrier forgets references, goods expire |
//! | [`refunds`] | refunds of completed orders; the provider decides late, forgets keys |
//! | [`decisions`] | operators' decisions, and the waits that they apply to |
//! | [`delivering`] | the outbox reaches a sink; messages commit late, leases expire |
//!
//! Each model has switches that plant an error; its tests require that the promises hold without
//! one, and that the search finds how each error breaks them. See `docs/models.md`.

pub mod check;
pub mod decisions;
pub mod delivering;
pub mod launching;
pub mod payments;
pub mod refunds;
pub mod shipments;
pub mod steps;
