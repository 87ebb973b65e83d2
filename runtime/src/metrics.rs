//! The process's metrics, in Prometheus' format.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::database;

/// The buckets of every histogram whose name ends in `_seconds`: from a query to a time limit.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// How often recorded values are folded into their histograms. Without that, a process whose
/// metrics are never read would keep every single value.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The process's recorder, installed at the first call. There is one, because the `metrics` crate
/// has one per process, and a process may run several programs.
///
/// Call [`PrometheusHandle::run_upkeep`] every [`UPKEEP_EVERY`].
#[must_use]
pub fn recorder() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let handle = HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            // Fails for an empty list only.
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .unwrap_or_default()
            .build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is in place; /metrics stays empty");
        }
        database::describe_metrics();
        handle
    });
    handle.clone()
}
