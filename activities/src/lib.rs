//! The outside world, as the saga asks it to act: one file per party, SQL inline.
//!
//! A step is called with a reference and reads the order on record. What it does is one statement:
//! its idempotency record, its effect, the order's event and the message that tells of it commit
//! together or not at all, in one round trip. Why a repeat has no second effect is told in
//! `idempotency`; why nothing that comes late outlives its undo, in [`payment`] and [`shipping`]; how
//! money of a completed order is given back, in [`refunds`]; what a customer's bank takes back, in
//! [`disputes`]; what the payment provider tells by itself, in [`inbox`]; how provider and shop are
//! compared, in [`reconcile`]; who looks at an order before its money is taken, in [`fraud`]. A party
//! that is not the shop's own and does not answer is left alone for a while, by [`party`].

pub mod catalogue;
pub mod disputes;
mod fault;
pub mod fraud;
#[cfg(fuzzing)]
pub mod fuzzing;
mod heartbeat;
mod idempotency;
pub mod inbox;
pub mod ledger;
mod order_activities;
pub mod orders;
pub mod party;
pub mod payment;
pub mod reconcile;
pub mod refunds;
pub mod shipping;
pub mod stock;

use std::sync::Arc;
use std::time::Duration;

use runtime::database::Database;

pub use fault::ActivityFault;
#[cfg(fuzzing)]
pub use idempotency::is_read_back as record_is_read_back;
use payment::port::PaymentProvider;
use shipping::port::Carrier;
use stock::ArticleQueues;

/// The activities' implementations and their dependencies.
///
/// **Shape.** The provider and the carrier are parties of their own and get connections of
/// their own; `db` is the shop's, as the role `ordersaga_worker`. Clones share everything.
#[derive(Clone)]
pub struct Activities {
    /// The shop's database.
    pub db: Database,
    /// Where orders wait for the articles that others change.
    pub articles: ArticleQueues,
    /// Who takes the customers' money; in a worker, [`party::Guarded`].
    pub provider: Arc<dyn PaymentProvider>,
    /// Who takes the parcels; in a worker, [`party::Guarded`].
    pub carrier: Arc<dyn Carrier>,
    /// What the shop has decided.
    pub settings: Settings,
}

/// What the shop has decided about how it works.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long goods are kept for an order that does not come to its end, beyond the time that it
    /// waits as agreed: its cancel window and its patience.
    pub reservation_ttl: Duration,
    /// How long a party is asked again whose answers make no sense, before that counts as broken.
    /// Zero: it counts as broken at once.
    pub ask_again_for: Duration,
}
