//! Heartbeats: no order waits for a dead worker, and a cancelled attempt releases its resources.

use std::pin::pin;
use std::time::Duration;

use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tokio::time::interval;

/// Often enough for Temporal to see it within [`saga::HEARTBEAT_TIMEOUT`].
const EVERY: Duration = Duration::from_millis(500);

/// Does the work and sends heartbeats meanwhile. Temporal gives a patient attempt without
/// heartbeats to another worker.
///
/// An attempt that is cancelled or times out while it runs is dropped, and releases its connections
/// and its place in an article's queue. That is safe, because it is like an attempt whose worker
/// has died: each of its effects is one statement, which commits or does not, and its key tells the
/// next attempt, or the undo, what was done.
///
/// An attempt that only starts after its cancellation runs to its end, like a request that was
/// delayed on its way: its key makes it harmless, too. The fault matrix uses this to make attempts
/// late.
///
/// **Errors.** Cancelled, if the attempt is dropped.
pub(crate) async fn with_heartbeat<T>(
    context: &ActivityContext,
    work: impl Future<Output = T>,
) -> Result<T, ActivityError> {
    let mut due = interval(EVERY);
    due.tick().await;
    let has_come_late = context.is_cancelled();
    let mut called_off = pin!(context.cancelled());
    let mut work = pin!(work);
    loop {
        tokio::select! {
            // A result that is ready is returned.
            biased;
            done = &mut work => return Ok(done),
            () = &mut called_off, if !has_come_late => return Err(ActivityError::cancelled()),
            _ = due.tick() => {
                // The heartbeat has no details, so it can always be serialised.
                if let Err(error) = context.record_heartbeat(()).await {
                    tracing::error!(%error, "cannot record a heartbeat");
                }
            }
        }
    }
}
