//! Why an activity did not simply succeed: decoded here and nowhere else.

use std::fmt::Display;

use serde::de::DeserializeOwned;
use serde_json::Value;
use temporalio_protos::temporal::api::failure::v1::failure::FailureInfo;
use temporalio_protos::temporal::api::failure::v1::{ApplicationFailureInfo, Failure};
use temporalio_workflow::ActivityExecutionError;

/// The failure type of a business refusal; its details are the process's refusal. Not retryable.
pub const REJECTED: &str = "Rejected";

/// The failure type of a party that does not answer. Retried; if it stays so, the outcome is
/// unknown.
pub const UNAVAILABLE: &str = "Unavailable";

/// The failure type of a party that does not answer, and says when to ask again (the failure's
/// next retry delay). Like [`UNAVAILABLE`], but it ends the quick way at once: that would hold the
/// worker's place while it waits.
pub const BUSY: &str = "Busy";

/// The failure type of a bug or a violated invariant. Not retryable.
pub const BROKEN: &str = "Broken";

/// The failure type of a process that has nothing to do: what it is about is not on record, or
/// has ended already. Its details say how it ended, if it is known. Not retryable.
pub const NOT_OPEN: &str = "NotOpen";

/// Why an activity did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepFailure<R> {
    /// The business said no. Nothing took effect.
    #[error("{0}")]
    Refused(R),
    /// No answer in time. The effect may or may not have happened, or may happen yet.
    #[error("no answer in time: {0}")]
    Unknown(String),
    /// The saga cancelled it. Like [`StepFailure::Unknown`], the effect may have happened.
    #[error("cancelled")]
    Cancelled,
    /// A bug or a violated invariant. The effect may have happened.
    #[error("{0}")]
    Broken(String),
    /// There is nothing to do for this process: it is not on record, or has ended. Nothing took
    /// effect.
    #[error("{message}")]
    NotOpen {
        /// What is wrong, for people.
        message: String,
        /// How the process ended, as the record has it.
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

    /// A regular activity's failure is wrapped, a local one's is bare; both are read here.
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
            // A retryable failure gets here when its time is up, whatever its name.
            _ => Self::Unknown(message.to_owned()),
        }
    }
}

fn details<T: DeserializeOwned>(info: &ApplicationFailureInfo) -> Option<serde_json::Result<T>> {
    let payload = info.details.as_ref()?.payloads.first()?;
    Some(serde_json::from_slice(&payload.data))
}
