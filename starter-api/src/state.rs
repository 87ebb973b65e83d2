//! What every operation works with.

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::catalogue::Catalogue;
use crate::observe;
use crate::temporal::Temporal;

/// The shop as the starter reaches it. Cheap to clone: each part is a handle.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) database: PgPool,
    pub(crate) temporal: Temporal,
    pub(crate) catalogue: Catalogue,
    pub(crate) limits: Limits,
    pub(crate) metrics: PrometheusHandle,
    /// A place for each order that is being watched.
    pub(crate) streams: Arc<Semaphore>,
    /// Set once the process was asked to stop.
    pub(crate) leaving: CancellationToken,
}

/// What a single request may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest body that is read.
    pub body_bytes_max: usize,
    /// The longest that a request may take.
    pub request_timeout: Duration,
    /// How long requests are still taken after the process was asked to stop.
    pub notice: Duration,
    /// How many orders can be watched at once.
    pub streams_max: usize,
    /// The cancel window of an order that does not name one.
    pub cancel_window_seconds: u32,
    /// The patience of an order that does not name one.
    pub patience_seconds: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 1_048_576,
            request_timeout: Duration::from_secs(40),
            notice: Duration::from_secs(2),
            streams_max: 256,
            cancel_window_seconds: 0,
            patience_seconds: None,
        }
    }
}

impl Limits {
    /// How long an answer may be held back: half a minute, and never so long that the time
    /// limit would turn an order that was taken in into an error.
    pub(crate) fn wait_seconds_max(&self) -> u32 {
        let left = self.request_timeout.as_secs().saturating_sub(10).min(30);
        u32::try_from(left).unwrap_or(0)
    }
}

impl State {
    /// Brings the parts together. Reaches for nothing yet.
    #[must_use]
    pub fn new(database: PgPool, temporal: Temporal, limits: Limits) -> Self {
        Self {
            catalogue: Catalogue::of(database.clone()),
            database,
            temporal,
            limits,
            metrics: observe::metrics(),
            streams: Arc::new(Semaphore::new(limits.streams_max)),
            leaving: CancellationToken::new(),
        }
    }

    /// Folds the recorded latencies into their histograms. They pile up until somebody does, so
    /// call it every few seconds.
    pub fn fold_metrics(&self) {
        self.metrics.run_upkeep();
    }
}
