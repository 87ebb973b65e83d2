//! Decodes the failures of activities. No other module does.

use std::fmt::Display;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use temporalio_protos::temporal::api::failure::v1::failure::FailureInfo;
use temporalio_protos::temporal::api::failure::v1::{ApplicationFailureInfo, Failure};
use temporalio_workflow::ActivityExecutionError;

/// Failure type: the business refuses. Its details are the process's refusal. Not retryable.
pub const REJECTED: &str = "Rejected";

/// Failure type: a party does not answer. Retryable; if it persists, the outcome is unknown.
pub const UNAVAILABLE: &str = "Unavailable";

/// Failure type: a party does not answer, and says when to ask again (the failure's next retry
/// delay). Like [`UNAVAILABLE`], but ends the quick attempts at once, because the wait would occupy
/// the worker's slot.
pub const BUSY: &str = "Busy";

/// Failure type: a party's answer is invalid, such as a proxy's error page. Whether the party has
/// acted is unknown.
///
/// Like [`BUSY`], it ends the quick attempts at once. The patient attempts retry it for the
/// [`Duration`] in its details, at most a day; then it counts as [`BROKEN`]. Without details it is
/// [`BROKEN`] at once.
/// details it counts as [`BROKEN`] at once.
pub const INVALID_ANSWER: &str = "InvalidAnswer";

/// Failure type: a bug or a violated invariant. Not retryable.
pub const BROKEN: &str = "Broken";

/// Failure type: the process has nothing to do, because its subject is not on record or has already
/// ended. The details say how it ended, if known. Not retryable.
pub const NOT_OPEN: &str = "NotOpen";

/// Why an activity did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepFailure<R> {
    /// The business refused. Nothing took effect.
    #[error("{0}")]
    Refused(R),
    /// No answer in time. The effect may have happened, or may still happen.
    #[error("no answer in time: {0}")]
    Unknown(String),
    /// The saga cancelled it. Like [`StepFailure::Unknown`], the effect may have happened.
    #[error("cancelled")]
    Cancelled,
    /// A bug or a violated invariant, or a party whose answers were invalid for too long. The
    /// effect may have happened.
    #[error("{0}")]
    Broken(String),
    /// The process has nothing to do: it is not on record, or has ended. Nothing took effect.
    #[error("{message}")]
    NotOpen {
        /// What is wrong, in plain text.
        message: String,
        /// How the process ended, according to the record.
        ended: Option<Value>,
    },
}

impl<R: DeserializeOwned + Display> StepFailure<R> {
    pub(crate) fn of(error: &ActivityExecutionError) -> Self {
        match error.failure() {
            Some(failure) => Self::of_failure(failure),
            None => Self::Broken(format!("the answer cannot be read: {error}")),
        }
    }

    /// Handles both a regular activity's failure, which is wrapped, and a local one's, which is
    /// not.
    fn of_failure(failure: &Failure) -> Self {
        let message = &failure.message;
        match &failure.failure_info {
            Some(FailureInfo::ApplicationFailureInfo(info)) => Self::of_application(info, message),
            Some(FailureInfo::TimeoutFailureInfo(_)) => Self::Unknown("timed out".to_owned()),
            Some(FailureInfo::CanceledFailureInfo(_)) => Self::Cancelled,
            Some(_) | None => match &failure.cause {
                Some(cause) => Self::of_failure(cause),
                None => Self::Broken(message.clone()),
            },
        }
    }

    fn of_application(info: &ApplicationFailureInfo, message: &str) -> Self {
        match info.r#type.as_str() {
            REJECTED => match details(info) {
                Some(Ok(refusal)) => Self::Refused(refusal),
                Some(Err(_)) | None => {
                    Self::Broken(format!("a refusal without a reason: {message}"))
                }
            },
            NOT_OPEN => Self::NotOpen {
                message: message.to_owned(),
                ended: details(info).and_then(Result::ok),
            },
            BROKEN => Self::Broken(message.to_owned()),
            _ if info.non_retryable => Self::Broken(message.to_owned()),
            // A retryable failure arrives here when its time is up, whatever its type. Whether an
            // invalid answer then counts as broken is decided where its time is measured.
            _ => Self::Unknown(message.to_owned()),
        }
    }
}

/// A party's invalid answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvalidAnswer {
    /// What happened, in plain text.
    pub(crate) message: String,
    /// How long the party is asked again before the answer counts as broken.
    pub(crate) ask_again_for: Duration,
}

/// The longest time for which a party is asked again after an invalid answer.
const ASK_AGAIN_MAX: Duration = Duration::from_hours(24);

impl InvalidAnswer {
    /// The invalid answer that ended the activity, if one did.
    pub(crate) fn of(error: &ActivityExecutionError) -> Option<Self> {
        Self::of_failure(error.failure()?)
    }

    fn of_failure(failure: &Failure) -> Option<Self> {
        match &failure.failure_info {
            Some(FailureInfo::ApplicationFailureInfo(info)) => (info.r#type == INVALID_ANSWER)
                .then(|| Self {
                    message: failure.message.clone(),
                    ask_again_for: details(info)
                        .and_then(Result::ok)
                        .map_or(Duration::ZERO, |limit: Duration| limit.min(ASK_AGAIN_MAX)),
                }),
            Some(FailureInfo::TimeoutFailureInfo(_) | FailureInfo::CanceledFailureInfo(_)) => None,
            Some(_) | None => Self::of_failure(failure.cause.as_deref()?),
        }
    }
}

fn details<T: DeserializeOwned>(info: &ApplicationFailureInfo) -> Option<serde_json::Result<T>> {
    let payload = info.details.as_ref()?.payloads.first()?;
    Some(serde_json::from_slice(&payload.data))
}

#[cfg(test)]
mod tests {
    use temporalio_protos::temporal::api::common::v1::{Payload, Payloads};
    use temporalio_protos::temporal::api::failure::v1::ActivityFailureInfo;

    use super::*;

    fn invalid_answer(details: Option<Duration>) -> Failure {
        let payload = |limit: Duration| Payload {
            data: serde_json::to_vec(&limit).unwrap(),
            ..Payload::default()
        };
        let info = ApplicationFailureInfo {
            r#type: INVALID_ANSWER.to_owned(),
            details: details.map(|limit| Payloads { payloads: vec![payload(limit)] }),
            ..ApplicationFailureInfo::default()
        };
        Failure {
            message: "no sense".to_owned(),
            failure_info: Some(FailureInfo::ApplicationFailureInfo(info)),
            ..Failure::default()
        }
    }

    /// Wraps a failure as a regular activity's failure arrives.
    fn wrapped(cause: Failure) -> Failure {
        Failure {
            cause: Some(Box::new(cause)),
            failure_info: Some(FailureInfo::ActivityFailureInfo(ActivityFailureInfo::default())),
            ..Failure::default()
        }
    }

    #[test]
    fn an_invalid_answer_says_for_how_long_to_ask_again_and_a_day_at_most() {
        let day = Duration::from_hours(24);
        for (details, limit) in [
            (Some(Duration::from_mins(5)), Duration::from_mins(5)),
            (Some(Duration::MAX), day),
            (None, Duration::ZERO),
        ] {
            let bare = invalid_answer(details);
            for failure in [wrapped(bare.clone()), bare] {
                let found = InvalidAnswer::of_failure(&failure).unwrap();
                assert_eq!((found.message.as_str(), found.ask_again_for), ("no sense", limit));
            }
        }
        assert_eq!(InvalidAnswer::of_failure(&wrapped(Failure::default())), None);
    }
}
