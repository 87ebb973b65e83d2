//! Classifies errors of Temporal for the caller.

use temporalio_client::tonic::{Code, Status};

use crate::error::{OrProblem, Problem};

impl Problem {
    /// The problem for an error of Temporal: it does not answer, or is misconfigured.
    #[must_use]
    pub fn of_temporal(doing: &'static str, status: &Status) -> Self {
        match status.code() {
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Cancelled
            | Code::Unknown => Self::unavailable(doing, status),
            Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss
            | Code::Unauthenticated => Self::internal(doing, status),
        }
    }
}

impl<T> OrProblem<T> for Result<T, Status> {
    fn or_problem(self, doing: &'static str) -> Result<T, Problem> {
        self.map_err(|status| Problem::of_temporal(doing, &status))
    }
}
