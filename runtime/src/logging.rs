//! Structured logging to standard error.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::console::is_coloured;

/// The filter of a command that prints a result: errors only, so that library warnings do not
/// clutter the output.
pub const ONLY_ERRORS: &str = "error";

/// The filter of a server program. The SDK reports failed workflow tasks as warnings, and its
/// informational lines repeat ours. `lapin` warns of every message that a broker returns, including
/// its whole content.
pub const EVENTS_OF_NOTE: &str = "info,sqlx::postgres::notice=warn,temporalio_sdk_core=warn,temporalio_client=warn,temporalio_sdk=warn,lapin=error";

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For machines: one JSON object per line.
    Json,
}

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// Standard error is closed.
    #[error("standard error cannot be written to")]
    Output(#[from] io::Error),
    /// Another subscriber is already installed.
    #[error("another log is in place")]
    Started(#[from] tracing_subscriber::util::TryInitError),
}

/// Sends log lines to standard error, separate from a command's output.
///
/// `filter` applies unless `RUST_LOG` is set.
pub fn start_logging(format: LogFormat, filter: &str) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    // Each line is one write already. The lock of `io::stderr` would only cause contention.
    let output = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Arc::new(output))
        .with_ansi(is_coloured(&io::stderr()));
    match format {
        LogFormat::Pretty => log.finish().try_init()?,
        LogFormat::Json => {
            log.json().flatten_event(true).with_span_list(false).finish().try_init()?;
        }
    }
    Ok(())
}
