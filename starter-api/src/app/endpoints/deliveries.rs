//! Lists the delivery attempts of an endpoint.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::app::endpoints::read;
use crate::app::input::SearchText;
use crate::app::paging::{Page, PageSize};
use crate::error::{OrProblem, Problem};

/// An attempt to deliver a message to an endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the answer says whose number it is")]
pub(crate) struct Delivery {
    /// The attempt's own id.
    #[schema(example = "812")]
    delivery_id: String,
    /// The id of the message, as sent to the endpoint.
    #[schema(example = "5bf1521d-9bb2-5baa-a74d-5f3bb0902d38:2")]
    message_id: String,
    /// The type of its event.
    #[serde(rename = "type")]
    #[schema(example = "ordersaga.order.placed.v1")]
    event_type: String,
    /// The number of the attempt at this message, counted from 1 among the recorded ones.
    #[schema(example = 1)]
    attempt: i32,
    /// When it was made.
    attempted_at: DateTime<Utc>,
    /// How long the answer took, in milliseconds.
    #[schema(example = 112)]
    duration_ms: i32,
    /// The HTTP status of the endpoint's answer, if it answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 204)]
    status: Option<i16>,
    /// The outcome: `delivered`; `refused`, the endpoint will never accept this message;
    /// `unavailable`, to be retried; `gone`, the endpoint wants no more messages.
    #[schema(example = "delivered")]
    outcome: String,
    /// Why it was not delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "it did not answer in time")]
    failure: Option<String>,
}

/// A page of the attempts at an endpoint, or of those at one message, newest first.
///
/// **Errors.** 404 if there is no such endpoint.
pub(crate) async fn list(
    app: &App,
    endpoint_id: &str,
    message_id: Option<&SearchText>,
    before: Option<i64>,
    size: PageSize,
) -> Result<Page<Delivery>, Problem> {
    let endpoint = read(app, endpoint_id).await?;
    let deliveries = sqlx::query_as!(
        Delivery,
        r#"select delivery_id::text as "delivery_id!", message_id, type as event_type, attempt,
               attempted_at, duration_ms, status, outcome, failure
           from webhooks.deliveries
           where endpoint_id = $1 and ($2::text is null or message_id = $2)
               and ($3::bigint is null or delivery_id < $3)
           order by delivery_id desc limit $4"#,
        endpoint.endpoint_id,
        message_id.map(SearchText::as_str),
        before,
        size.to_read(),
    )
    .fetch_all(&app.database)
    .await
    .or_problem("reading what came of webhooks")?;
    Ok(Page::of(deliveries, size, |last| last.delivery_id.clone()))
}
