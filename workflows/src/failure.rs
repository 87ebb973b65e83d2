//! What became of an activity that did not simply succeed: decoded here and nowhere else.

use domain::Rejection;
use temporalio_protos::temporal::api::failure::v1::failure::FailureInfo;
use temporalio_protos::temporal::api::failure::v1::{ApplicationFailureInfo, Failure};
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
            REJECTED => {
                let details = info.details.as_ref().and_then(|details| details.payloads.first());
                let rejection = details.map(|payload| serde_json::from_slice(&payload.data));
                match rejection {
                    Some(Ok(rejection)) => Self::Rejected(rejection),
                    Some(Err(_)) | None => {
                        Self::Broken(format!("a refusal without a reason: {message}"))
                    }
                }
            }
            BROKEN => Self::Broken(message.to_owned()),
            _ if info.non_retryable => Self::Broken(message.to_owned()),
            // A retryable failure gets here when its time is up, whatever its name.
            _ => Self::Unknown(message.to_owned()),
        }
    }
}
