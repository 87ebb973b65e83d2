//! What whoever watches the worker gets to see: logs and metrics.

use std::io::{self, IsTerminal as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use temporalio_common::telemetry::metrics::{CoreMeter, TemporalMeter};
use temporalio_common::telemetry::{
    PrometheusExporterOptions, TelemetryOptions, start_prometheus_metric_exporter, telemetry_init,
};
use temporalio_sdk::runtime::RuntimeOptions;
use temporalio_sdk::{Runtime, RuntimeError};
use tracing_subscriber::EnvFilter;

use crate::steps_counted::STEP_SECONDS;

/// What a command says of itself that answers on standard output.
pub const ONLY_ERRORS: &str = "error";

/// What is logged of a worker that runs. The SDK tells of workflow tasks that fail as warnings.
pub const EVENTS_OF_NOTE: &str = "info,sqlx::postgres::notice=warn,temporalio_sdk_core=warn,temporalio_client=warn,temporalio_sdk=warn";

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For machines: one JSON object a line.
    Json,
}

/// Why there is nothing to see.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The worker's own metrics.
    #[error("the worker's metrics cannot be kept")]
    Own(#[from] BuildError),
    /// The SDK's metrics, which it serves on a local port of its own.
    #[error("the SDK's metrics cannot be served locally: {0}")]
    Sdk(String),
    /// The HTTP client that fetches them from there.
    #[error("no HTTP client for the SDK's metrics")]
    Client(#[from] reqwest::Error),
    /// The SDK's runtime.
    #[error("the SDK's runtime does not start")]
    Runtime(#[from] RuntimeError),
}

/// Sends log lines to standard error, so that what a command prints stays apart from them.
/// `filter` counts unless `RUST_LOG` says otherwise. Does nothing when logging has been set up
/// before.
pub fn start_logging(format: LogFormat, filter: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match format {
        LogFormat::Pretty => logs.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
    // Whoever was there first keeps the log.
    drop(started);
}

/// The SDK's runtime, and where its metrics and the worker's own are read.
pub struct Telemetry {
    /// What workers are built on.
    pub runtime: Runtime,
    /// Counts a client's calls.
    pub client_meter: Option<TemporalMeter>,
    /// Everything that is counted.
    pub metrics: Metrics,
}

/// Everything that is counted, as one page for Prometheus.
#[derive(Clone)]
pub struct Metrics {
    own: PrometheusHandle,
    sdk: SocketAddr,
    http: reqwest::Client,
}

impl Telemetry {
    /// Starts counting. Once in a process: the worker's own metrics are global to it.
    pub fn start() -> Result<Self, TelemetryError> {
        let own = PrometheusBuilder::new()
            .set_buckets_for_metric(
                metrics_exporter_prometheus::Matcher::Full(STEP_SECONDS.to_owned()),
                &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0],
            )?
            .install_recorder()?;
        // The SDK keeps its registry to itself and serves it over HTTP; it gets a port that
        // only this machine sees, and the worker's page passes it on.
        let options = PrometheusExporterOptions::builder()
            .socket_addr((Ipv4Addr::LOCALHOST, 0).into())
            .build();
        let sdk = start_prometheus_metric_exporter(options)
            .map_err(|error| TelemetryError::Sdk(error.to_string()))?;
        let meter: Arc<dyn CoreMeter> = sdk.meter;
        // No logger of the SDK's own: without one its events go where the process's logs go.
        let counted = || TelemetryOptions::builder().metrics(Arc::clone(&meter)).build();
        let client_meter = telemetry_init(counted())
            .map_err(|error| TelemetryError::Sdk(error.to_string()))?
            .get_temporal_metric_meter();
        let options = RuntimeOptions::builder()
            .telemetry_options(counted())
            .build()
            .map_err(TelemetryError::Sdk)?;
        tokio::spawn(fold(own.clone()));
        let http = reqwest::Client::builder().timeout(Duration::from_secs(2)).build()?;
        Ok(Self {
            runtime: Runtime::from_current_tokio(options)?,
            client_meter,
            metrics: Metrics { own, sdk: sdk.bound_addr, http },
        })
    }
}

impl Metrics {
    /// The worker's own metrics and the SDK's, in Prometheus' text format.
    pub async fn page(&self) -> Result<String, reqwest::Error> {
        let mut page = self.own.render();
        let sdk = self.http.get(format!("http://{}/metrics", self.sdk)).send().await?;
        page.push_str(&sdk.error_for_status()?.text().await?);
        Ok(page)
    }
}

/// Folds what was counted now and then; without it, a worker whose page nobody reads remembers
/// every single step.
async fn fold(own: PrometheusHandle) {
    let mut due = tokio::time::interval(Duration::from_secs(5));
    loop {
        due.tick().await;
        own.run_upkeep();
    }
}
