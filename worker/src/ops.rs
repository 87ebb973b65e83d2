//! The worker's operations endpoints: health, readiness and metrics.
//!
//! | path | answers |
//! |---|---|
//! | `/health` | 200 while the process is alive: restart it otherwise |
//! | `/ready` | 200 if Postgres and Temporal answer, the schema version and the role's rights fit, and every queue is polled; else 503 and what is missing |
//! | `/metrics` | the worker's own metrics and the SDK's, in Prometheus' text format |

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics::{describe_gauge, gauge};
use runtime::database::PoolWatch;
use runtime::metrics::count;
use runtime::schema::SchemaGate;
use runtime::{chain, temporal};
use serde_json::json;
use sqlx::PgPool;
use temporalio_client::Client;
use tokio::time::timeout;
use tracing::warn;

use crate::telemetry::Metrics;

/// The number of queues that are polled, and the number that should be.
const QUEUES_POLLED: &str = "ordersaga_queues_polled";
const QUEUES_WANTED: &str = "ordersaga_queues_wanted";

/// The timeout of a probe, after which it counts as failed.
const PATIENCE: Duration = Duration::from_secs(2);

/// The state behind the operations endpoints.
#[derive(Clone)]
pub struct Ops {
    metrics: Metrics,
    pools: [PoolWatch; 2],
    wanted: usize,
    polling: Arc<AtomicUsize>,
    parties: Arc<OnceLock<Parties>>,
}

/// The services that the worker depends on, once connected.
#[derive(Clone)]
pub struct Parties {
    /// Postgres.
    pub pool: PgPool,
    /// Checks whether the worker can work with that database.
    pub gate: SchemaGate,
    /// Temporal.
    pub client: Client,
}

/// A queue counts as polled until this is dropped.
#[derive(Debug)]
pub struct Polling(Arc<AtomicUsize>);

impl Drop for Polling {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Ops {
    /// Nothing is connected or polled yet; `wanted` is the number of queues to poll.
    #[must_use]
    pub fn new(metrics: Metrics, pools: [PoolWatch; 2], wanted: usize) -> Self {
        describe_gauge!(QUEUES_POLLED, "Task queues that this worker polls");
        describe_gauge!(QUEUES_WANTED, "Task queues that it was told to poll");
        Self { metrics, pools, wanted, polling: Arc::default(), parties: Arc::default() }
    }

    /// Records the connected services.
    pub fn found(&self, parties: Parties) {
        // A second call would bring the same ones.
        self.parties.get_or_init(|| parties);
    }

    /// Counts one more queue as polled.
    #[must_use]
    pub fn polls(&self) -> Polling {
        self.polling.fetch_add(1, Ordering::Relaxed);
        Polling(Arc::clone(&self.polling))
    }

    /// The routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/health", get(async || "the worker is up\n"))
            .route("/ready", get(ready))
            .route("/metrics", get(page))
            .with_state(self)
    }

    fn polling(&self) -> usize {
        self.polling.load(Ordering::Relaxed)
    }
}

async fn ready(State(ops): State<Ops>) -> Response {
    let (postgres, temporal) = match ops.parties.get() {
        None => (Some("not found yet".to_owned()), Some("not found yet".to_owned())),
        Some(Parties { pool, gate, client }) => tokio::join!(
            complaint(async {
                gate.check(pool).await.map(|_usable| ()).map_err(|error| chain(&error))
            }),
            complaint(async { temporal::check(client).await.map_err(|error| chain(&error)) }),
        ),
    };
    let polling = ops.polling();
    let all = postgres.is_none() && temporal.is_none() && polling == ops.wanted;
    let status = if all { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "ready": all,
        "postgres": postgres.unwrap_or_else(|| "ok".to_owned()),
        "temporal": temporal.unwrap_or_else(|| "ok".to_owned()),
        "queues_polled": polling,
        "queues_wanted": ops.wanted,
    });
    (status, Json(body)).into_response()
}

async fn complaint(check: impl Future<Output = Result<(), String>>) -> Option<String> {
    match timeout(PATIENCE, check).await {
        Ok(Ok(())) => None,
        Ok(Err(complaint)) => Some(complaint),
        Err(_) => Some(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

async fn page(State(ops): State<Ops>) -> Response {
    gauge!(QUEUES_WANTED).set(count(ops.wanted));
    gauge!(QUEUES_POLLED).set(count(ops.polling()));
    ops.pools.iter().for_each(PoolWatch::show);
    match ops.metrics.page().await {
        Ok(page) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page)
            .into_response(),
        Err(error) => {
            warn!(error = chain(&error), "the SDK's metrics could not be read");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}
