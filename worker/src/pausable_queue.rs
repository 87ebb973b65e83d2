//! Polls one task queue until shutdown or pause.
//!
//! The queue `orders` is never paused here: while it is, orders are not launched, and those under way
//! come to their end, so that none of them loses time.

use std::pin::pin;
use std::time::Duration;

use sqlx::PgPool;
use temporalio_sdk::Worker;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use workflows::Queue;

use crate::run::RunError;

/// How often the worker checks whether its queue is paused.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Serves a queue until `stop`. While the queue is paused, nothing is taken from it: its worker
/// finishes what it has and ends, and another is made when the line goes on. `served` is told
/// whenever that changes.
pub async fn serve(
    db: &PgPool,
    queue: Queue,
    make: impl Fn() -> Result<Worker, RunError>,
    served: impl Fn(bool),
    stop: &CancellationToken,
) -> Result<(), RunError> {
    loop {
        if stop.run_until_cancelled(until(db, queue, false)).await.is_none() {
            return Ok(());
        }
        let mut worker = make()?;
        let shut_down = worker.shutdown_handle();
        served(true);
        let ended = {
            let mut running = pin!(worker.run());
            tokio::select! {
                ended = &mut running => ended,
                _ = stop.run_until_cancelled(until(db, queue, true)) => {
                    shut_down();
                    running.await
                }
            }
        };
        served(false);
        ended.map_err(|source| RunError::Stopped { queue: queue.name(), source })?;
        if stop.is_cancelled() {
            return Ok(());
        }
    }
}

/// Waits until the queue is paused, or is not. While the database does not answer, all stays as
/// it is.
async fn until(db: &PgPool, queue: Queue, paused: bool) {
    let mut due = tokio::time::interval(LOOK_EVERY);
    let mut told = false;
    loop {
        due.tick().await;
        match is_paused(db, queue).await {
            Ok(is_paused) if is_paused == paused => return,
            Ok(is_paused) => {
                if is_paused && !told {
                    info!(queue = queue.name(), "the queue is paused by a person's decision");
                    told = true;
                }
            }
            Err(error) if paused => {
                warn!(queue = queue.name(), %error, "cannot check whether the queue is to be paused");
            }
            Err(error) => {
                warn!(queue = queue.name(), %error, "cannot check whether the queue may be resumed");
            }
        }
    }
}

async fn is_paused(db: &PgPool, queue: Queue) -> sqlx::Result<bool> {
    if queue == Queue::Orders {
        return Ok(false);
    }
    sqlx::query_scalar!(
        r#"select exists (
               select from operations.paused_queues where queue = $1
           ) as "paused!""#,
        queue.name(),
    )
    .fetch_one(db)
    .await
}
