//! `POST /v1/queues/{queue}/pause`: stop the line.

use axum::Json;
use axum::extract::State as Shared;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::extract::{Body, Path};
use crate::identity::access::{May, scope};
use crate::problem::{Document, Guarded, OrProblem, Problem, WriteProblems};
use crate::queues::{self, Pause, QueueStanding};
use crate::rules::{Rules, line_of_text};
use crate::state::State;

/// Why the line stops.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StopTheLine {
    /// For those who find the line standing.
    #[schema(min_length = 1, max_length = 200, example = "the warehouse counts its stock")]
    pub why: String,
}

/// Stops the line: workers take nothing more from the queue, within some seconds.
///
/// Orders are taken in as before, and wait. Of `orders`, nothing is lost by waiting: no order's
/// time limit runs there. On `payments`, `fulfilment` and `notifications` a step's patience runs
/// on while it waits, and an order whose patience ends is unwound. A queue that is paused stays
/// so, by whoever paused it first.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/pause", tag = "operators",
    security(("bearer" = ["queues:operate"])),
    params(("queue" = String, Path, description = "The queue", example = "orders")),
    request_body(content = StopTheLine, description = "Why it is to stand still"),
    responses(
        (status = 200, description = "It stands still, within some seconds", body = QueueStanding),
        (status = 404, description = "There is no such queue", body = Document,
         content_type = "application/problem+json"),
        Guarded,
        WriteProblems,
    ),
)]
pub(crate) async fn pause(
    May { caller, .. }: May<scope::OperateQueues>,
    Shared(state): Shared<State>,
    Path(queue): Path<String>,
    Body(written): Body<StopTheLine>,
) -> Result<Json<QueueStanding>, Problem> {
    let queue = queues::queue(&queue)?.name();
    let mut rules = Rules::default();
    let why = rules.check("/why", line_of_text(&written.why, 200));
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
    .fetch_one(&state.database)
    .await
    .or_problem("pausing a queue")?;
    tracing::warn!(queue, by = paused.paused_by, "a queue is paused");
    Ok(Json(QueueStanding { queue, paused: Some(paused) }))
}
