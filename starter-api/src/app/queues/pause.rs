//! Pauses a task queue.

use crate::app::App;
use crate::app::input::line_of_text;
use crate::app::queues::{Pause, QueueState, parse_queue};
use crate::error::{OrProblem, Problem, Rules};
use crate::identity::Caller;

/// Pauses the queue: within some seconds workers start nothing more from it.
///
/// **Repeats.** A paused queue stays paused, in the name of whoever paused it first.
pub(crate) async fn pause(
    app: &App,
    caller: &Caller,
    queue: &str,
    why: &str,
) -> Result<QueueState, Problem> {
    let queue = parse_queue(queue)?.name();
    let mut rules = Rules::default();
    let why = rules.check("/why", line_of_text(why, 200));
    let why = rules.kept(why)?;
    let paused = sqlx::query_as!(
        Pause,
        r#"with paused as (
               insert into operations.paused_queues (queue, paused_by, why) values ($1, $2, $3)
               on conflict (queue) do nothing
               returning paused_by, why, paused_at
           )
           select paused_by as "paused_by!", why as "why!", paused_at as "paused_at!" from paused
           union all
           select paused_by, why, paused_at from operations.paused_queues where queue = $1"#,
        queue,
        caller.name(),
        why,
    )
    .fetch_one(&app.database)
    .await
    .or_problem("pausing a queue")?;
    tracing::warn!(queue, by = paused.paused_by, "a queue is paused");
    Ok(QueueState { queue, paused: Some(paused) })
}
