//! `GET /metrics`: metrics for Prometheus.

use axum::extract::State as Shared;
use axum::http::header;
use axum::response::IntoResponse;

use crate::http::State;

/// Exports requests by route and status, their latency, and orders placed, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "operations",
    responses((status = 200, description = "Prometheus text", body = String,
               content_type = "text/plain; version=0.0.4")),
)]
pub(crate) async fn metrics(Shared(state): Shared<State>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], state.metrics.render())
}
