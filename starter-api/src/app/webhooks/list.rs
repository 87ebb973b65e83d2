//! Lists the payment provider's events.

use chrono::{DateTime, SecondsFormat, Utc};
use domain::is_foreign_id;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::app::input::Moment;
use crate::app::paging::{Page, PageSize};
use crate::app::webhooks::{EventResource, EventStatus, Row};
use crate::error::{OrProblem, Problem};

/// The cursor: where a page of events ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct EventCursor {
    received_at: DateTime<Utc>,
    event_id: String,
}

impl TryFrom<String> for EventCursor {
    type Error = &'static str;

    fn try_from(cursor: String) -> Result<Self, Self::Error> {
        let parsed = cursor.split_once('_').and_then(|(moment, id)| {
            let Moment(received_at) = Moment::try_from(moment.to_owned()).ok()?;
            is_foreign_id(id).then(|| Self { received_at, event_id: id.to_owned() })
        });
        parsed.ok_or("a cursor is the `next_cursor` of the page before")
    }
}

impl From<EventCursor> for String {
    fn from(EventCursor { received_at, event_id }: EventCursor) -> Self {
        format!("{}_{event_id}", received_at.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

/// A page of the events with this status, in the order of receipt.
pub(crate) async fn list(
    app: &App,
    status: EventStatus,
    after: Option<&EventCursor>,
    size: PageSize,
) -> Result<Page<EventResource>, Problem> {
    let rows = sqlx::query_as!(
        Row,
        r#"select event_id, type as event_type, object_kind, object_id, state, happened_at,
               received_at, attempts, next_try_at, last_error, dismissed_by, dismissed_why
           from inbox.events
           where state = $1
             and ($2::timestamptz is null or (received_at, event_id) > ($2, $3))
           order by received_at, event_id
           limit $4"#,
        status.name(),
        after.map(|after| after.received_at),
        after.map(|after| after.event_id.as_str()),
        size.to_read(),
    )
    .fetch_all(&app.database)
    .await
    .or_problem("reading the payment provider's events")?;
    let events = rows.into_iter().map(EventResource::from).collect();
    Ok(Page::of(events, size, |last: &EventResource| {
        let (received_at, event_id) = (last.received_at, last.event_id.clone());
        EventCursor { received_at, event_id }.into()
    }))
}
