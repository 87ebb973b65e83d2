//! The process's metrics, in Prometheus' text format.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

use crate::database;

/// Always 1; its labels name the release of the process.
const BUILD_INFO: &str = "ordersaga_build_info";

/// The buckets of every histogram whose name ends in `_seconds`; they range from one query to a
/// time limit.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// How often recorded values are folded into their histograms. Without that, memory grows in a
/// process whose metrics are never read.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The process's recorder, installed at the first call. It is global, because the `metrics` crate
/// has one recorder per process, and a process may run several programs.
///
/// Call [`PrometheusHandle::run_upkeep`] every [`UPKEEP_EVERY`].
#[must_use]
pub fn recorder() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let handle = HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            // Fails only for an empty list.
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .unwrap_or_default()
            .build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is in place; /metrics stays empty");
        }
        database::describe_metrics();
        Collector::default().describe();
        describe_gauge!(BUILD_INFO, "Always 1; its labels say which release the process is");
        gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        handle
    });
    handle.clone()
}

/// All metrics in Prometheus' text format, with those of the process itself: memory, CPU time, open
/// files.
#[must_use]
pub fn page() -> String {
    let recorder = recorder();
    Collector::default().collect();
    recorder.render()
}

/// Converts a count to a gauge's floating-point value: exact up to 32 bits, and saturated above.
#[must_use]
pub fn count(things: impl TryInto<u32>) -> f64 {
    f64::from(things.try_into().unwrap_or(u32::MAX))
}

/// Converts a time to Unix seconds, as Prometheus expects it. Its age is `time()` minus this value.
#[must_use]
pub fn timestamp(moment: SystemTime) -> f64 {
    moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_tells_which_release_the_process_is_and_what_it_takes() {
        let page = page();
        let version = env!("CARGO_PKG_VERSION");
        for series in [
            &*format!("ordersaga_build_info{{version=\"{version}\"}} 1"),
            "process_resident_memory_bytes ",
            "process_cpu_seconds_total ",
            "ordersaga_database_misdeployed_total 0",
        ] {
            let is_told = page.lines().any(|line| line.starts_with(series));
            assert!(is_told, "{series} is not in {page}");
        }
    }

    #[test]
    fn a_number_that_is_too_large_or_below_zero_is_never_told_as_a_small_one() {
        assert!((count(7_usize) - 7.0).abs() < f64::EPSILON);
        for beyond in [count(u64::MAX), count(-1_i64)] {
            assert!((beyond - f64::from(u32::MAX)).abs() < f64::EPSILON, "{beyond}");
        }
    }
}
