//! Heartbeats, so that no order waits for a worker that is dead, and an attempt that is called off
//! keeps nothing.

use std::pin::pin;
use std::time::Duration;

use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tokio::time::interval;

/// Often enough for Temporal to hear of it within [`saga::HEARTBEAT_TIMEOUT`].
const EVERY: Duration = Duration::from_millis(500);

/// Does the work, and tells Temporal every now and then that it is still being done. A patient
/// attempt of which nothing is heard any more is given to another worker.
///
/// An attempt that is called off while it is under way, or whose time is up, is given up: the work
/// is dropped, and its connections and its turn at an article go back. That is safe, because an
/// attempt that stops half way is like one whose worker has died. Each of its effects is one
/// statement, which commits or does not, and its key tells the next attempt, or the undo, what has
/// been done.
///
/// An attempt that begins only after that runs to its end, as a request does that was held up on
/// its way: whatever it still does meets its key, too. The fault matrix has attempts come late by
/// this.
///
/// **Errors.** Cancelled, if the attempt is given up.
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
            // An answer that is there is given.
            biased;
            done = &mut work => return Ok(done),
            () = &mut called_off, if !has_come_late => return Err(ActivityError::cancelled()),
            _ = due.tick() => {
                // Nothing is told but that it lives, and that can always be written.
                if let Err(error) = context.record_heartbeat(()).await {
                    tracing::error!(%error, "a sign of life cannot be given");
                }
            }
        }
    }
}
