//! What an error of the database means to the caller.

use crate::error::{OrProblem, Problem};

impl Problem {
    /// What the database's error means: it does not answer, or the starter has a bug.
    #[must_use]
    pub fn of_database(doing: &'static str, error: &sqlx::Error) -> Self {
        if is_outage(error) {
            Self::unavailable(doing, error)
        } else {
            Self::internal(doing, error)
        }
    }
}

impl<T> OrProblem<T> for Result<T, sqlx::Error> {
    fn or_problem(self, doing: &'static str) -> Result<T, Problem> {
        self.map_err(|error| Problem::of_database(doing, &error))
    }
}

/// Whether the database is away, starting, full or refusing writes, as opposed to having been
/// asked something wrong.
fn is_outage(error: &sqlx::Error) -> bool {
    if let sqlx::Error::Database(error) = error {
        // Connection exceptions, lack of resources, shutting down or starting, a statement's
        // time limit, and a server that is still being promoted.
        return error.code().is_some_and(|code| {
            ["08", "53", "57"].iter().any(|class| code.starts_with(class)) || code == "25006"
        });
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
