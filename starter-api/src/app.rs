//! The commands and queries of the shop. They are the same for every protocol: `http`, `grpc` and
//! `graphql` read their own messages, call what is here, and write its result in their own form.
//!
//! Each operation has a file. All SQL about orders is in `orders/store`.

pub(crate) mod attention;
pub(crate) mod basket;
pub(crate) mod catalogue;
pub(crate) mod customers;
pub(crate) mod disputes;
pub(crate) mod endpoints;
pub(crate) mod input;
pub(crate) mod launch;
pub(crate) mod ledger;
pub(crate) mod mail;
pub(crate) mod money;
pub(crate) mod orders;
pub(crate) mod paging;
pub(crate) mod parties;
pub(crate) mod products;
pub(crate) mod queues;
pub(crate) mod quote;
pub(crate) mod reads;
pub(crate) mod reconciliation;
pub(crate) mod relay;
pub(crate) mod screening;
pub(crate) mod stock;
pub(crate) mod together;
pub(crate) mod turn;
pub(crate) mod webhooks;

use std::num::NonZeroU32;
use std::sync::Arc;

use domain::{CaptureAt, ProviderName, Screening};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::app::basket::{Basket, pricing_refused};
use crate::app::catalogue::{Catalogue, Priced};
use crate::app::launch::Launcher;
use crate::app::orders::placer::Placer;
use crate::app::orders::store::OrderRow;
use crate::app::products::ProductRow;
use crate::app::reads::Reads;
use crate::error::Problem;
use crate::shares::Places;
use crate::temporal::Temporal;

/// What commands and queries work with.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) database: PgPool,
    pub(crate) temporal: Temporal,
    pub(crate) launcher: Arc<Launcher>,
    pub(crate) catalogue: Catalogue,
    pub(crate) placer: Placer,
    pub(crate) order_rows: Reads<OrderRow>,
    pub(crate) product_rows: Reads<ProductRow>,
    pub(crate) settings: Settings,
    /// One for each order that is being watched.
    pub(crate) streams: Places,
    /// One for each caller that waits for its order to be decided.
    pub(crate) waits: Places,
    /// Cancelled once the process was asked to stop.
    pub(crate) leaving: CancellationToken,
}

/// What applies to an order that does not say otherwise, and what a request may ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The cancel window of an order that does not name one.
    pub(crate) cancel_window_seconds: u32,
    /// The patience of an order that does not name one.
    pub(crate) patience_seconds: Option<u32>,
    /// When customers' money is taken.
    pub(crate) capture_at: CaptureAt,
    /// Who takes it.
    pub(crate) payment_provider: ProviderName,
    /// How long a customer may take to approve a payment.
    pub(crate) approval_seconds: u32,
    /// How long a declined payment of an order that does not say so may be replaced.
    pub(crate) payment_retry_seconds: u32,
    /// How orders are screened for fraud, if they are.
    pub(crate) screening: Option<Screening>,
    /// The longest that a caller may wait for an order to be decided.
    pub(crate) wait_seconds_max: u32,
    /// How many orders can be watched at once.
    pub(crate) streams_max: usize,
    /// How many of those one caller may watch.
    pub(crate) streams_per_caller: usize,
    /// How many callers can wait for their orders at once.
    pub(crate) waits_max: usize,
    /// How often one caller may wait at once.
    pub(crate) waits_per_caller: usize,
    /// With so many orders waiting for their launch, no more are accepted.
    pub(crate) backlog_max: u64,
    /// So many orders a second are a burst, for which launching makes way.
    pub(crate) burst_per_second: NonZeroU32,
}

impl App {
    /// Connects nothing yet.
    pub(crate) fn new(database: PgPool, temporal: Temporal, settings: Settings) -> Self {
        let Settings { backlog_max, burst_per_second, .. } = settings;
        let launcher =
            Launcher::new(database.clone(), temporal.clone(), backlog_max, burst_per_second);
        Self {
            launcher: Arc::new(launcher),
            placer: Placer::on(database.clone()),
            catalogue: Catalogue::of(database.clone()),
            order_rows: Reads::of(database.clone()),
            product_rows: Reads::of(database.clone()),
            database,
            temporal,
            settings,
            streams: Places::of(settings.streams_max, settings.streams_per_caller),
            waits: Places::of(settings.waits_max, settings.waits_per_caller),
            leaving: CancellationToken::new(),
        }
    }

    /// What the basket costs, as it would be charged.
    ///
    /// **Errors.** As [`Catalogue::price`]; and 422 for what the payment provider cannot charge.
    pub(crate) async fn price(&self, basket: &Basket) -> Result<Priced, Problem> {
        let priced = self.catalogue.price(basket).await?;
        let total = priced.prices.totals.total;
        let chargeable = self.settings.payment_provider.chargeable(total);
        chargeable.map_err(|error| pricing_refused(&error.into()))?;
        Ok(priced)
    }
}
