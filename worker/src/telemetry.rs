//! The SDK's runtime and all metrics: the process's own and the SDK's.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use runtime::metrics::{UPKEEP_EVERY, recorder};
use temporalio_common::telemetry::metrics::{CoreMeter, TemporalMeter};
use temporalio_common::telemetry::{
    PrometheusExporterOptions, TelemetryOptions, start_prometheus_metric_exporter, telemetry_init,
};
use temporalio_sdk::runtime::RuntimeOptions;
use temporalio_sdk::{Runtime, RuntimeError};

/// Why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The SDK's metrics endpoint, on a local port.
    #[error("the SDK's metrics cannot be served locally: {0}")]
    Sdk(String),
    /// The HTTP client that reads from it.
    #[error("no HTTP client for the SDK's metrics")]
    Client(#[from] reqwest::Error),
    /// The SDK's runtime.
    #[error("the SDK's runtime does not start")]
    Runtime(#[from] RuntimeError),
}

/// The SDK's runtime, and access to its metrics and the process's own.
pub struct Telemetry {
    /// The runtime that workers are built on.
    pub runtime: Runtime,
    /// Counts calls to the Temporal server.
    pub client_meter: Option<TemporalMeter>,
    /// All metrics.
    pub metrics: Metrics,
}

/// All metrics, as one page for Prometheus.
#[derive(Clone)]
pub struct Metrics {
    sdk: SocketAddr,
    http: reqwest::Client,
}

impl Telemetry {
    /// Starts the metrics and the runtime. Call it once per process, because the SDK's runtime is
    /// global.
    pub fn start() -> Result<Self, TelemetryError> {
        tokio::spawn(upkeep(recorder()));
        // The SDK does not expose its registry and serves it over HTTP only. It gets a port on the
        // loopback interface, and the worker's page includes its output.
        let options = PrometheusExporterOptions::builder()
            .socket_addr((Ipv4Addr::LOCALHOST, 0).into())
            // Consistent with all other series: counters end in `_total`, durations in `_seconds`.
            .counters_total_suffix(true)
            .unit_suffix(true)
            .use_seconds_for_durations(true)
            .build();
        let sdk = start_prometheus_metric_exporter(options)
            .map_err(|error| TelemetryError::Sdk(error.to_string()))?;
        let meter: Arc<dyn CoreMeter> = sdk.meter;
        // No logger for the SDK: without one its events go to the process's log.
        let counted = || TelemetryOptions::builder().metrics(Arc::clone(&meter)).build();
        let client_meter = telemetry_init(counted())
            .map_err(|error| TelemetryError::Sdk(error.to_string()))?
            .get_temporal_metric_meter();
        let options = RuntimeOptions::builder()
            .telemetry_options(counted())
            .build()
            .map_err(TelemetryError::Sdk)?;
        let http = runtime::http::client_builder().timeout(Duration::from_secs(2)).build()?;
        Ok(Self {
            runtime: Runtime::from_current_tokio(options)?,
            client_meter,
            metrics: Metrics { sdk: sdk.bound_addr, http },
        })
    }
}

impl Metrics {
    /// The process's own metrics and the SDK's, in Prometheus' text format.
    pub async fn page(&self) -> Result<String, reqwest::Error> {
        let mut page = runtime::metrics::page();
        let sdk = self.http.get(format!("http://{}/metrics", self.sdk)).send().await?;
        page.push_str(&sdk.error_for_status()?.text().await?);
        Ok(page)
    }
}

async fn upkeep(own: PrometheusHandle) {
    let mut due = tokio::time::interval(UPKEEP_EVERY);
    loop {
        due.tick().await;
        own.run_upkeep();
    }
}
