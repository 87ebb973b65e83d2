//! Graceful shutdown.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The exit code after a second signal: the one that shells use for an interrupted program.
const INTERRUPTED: i32 = 130;

/// A token that the first SIGTERM or SIGINT cancels. A second signal ends the process at once.
///
/// **Errors.** The signal handlers cannot be installed, so the process could not shut down
/// gracefully.
pub fn on_signal() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let cancelled = stop.clone();
    tokio::spawn(async move {
        let mut received = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let signal = received().await;
        info!(signal, "stopping: work in progress may finish; a second signal ends it at once");
        cancelled.cancel();
        let signal = received().await;
        warn!(signal, "ending at once; steps in progress will be retried");
        std::process::exit(INTERRUPTED);
    });
    Ok(stop)
}
