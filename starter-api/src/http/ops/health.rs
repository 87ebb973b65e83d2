//! `GET /health`: is the process alive?

/// Says that the process is alive.
///
/// Asks nobody else: a starter whose database is away must not be restarted for it.
#[utoipa::path(
    get, path = "/health", tag = "operations",
    responses((status = 200, description = "It is", body = String, example = "ok")),
)]
pub(crate) async fn health() -> &'static str {
    "ok"
}
