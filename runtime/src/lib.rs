//! What every program of Ordersaga shares to run.
//!
//! | module | provides |
//! |---|---|
//! | [`console`] | colours and line wrapping for terminals |
//! | [`logging`] | log lines on standard error, for people or for machines |
//! | [`http`] | HTTP clients, also for receivers that somebody else has chosen |
//! | [`metrics`] | the process's Prometheus recorder |
//! | [`database`] | Postgres pools, their metrics, and the classification of database errors |
//! | [`schema`] | the migrations, and the check that a database and a program fit together |
//! | [`temporal`] | the connection to Temporal |
//! | [`shutdown`] | SIGTERM and SIGINT as a cancellation token |
//!
//! Nothing here depends on orders, routes or workflows.

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

/// The identity of this process: its process id and host, such as `17@web-3`.
#[must_use]
pub fn process_name() -> String {
    format!("{}@{}", process::id(), gethostname::gethostname().to_string_lossy())
}

/// An error and its chain of causes on one line, for a log.
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
