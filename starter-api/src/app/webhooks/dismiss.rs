//! Dismisses an event.

use domain::is_foreign_id;

use crate::app::App;
use crate::app::input::line_of_text;
use crate::app::webhooks::{EventResource, Row};
use crate::error::{Kind, OrProblem, Problem, Rules};
use crate::identity::Caller;

/// Records that an open event is not to be applied: workers ignore it from now on.
///
/// **Repeats.** The event is not open any more: the second request is answered 404.
///
/// **Errors.** 404 if there is no open event with this id.
pub(crate) async fn dismiss(
    app: &App,
    caller: &Caller,
    event_id: &str,
    why: &str,
) -> Result<EventResource, Problem> {
    let mut rules = Rules::default();
    let why = rules.check("/why", line_of_text(why, 200));
    let why = rules.kept(why)?;
    let not_found = || Problem::new(Kind::EventNotFound, "There is no open event with this id.");
    if !is_foreign_id(event_id) {
        return Err(not_found());
    }
    let by = caller.name();
    let is_dismissed = sqlx::query_scalar!(
        r#"select inbox.dismiss($1, $2, $3) as "is_dismissed!""#,
        event_id,
        by,
        why,
    )
    .fetch_one(&app.database)
    .await
    .or_problem("dismissing an event")?;
    if !is_dismissed {
        return Err(not_found());
    }
    tracing::warn!(event_id, by, "an event is dismissed");
    let row = sqlx::query_as!(
        Row,
        r#"select event_id, type as event_type, object_kind, object_id, state, happened_at,
               received_at, attempts, next_try_at, last_error, dismissed_by, dismissed_why
           from inbox.events where event_id = $1"#,
        event_id,
    )
    .fetch_one(&app.database)
    .await
    .or_problem("reading an event that was dismissed")?;
    Ok(row.into())
}
