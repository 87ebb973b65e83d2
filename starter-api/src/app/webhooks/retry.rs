//! Retries an event at once.

use domain::is_foreign_id;

use crate::app::App;
use crate::app::webhooks::{EventResource, Row};
use crate::error::{Kind, OrProblem, Problem};
use crate::identity::Caller;

/// Schedules an open event to be applied within some seconds.
///
/// **Repeats.** Idempotent: one more attempt does no harm.
///
/// **Errors.** 404 if there is no open event with this id.
///
/// **Errors.** 404 if no event of this name is open.
pub(crate) async fn retry(
    app: &App,
    caller: &Caller,
    event_id: &str,
) -> Result<EventResource, Problem> {
    let not_found = || Problem::new(Kind::EventNotFound, "There is no open event with this id.");
    if !is_foreign_id(event_id) {
        return Err(not_found());
    }
    let row = sqlx::query_as!(
        Row,
        r#"update inbox.events set next_try_at = now()
           where event_id = $1 and state = 'open'
           returning event_id, type as event_type, object_kind, object_id, state, happened_at,
               received_at, attempts, next_try_at, last_error, dismissed_by, dismissed_why"#,
        event_id,
    )
    .fetch_optional(&app.database)
    .await
    .or_problem("having an event looked at again")?;
    let event = row.map(EventResource::from).ok_or_else(not_found)?;
    tracing::info!(event_id, by = caller.name(), "an event is looked at again");
    Ok(event)
}
