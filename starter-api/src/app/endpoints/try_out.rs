//! Sends an endpoint a test message.

use serde::Serialize;
use utoipa::ToSchema;

use super::read_enabled;
use crate::app::App;
use crate::error::{OrProblem, Problem};
use crate::identity::Caller;

/// A test message on its way to an endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Trying {
    /// The message's id; the outcome is listed among the endpoint's deliveries.
    #[schema(example = "trial:7")]
    message_id: String,
}

/// Sends a message without content within some seconds, of type `ordersaga.webhook.trial.v1`.
///
/// **Repeats.** Each call sends another message.
///
/// **Errors.** 404 if there is no such endpoint, 409 if it is disabled.
pub(crate) async fn try_out(
    app: &App,
    caller: &Caller,
    endpoint_id: &str,
) -> Result<Trying, Problem> {
    let endpoint_id = read_enabled(app, endpoint_id).await?.endpoint_id;
    let number = sqlx::query_scalar!(
        r#"select webhooks.try_out($1, $2) as "number!""#,
        endpoint_id,
        caller.name(),
    )
    .fetch_one(&app.database)
    .await
    .or_problem("trying a webhook endpoint out")?;
    Ok(Trying { message_id: format!("trial:{number}") })
}
