//! Removes a webhook endpoint.

use super::{EndpointResource, not_found, parse_endpoint_id, store};
use crate::app::App;
use crate::error::{OrProblem, Problem};
use crate::identity::Caller;

/// Removes an endpoint and its pending messages; returns the endpoint as it was.
///
/// **Repeats.** The second request is answered 404.
///
/// **Errors.** 404 if there is no such endpoint.
pub(crate) async fn remove(
    app: &App,
    caller: &Caller,
    endpoint_id: &str,
) -> Result<EndpointResource, Problem> {
    let endpoint_id = parse_endpoint_id(endpoint_id)?;
    let endpoint = store::read(&app.database, endpoint_id).await?.ok_or_else(not_found)?;
    let is_removed =
        sqlx::query_scalar!(r#"select webhooks.remove_endpoint($1) as "is_removed!""#, endpoint_id)
            .fetch_one(&app.database)
            .await
            .or_problem("removing a webhook endpoint")?;
    if !is_removed {
        return Err(not_found());
    }
    tracing::warn!(%endpoint_id, by = caller.name(), "a webhook endpoint is removed");
    Ok(endpoint)
}
