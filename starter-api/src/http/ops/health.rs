//! `GET /health`: liveness.

/// Says that the process is alive.
///
/// Checks no other party: restarting the process would not help if the database is away.
#[utoipa::path(
    get, path = "/health", tag = "operations",
    responses((status = 200, description = "It is alive", body = String, example = "ok")),
)]
pub(crate) async fn health() -> &'static str {
    "ok"
}
