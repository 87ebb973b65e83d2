//! The activities of the sagas: one file per party or subject, with inline SQL.
//!
//! A step is called with a reference and reads the order on record. It takes effect in one
//! statement: its idempotency record, its effect, the order's event and the outbox message commit
//! together or not at all, in one round trip. See `idempotency` for why a repeat has no second
//! effect; [`payment`] and [`shipping`] for why a late request cannot survive its undo; [`refunds`]
//! for refunds of completed orders; [`disputes`] for chargebacks; [`inbox`] for the provider's
//! events; [`reconcile`] for the comparison of provider and shop; [`fraud`] for screening; and
//! [`party`] for the circuit breaker of outside services.

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
/// **Shape.** The provider and the carrier are separate parties and have their own connections;
/// `db` is the shop's database, with the role `ordersaga_worker`. Clones share everything.
#[derive(Clone)]
pub struct Activities {
    /// The shop's database.
    pub db: Database,
    /// Queues in which orders wait for articles that others are changing.
    pub articles: ArticleQueues,
    /// The payment provider; in a worker, behind [`party::Guarded`].
    pub provider: Arc<dyn PaymentProvider>,
    /// The carrier; in a worker, behind [`party::Guarded`].
    pub carrier: Arc<dyn Carrier>,
    /// The shop's settings.
    pub settings: Settings,
}

/// The shop's settings.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long goods stay reserved for an order that does not end, in addition to its planned
    /// waits: cancel window and patience.
    pub reservation_ttl: Duration,
    /// How long a party is asked again after an invalid answer, before that counts as broken. Zero:
    /// at once.
    pub ask_again_for: Duration,
}
