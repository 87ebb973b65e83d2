//! The outside world, as the saga asks it to act: one file per party, SQL inline.
//!
//! Every step is one statement: its key row, its effect, the order's event and the message that
//! tells of it commit together or not at all, in one round trip. Why twice is once is told in
//! `step_keys`; why a late charge cannot outlive its refund, in [`payment`].

pub mod catalogue;
mod fault;
mod heartbeat;
pub mod ledger;
mod order_activities;
pub mod orders;
pub mod payment;
pub mod shipping;
mod step_keys;
pub mod stock;

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;

pub use fault::ActivityFault;
use payment::PaymentProvider;
use shipping::Carrier;

/// The shop's hands: everything the saga can ask for, with whom it takes to do it.
///
/// **Shape.** The provider and the carrier are parties of their own and get connections of
/// their own; `db` is the shop's, as the role `ordersaga_worker`.
pub struct Activities {
    /// The shop's database.
    pub db: PgPool,
    /// Who takes the customers' money.
    pub provider: Arc<dyn PaymentProvider>,
    /// Who takes the parcels.
    pub carrier: Arc<dyn Carrier>,
    /// What the shop has decided.
    pub settings: Settings,
}

/// What the shop has decided about how it works.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long goods are kept for an order that does not come to its end.
    ///
    /// **Units.** Longer than the longest cancel window and the patience of all steps together,
    /// or orders that only wait are refused as expired.
    pub reservation_ttl: Duration,
}
