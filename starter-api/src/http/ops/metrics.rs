//! `GET /metrics`: metrics for Prometheus.

use axum::extract::State as Shared;
use axum::http::header;
use axum::response::IntoResponse;
use metrics::gauge;

use crate::http::State;

/// The API's connections to the database, and those of its callers that are watching or waiting.
pub(crate) const DATABASE_CONNECTIONS: &str = "ordersaga_api_db_connections";
pub(crate) const STREAMS: &str = "ordersaga_streams";
pub(crate) const WAITS: &str = "ordersaga_waits";

/// Exports requests by route and status, their latency, and orders placed, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "operations",
    responses((status = 200, description = "Prometheus text", body = String,
               content_type = "text/plain; version=0.0.4")),
)]
pub(crate) async fn metrics(Shared(state): Shared<State>) -> impl IntoResponse {
    look_at(&state);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], state.metrics.render())
}

/// What is counted at the moment somebody asks.
fn look_at(state: &State) {
    let app = &state.app;
    let (open, idle) = (app.database.size(), app.database.num_idle());
    gauge!(DATABASE_CONNECTIONS, "state" => "open").set(f64::from(open));
    gauge!(DATABASE_CONNECTIONS, "state" => "idle").set(count(idle));
    let taken = |most: usize, free: usize| count(most.saturating_sub(free));
    gauge!(STREAMS).set(taken(app.settings.streams_max, app.streams.available_permits()));
    gauge!(WAITS).set(taken(app.settings.waits_max, app.waits.available_permits()));
}

/// A gauge is a floating number; a count that fits 32 bits is exact in it.
fn count(things: usize) -> f64 {
    f64::from(u32::try_from(things).unwrap_or(u32::MAX))
}
