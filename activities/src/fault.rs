//! Faults of activities, in classes that decide what happens next; and their only conversion to
//! Temporal's failures.

use std::error::Error;
use std::fmt::Display;
use std::time::Duration;

use domain::Rejection;
use runtime::chain;
use runtime::database::{DatabaseFault, alarm};
use saga::{BROKEN, BUSY, INVALID_ANSWER, NOT_OPEN, REJECTED, UNAVAILABLE};
use serde_json::Value;
use temporalio_common::error::{ApplicationErrorCategory, ApplicationFailure};
use temporalio_sdk::activities::ActivityError;

use crate::party::NotCalled;

/// The longest `Retry-After` that is honoured. A party that asks for more is asked every hour.
pub(crate) const PAUSE_MAX: Duration = Duration::from_hours(1);

/// The cause of a fault. For logs only; it never reaches a customer or a history.
pub(crate) type Cause = Box<dyn Error + Send + Sync>;

/// Why an activity failed.
///
/// **Shape.** `doing` says what was attempted, in business terms.
#[derive(Debug, thiserror::Error)]
pub enum ActivityFault {
    /// The business refused. The order unwinds, and nobody has made a mistake.
    #[error(transparent)]
    Rejected(Rejection),
    /// The order is not on record, or has ended: there is nothing to do for it.
    #[error("{message}")]
    NotOpen {
        /// What is wrong, in plain text.
        message: String,
        /// How the order ended, according to the record.
        ended: Option<Value>,
    },
    /// The party does not answer; whether it has acted is unknown. Retryable.
    #[error("no answer while {doing}")]
    Unavailable {
        /// What was attempted.
        doing: &'static str,
        /// When the party asked to be called again, if it did.
        retry_after: Option<Duration>,
        /// What happened.
        source: Cause,
    },
    /// The party's answer is invalid, such as a proxy's error page; whether the party has acted is
    /// unknown. Retried for as long as [`Settings::ask_again_for`](crate::Settings::ask_again_for)
    /// says, and then broken.
    #[error("{party}'s answer makes no sense ({doing})")]
    InvalidAnswer {
        /// The party, in words.
        party: &'static str,
        /// What was attempted.
        doing: &'static str,
        /// What is wrong with the answer.
        source: Cause,
    },
    /// A bug or a violated invariant of this program. Not retryable.
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

    /// Classifies a database error: an unreachable or busy server recovers, a schema or
    /// configuration that does not fit this release is fixed by an operator, and an invalid
    /// statement or a violated constraint is a bug.
    pub(crate) fn of_database(doing: &'static str, error: sqlx::Error) -> Self {
        match DatabaseFault::of(&error) {
            DatabaseFault::Transient => {
                Self::Unavailable { doing, retry_after: None, source: error.into() }
            }
            DatabaseFault::Misdeployed => {
                alarm(doing, &error);
                Self::Unavailable { doing, retry_after: None, source: error.into() }
            }
            DatabaseFault::Broken => Self::broken(doing, error),
        }
    }

    /// Converts to Temporal's failure, and logs an error if a person has to look at it.
    ///
    /// **Shape.** The incident is the step's key: the order shows it, and it finds this log line.
    /// The message contains nothing internal. An invalid answer carries the time for which the
    /// party is asked again; if that is zero, it is broken at once.
    pub(crate) fn into_activity_error(
        self,
        incident: &impl Display,
        ask_again_for: Duration,
    ) -> ActivityError {
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
                let type_name = if retry_after.is_some() { BUSY } else { UNAVAILABLE };
                // The order's timeline shows why the party was not called.
                let message = match source.downcast_ref::<NotCalled>() {
                    Some(why) => format!("{message}: {why}"),
                    None => message,
                };
                ApplicationFailure::builder(message)
                    .type_name(type_name.to_owned())
                    .maybe_next_retry_delay(retry_after.map(|delay| delay.min(PAUSE_MAX)))
                    .build()
            }
            Self::InvalidAnswer { doing, source, .. } if ask_again_for.is_zero() => {
                return Self::broken(doing, source).into_activity_error(incident, ask_again_for);
            }
            Self::InvalidAnswer { source, .. } => {
                tracing::warn!(%incident, cause = chain(source.as_ref()), "{message}");
                ApplicationFailure::builder(format!("{message}; incident {incident}"))
                    .type_name(INVALID_ANSWER.to_owned())
                    .details(ask_again_for)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_database_is_tried_again_if_that_can_help_and_is_a_bug_otherwise() {
        let lost = sqlx::Error::Protocol("expecting ParseComplete".to_owned());
        let all = testkit::SQLSTATES.map(|(code, passes)| (testkit::refused(code), passes));
        for (error, passes) in all.into_iter().chain([(lost, true)]) {
            let told = error.to_string();
            let fault = ActivityFault::of_database("testing", error);
            let is_unavailable = matches!(fault, ActivityFault::Unavailable { .. });
            let is_broken = matches!(fault, ActivityFault::Broken { .. });
            assert_eq!((is_unavailable, is_broken), (passes, !passes), "{told}");
        }
    }
}
