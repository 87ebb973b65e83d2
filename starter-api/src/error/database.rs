//! What an error of the database means to the caller.

use runtime::database::{DatabaseFault, alarm};

use crate::error::{OrProblem, Problem};

impl Problem {
    /// What the database's error means: it does not answer, it does not fit the starter, which
    /// an operator puts right, or the starter has a bug.
    #[must_use]
    pub fn of_database(doing: &'static str, error: &sqlx::Error) -> Self {
        match DatabaseFault::of(error) {
            DatabaseFault::Transient => Self::unavailable(doing, error),
            DatabaseFault::Misdeployed => {
                alarm(doing, error);
                Self::unavailable(doing, error)
            }
            DatabaseFault::Broken => Self::internal(doing, error),
        }
    }
}

impl<T> OrProblem<T> for Result<T, sqlx::Error> {
    fn or_problem(self, doing: &'static str) -> Result<T, Problem> {
        self.map_err(|error| Problem::of_database(doing, &error))
    }
}
