//! `GET /health`: liveness.

/// Reports that the process is alive.
///
/// Checks no dependency: restarting the process would not help if the database is unavailable.
#[utoipa::path(
    get, path = "/health", tag = "operations",
    responses((status = 200, description = "The process is alive", body = String, example = "ok")),
)]
pub(crate) async fn health() -> &'static str {
    "ok"
}
