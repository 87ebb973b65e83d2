//! Whether there is anything new in the outbox, asked ten times a second by one query for all sinks of
//! the process. Whoever has nothing to do waits for that; whoever has a backlog does not.

use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often it is asked.
pub const ASK_EVERY: Duration = Duration::from_millis(100);

/// What one look has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// What was seen.
    pub snapshot: String,
    /// Whether there are messages that the look before has not seen.
    pub is_new: bool,
}

/// Looks once. `before` is the snapshot of the look before.
pub async fn look(pool: &PgPool, before: &str) -> sqlx::Result<Look> {
    sqlx::query_as!(
        Look,
        r#"
        select
            pg_current_snapshot()::text as "snapshot!",
            exists (
                select from generate_series(0, 7) as each_shard
                cross join lateral outbox.waiting(
                    each_shard::smallint, $1::text::pg_snapshot, null, 0, 1
                )
            ) as "is_new!"
        "#,
        before,
    )
    .fetch_one(pool)
    .await
}

/// Looks until `stop`, and tells when there is something new. While the database does not answer, it
/// tells nothing; each reader looks by itself now and then.
pub async fn watch(pool: PgPool, tell: watch::Sender<u64>, stop: CancellationToken) {
    // A snapshot that sees nothing: whatever there is at the start is new.
    let mut before = "3:3:".to_owned();
    let mut due = interval(ASK_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(due.tick()).await.is_some() {
        // What is wrong is told by those who read.
        let Ok(Look { snapshot, is_new }) = look(&pool, &before).await else { continue };
        before = snapshot;
        if is_new {
            tell.send_modify(|times| *times = times.wrapping_add(1));
        }
    }
}
