//! Heartbeats, so that no order waits for a worker that is dead.

use std::time::Duration;

use temporalio_sdk::activities::ActivityContext;
use tokio::time::interval;

/// Often enough for Temporal to hear of it within [`saga::HEARTBEAT_TIMEOUT`].
const EVERY: Duration = Duration::from_millis(500);

/// Does the work, and tells Temporal every now and then that it is still being done. A patient
/// attempt of which nothing is heard any more is given to another worker.
pub(crate) async fn with_heartbeat<T>(
    context: &ActivityContext,
    work: impl Future<Output = T>,
) -> T {
    let mut due = interval(EVERY);
    due.tick().await;
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = due.tick() => {
                // Nothing is told but that it lives, and that can always be written.
                if let Err(error) = context.record_heartbeat(()).await {
                    tracing::error!(%error, "a sign of life cannot be given");
                }
            }
        }
    }
}
