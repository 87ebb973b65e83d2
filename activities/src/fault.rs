//! Why something could not be done, in the three classes that decide what happens next; and the
//! only place where they become Temporal's failures.

use std::error::Error;
use std::fmt::Display;
use std::time::Duration;

use domain::Rejection;
use temporalio_common::error::{ApplicationErrorCategory, ApplicationFailure};
use temporalio_sdk::activities::ActivityError;
use saga::{BROKEN, NOT_OPEN, REJECTED, UNAVAILABLE};
use serde_json::Value;

/// What lies behind a fault. For logs; it never reaches a customer or a history.
pub(crate) type Cause = Box<dyn Error + Send + Sync>;

/// Why an activity was not done.
///
/// **Shape.** `doing` says what was attempted, in the words of the trade.
#[derive(Debug, thiserror::Error)]
pub enum ActivityFault {
    /// The business said no. The order unwinds, and nobody has made a mistake.
    #[error(transparent)]
    Rejected(Rejection),
    /// The order is not on record, or has ended: there is nothing to do for it.
    #[error("{message}")]
    NotOpen {
        /// What is wrong, for people.
        message: String,
        /// How the order ended, as the record has it.
        ended: Option<Value>,
    },
    /// The party does not answer; whether it has acted is unknown. Tried again.
    #[error("no answer while {doing}")]
    Unavailable {
        /// What was attempted.
        doing: &'static str,
        /// When the party asked to be tried again, if it did.
        retry_after: Option<Duration>,
        /// What happened.
        source: Cause,
    },
    /// A bug or a violated invariant. Trying again would not help.
    #[error("something is broken in {doing}")]
    Broken {
        /// What was attempted.
        doing: &'static str,
        /// What happened.
        source: Cause,
    },
}

impl ActivityFault {
    pub(crate) fn broken(doing: &'static str, source: impl Into<Cause>) -> Self {
        Self::Broken { doing, source: source.into() }
    }

    pub(crate) const fn not_open(message: String, ended: Option<Value>) -> Self {
        Self::NotOpen { message, ended }
    }

    /// Sorts a database's error: a server that is gone or busy comes back, a statement that is
    /// wrong or refused by a constraint is a bug.
    pub(crate) fn of_database(doing: &'static str, error: sqlx::Error) -> Self {
        if is_passing(&error) {
            Self::Unavailable { doing, retry_after: None, source: error.into() }
        } else {
            Self::broken(doing, error)
        }
    }

    /// Tells Temporal, and the log where a person must look.
    ///
    /// **Shape.** The incident is the step's key: whoever reads it in the order finds this line
    /// by it. The message says no more than may be shown.
    pub(crate) fn into_activity_error(self, incident: &impl Display) -> ActivityError {
        let message = self.to_string();
        let failure = match self {
            Self::Rejected(rejection) => ApplicationFailure::builder(message)
                .type_name(REJECTED.to_owned())
                .non_retryable(true)
                .category(ApplicationErrorCategory::Benign)
                .details(rejection)
                .build(),
            Self::NotOpen { ended, .. } => {
                tracing::warn!(%incident, "{message}");
                let failure = ApplicationFailure::builder(message)
                    .type_name(NOT_OPEN.to_owned())
                    .non_retryable(true)
                    .category(ApplicationErrorCategory::Benign);
                match ended {
                    Some(ended) => failure.details(ended).build(),
                    None => failure.build(),
                }
            }
            Self::Unavailable { retry_after, source, .. } => {
                tracing::warn!(%incident, cause = chain(source.as_ref()), "{message}");
                ApplicationFailure::builder(message)
                    .type_name(UNAVAILABLE.to_owned())
                    .maybe_next_retry_delay(retry_after)
                    .build()
            }
            Self::Broken { source, .. } => {
                tracing::error!(%incident, cause = chain(source.as_ref()), "{message}");
                ApplicationFailure::builder(format!("{message}; incident {incident}"))
                    .type_name(BROKEN.to_owned())
                    .non_retryable(true)
                    .build()
            }
        };
        ActivityError::application(failure)
    }
}

/// Whether the error says something about the moment rather than about the statement.
fn is_passing(error: &sqlx::Error) -> bool {
    if let sqlx::Error::Database(refused) = error {
        return refused.code().is_some_and(|code| is_passing_state(&code));
    }
    matches!(
        error,
        sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
    )
}

/// **Source.** PostgreSQL's appendix of error codes; the first two letters are the class.
fn is_passing_state(code: &str) -> bool {
    matches!(
        code,
        // Serialization failure, deadlock, lock not available: somebody else came first.
        "40001" | "40P01" | "55P03"
        // A standby that has not been promoted yet, and a statement that took too long.
        | "25006" | "57014"
        // Shut down by an administrator, crashed, starting up.
        | "57P01" | "57P02" | "57P03"
    ) || code.starts_with("08") // The connection broke.
        || code.starts_with("53") // Out of connections, memory or disk.
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
