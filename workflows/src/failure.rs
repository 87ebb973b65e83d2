//! What became of an activity that did not simply succeed: decoded here and nowhere else.

use domain::Rejection;
use temporalio_common::error::{ApplicationFailure, IncomingError};
use temporalio_workflow::ActivityExecutionError;

/// The failure type of a business refusal; its details are a [`Rejection`].
pub const REJECTED: &str = "Rejected";

/// The failure type of a party that does not answer. Retried; if it stays so, the outcome is
/// unknown.
pub const UNAVAILABLE: &str = "Unavailable";

/// The failure type of a bug or a violated invariant.
pub const BROKEN: &str = "Broken";

/// Why an activity did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepFailure {
    /// The business said no. Nothing took effect.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// No answer in time. The effect may or may not have happened, or may happen yet.
    #[error("no answer in time: {0}")]
    Unknown(String),
    /// The saga called it off. Like [`StepFailure::Unknown`], the effect may have happened.
    #[error("called off")]
    Cancelled,
    /// A bug or a violated invariant. The effect may have happened.
    #[error("{0}")]
    Broken(String),
}

impl StepFailure {
    pub(crate) fn of(error: &ActivityExecutionError) -> Self {
        match error.cause() {
            Some(IncomingError::Application(failure)) => Self::of_application(failure),
            Some(IncomingError::Timeout(_)) => Self::Unknown("timed out".to_owned()),
            Some(IncomingError::Cancelled(_)) => Self::Cancelled,
            Some(other) => Self::Broken(other.to_string()),
            None if error.as_cancelled().is_some() => Self::Cancelled,
            None => Self::Broken(error.to_string()),
        }
    }

    fn of_application(failure: &ApplicationFailure) -> Self {
        let message = failure.to_string();
        match failure.type_name() {
            Some(REJECTED) => match failure.details::<Rejection>() {
                Ok(Some(rejection)) => Self::Rejected(rejection),
                Ok(None) | Err(_) => Self::Broken(format!("a refusal without a reason: {message}")),
            },
            Some(BROKEN) => Self::Broken(message),
            // A retryable failure gets here when its time is up, whatever its name.
            Some(_) | None if failure.is_non_retryable() => Self::Broken(message),
            Some(_) | None => Self::Unknown(message),
        }
    }
}
