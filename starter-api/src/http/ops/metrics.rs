//! `GET /metrics`: metrics for Prometheus.

use axum::extract::State as Shared;
use axum::http::header;
use axum::response::IntoResponse;
use metrics::gauge;
use runtime::database::PoolWatch;
use runtime::metrics::{count, page};

use crate::http::State;

/// Gauges of callers that watch or wait for orders.
pub(crate) const STREAMS: &str = "ordersaga_streams";
pub(crate) const WAITS: &str = "ordersaga_waits";

/// The name of the API's connection pool in the metrics.
pub(crate) const POOL: &str = "api";

/// Exports requests by route and status, their latency, and orders placed, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "operations",
    responses((status = 200, description = "Prometheus text", body = String,
               content_type = "text/plain; version=0.0.4")),
)]
pub(crate) async fn metrics(Shared(state): Shared<State>) -> impl IntoResponse {
    look_at(&state);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page())
}

/// Updates gauges when metrics are scraped, and every few seconds for a page that another part of
/// the process serves.
pub(crate) fn look_at(state: &State) {
    let app = &state.app;
    PoolWatch::of(&app.database, POOL).show();
    gauge!(STREAMS).set(count(app.streams.taken()));
    gauge!(WAITS).set(count(app.waits.taken()));
}
