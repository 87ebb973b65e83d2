//! Sends an endpoint earlier messages again.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::read_enabled;
use crate::app::App;
use crate::app::input::{Moment, line_as_written};
use crate::app::orders::parse_id;
use crate::error::{OrProblem, Problem, Rules};
use crate::identity::Caller;

/// The maximum number of messages per request.
pub(crate) const MESSAGES_MAX: i32 = 10_000;

/// Which messages, unchecked: those that meet all given conditions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RedeliverInput<'a> {
    pub(crate) message_id: Option<&'a str>,
    pub(crate) order_id: Option<&'a str>,
    pub(crate) since: Option<Moment>,
    pub(crate) before: Option<Moment>,
}

/// The number of messages that are sent again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Redelivering {
    /// Messages that were sent to the endpoint before, match its events, and are still kept.
    #[schema(example = 3)]
    messages: i32,
}

/// Which messages, checked.
struct Which {
    message_id: Option<String>,
    order_id: Option<String>,
    since: Option<DateTime<Utc>>,
    before: Option<DateTime<Utc>>,
}

impl Which {
    fn check(input: &RedeliverInput<'_>) -> Result<Self, Problem> {
        let RedeliverInput { message_id, order_id, since, before } = *input;
        let mut rules = Rules::default();
        let message_id = message_id.map(|text| line_as_written(text, 100));
        let message_id = rules.check_given("/message_id", message_id);
        let order_id =
            order_id.map(|text| parse_id(text).map_err(|_none| "an order's id, as a UUID"));
        let order_id = rules.check_given("/order_id", order_id);
        let is_all = input.message_id.is_none() && input.order_id.is_none() && since.is_none();
        if is_all {
            rules.broken("", "a `message_id`, an `order_id` or a moment `since` when");
        }
        rules.kept(Some(()))?;
        let moment = |moment: Option<Moment>| moment.map(|Moment(moment)| moment);
        Ok(Self {
            message_id,
            order_id: order_id.map(|order_id| order_id.to_string()),
            since: moment(since),
            before: moment(before),
        })
    }
}

/// Schedules messages to be sent again within some seconds: one message, those of an order, or
/// those of a time range. Messages whose first delivery is still pending are not included.
///
/// **Repeats.** A message that is already scheduled is sent once; one that was sent is sent again.
///
/// **Errors.** 404 if there is no such endpoint, 409 if it is disabled, 422 if no condition is
/// given or too many messages match.
pub(crate) async fn redeliver(
    app: &App,
    caller: &Caller,
    endpoint_id: &str,
    input: &RedeliverInput<'_>,
) -> Result<Redelivering, Problem> {
    let Which { message_id, order_id, since, before } = Which::check(input)?;
    let endpoint_id = read_enabled(app, endpoint_id).await?.endpoint_id;
    let messages = sqlx::query_scalar!(
        r#"select webhooks.redeliver($1, $2, $3, $4, $5, $6, $7) as "messages!""#,
        endpoint_id,
        message_id,
        order_id,
        since,
        before,
        caller.name(),
        MESSAGES_MAX,
    )
    .fetch_one(&app.database)
    .await
    .or_problem("having webhooks sent again")?;
    if messages < 0 {
        let mut rules = Rules::default();
        let detail = format!("a range of {MESSAGES_MAX} messages at most");
        rules.broken("/since", detail);
        return rules.kept(None);
    }
    tracing::warn!(%endpoint_id, messages, by = caller.name(), "webhooks are sent again");
    Ok(Redelivering { messages })
}
