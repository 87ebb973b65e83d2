//! Polls the outbox for new messages ten times a second, with one query for all sinks of the
//! process. Idle readers wait for the result; readers with a backlog do not.

use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// The polling interval.
pub const ASK_EVERY: Duration = Duration::from_millis(100);

/// The result of one poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The snapshot of this poll.
    pub snapshot: String,
    /// Whether there are messages that the previous snapshot does not include.
    pub is_new: bool,
}

/// Polls once. `before` is the previous snapshot.
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

/// Polls until `stop`, and notifies readers of new messages. While the database does not answer, it
/// is silent; each reader also polls by itself, less often.
pub async fn watch(pool: PgPool, tell: watch::Sender<u64>, stop: CancellationToken) {
    // An empty snapshot: everything present at startup is new.
    let mut before = "3:3:".to_owned();
    let mut due = interval(ASK_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(due.tick()).await.is_some() {
        // The readers report database errors.
        let Ok(Look { snapshot, is_new }) = look(&pool, &before).await else { continue };
        before = snapshot;
        if is_new {
            tell.send_modify(|times| *times = times.wrapping_add(1));
        }
    }
}
