//! Sends an endpoint a message that only tries it out.

use serde::Serialize;
use utoipa::ToSchema;

use super::read_enabled;
use crate::app::App;
use crate::error::{OrProblem, Problem};
use crate::identity::Caller;

/// A message that tries an endpoint out, and is on its way.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Trying {
    /// Its id; what came of it is among the endpoint's deliveries.
    #[schema(example = "trial:7")]
    message_id: String,
}

/// Has a message sent within some seconds that tells of nothing: its type is
/// `ordersaga.webhook.trial.v1`.
///
/// **Repeats.** Each is a message of its own.
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
