//! What every program of Ordersaga needs to run, whatever it does.
//!
//! | module | provides |
//! |---|---|
//! | [`console`] | colours at a terminal, and lines that fit it |
//! | [`logging`] | log lines on standard error, for people or for machines |
//! | [`http`] | the one way to an HTTP client, and to receivers that somebody else has chosen |
//! | [`metrics`] | the process's one recorder for Prometheus |
//! | [`database`] | Postgres pools, what can be seen of them, and what a database error means |
//! | [`schema`] | the migrations, and whether a database and a program fit together |
//! | [`temporal`] | the connection to Temporal |
//! | [`shutdown`] | SIGTERM and SIGINT as a cancellation token |
//!
//! Nothing here knows of orders, routes or workflows.

pub mod console;
pub mod database;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod schema;
pub mod shutdown;
pub mod temporal;

use std::error::Error;
use std::process;

/// What this process is called among those of the same kind: its number and its machine, such as
/// `17@web-3`.
#[must_use]
pub fn process_name() -> String {
    format!("{}@{}", process::id(), gethostname::gethostname().to_string_lossy())
}

/// An error and its causes in one line, for a log.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many libraries repeat their source in their own message.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{message}")]
    struct Failure {
        message: &'static str,
        source: io::Error,
    }

    #[test]
    fn a_chain_names_each_cause_once() {
        let failure = |message| Failure { message, source: io::Error::other("the disk is full") };
        assert_eq!(chain(&failure("not saved")), "not saved: the disk is full");
        let repeated = "not saved: the disk is full";
        assert_eq!(chain(&failure(repeated)), repeated);
    }
}
