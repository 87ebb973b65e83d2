//! The shop's commands and queries, independent of the protocol: `http`, `grpc` and `graphql`
//! decode their own requests, call these functions, and encode the results.
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

/// Shared state of commands and queries.
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
    /// Limits the number of open event streams.
    pub(crate) streams: Places,
    /// Limits the number of requests that wait for an order to be decided.
    pub(crate) waits: Places,
    /// Cancelled when the process is asked to stop.
    pub(crate) leaving: CancellationToken,
}

/// Defaults for orders that do not set a term, and limits of requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The default cancel window.
    pub(crate) cancel_window_seconds: u32,
    /// The default patience.
    pub(crate) patience_seconds: Option<u32>,
    /// When payments are captured.
    pub(crate) capture_at: CaptureAt,
    /// The payment provider.
    pub(crate) payment_provider: ProviderName,
    /// How long a customer has to approve a payment.
    pub(crate) approval_seconds: u32,
    /// The default time in which a declined payment can be replaced.
    pub(crate) payment_retry_seconds: u32,
    /// The terms of fraud screening, if it is on.
    pub(crate) screening: Option<Screening>,
    /// The longest time that a caller may wait for an order to be decided.
    pub(crate) wait_seconds_max: u32,
    /// The maximum number of open event streams.
    pub(crate) streams_max: usize,
    /// The maximum number of open event streams per caller.
    pub(crate) streams_per_caller: usize,
    /// The maximum number of callers that wait for an order.
    pub(crate) waits_max: usize,
    /// The maximum number of waits per caller.
    pub(crate) waits_per_caller: usize,
    /// The launch backlog at which no more orders are accepted.
    pub(crate) backlog_max: u64,
    /// The rate of orders per second from which launching yields to accepting.
    pub(crate) burst_per_second: NonZeroU32,
}

impl App {
    /// Creates the state without connecting to anything.
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

    /// Prices the basket as it would be charged.
    ///
    /// **Errors.** As [`Catalogue::price`]; and 422 for an amount that the payment provider cannot
    /// charge.
    pub(crate) async fn price(&self, basket: &Basket) -> Result<Priced, Problem> {
        let priced = self.catalogue.price(basket).await?;
        let total = priced.prices.totals.total;
        let chargeable = self.settings.payment_provider.chargeable(total);
        chargeable.map_err(|error| pricing_refused(&error.into()))?;
        Ok(priced)
    }
}
