//! Waits for servers that start at the same time as the worker.

use std::error::Error;
use std::time::Duration;

use runtime::chain;
use tracing::{info, warn};

/// A compose file or a cluster starts everything at once, so the first retry comes soon.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Retries a call until the party answers, and logs what it is waiting for.
pub async fn until_there<T, E>(party: &str, mut ask: impl AsyncFnMut() -> Result<T, E>) -> T
where
    E: Error,
{
    let mut pause = FIRST_PAUSE;
    loop {
        match ask().await {
            Ok(answer) => {
                info!("{party} is there");
                return answer;
            }
            Err(error) => {
                let pause_ms = pause.as_millis();
                warn!(pause_ms, error = chain(&error), "waiting for {party}");
            }
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}
