//! Classifies database errors for the caller.

use runtime::database::{DatabaseFault, alarm};

use crate::error::{Kind, OrProblem, Problem};

impl Problem {
    /// The problem for a database error: the database does not answer, it does not match this
    /// release (an operator has to fix that), or the starter has a bug.
    #[must_use]
    pub fn of_database(doing: &'static str, error: &sqlx::Error) -> Self {
        match DatabaseFault::of(error) {
            DatabaseFault::Transient => Self::unavailable(doing, error),
            DatabaseFault::Misdeployed => {
                alarm(doing, error);
                Self::unavailable(doing, error)
            }
            DatabaseFault::Broken if is_no_value(error) => {
                tracing::error!(doing, error = runtime::chain(error), "a value reached no column");
                Self::new(
                    Kind::MalformedRequest,
                    "A value of the request is one that the shop cannot keep: a number or a moment \
                     out of range, or text with a character that has no meaning.",
                )
            }
            DatabaseFault::Broken => Self::internal(doing, error),
        }
    }
}

/// Whether the database rejected a value that its type cannot hold. Input validation should have
/// caught it with a better message; a value that it missed must still not be reported as an
/// internal error.
///
/// **Source.** PostgreSQL's appendix of error codes: numeric value, datetime or character out of
/// range.
fn is_no_value(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| matches!(&*code, "22003" | "22008" | "22021" | "22P05"))
}

impl<T> OrProblem<T> for Result<T, sqlx::Error> {
    fn or_problem(self, doing: &'static str) -> Result<T, Problem> {
        self.map_err(|error| Problem::of_database(doing, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(error: &sqlx::Error) -> Kind {
        Problem::of_database("testing", error).kind()
    }

    #[test]
    fn a_caller_is_asked_to_come_again_if_that_can_help_and_is_told_of_a_bug_otherwise() {
        let lost = sqlx::Error::Protocol("expecting ParseComplete".to_owned());
        let all = testkit::SQLSTATES.map(|(code, passes)| (testkit::refused(code), passes));
        for (error, passes) in all.into_iter().chain([(lost, true)]) {
            let kind = if passes { Kind::TryAgain } else { Kind::Internal };
            assert_eq!(kind_of(&error), kind, "{error}");
        }
    }

    #[test]
    fn a_value_that_no_column_holds_is_the_requests_fault() {
        for code in ["22003", "22008", "22021", "22P05"] {
            assert_eq!(kind_of(&testkit::refused(code)), Kind::MalformedRequest, "{code}");
        }
    }
}
