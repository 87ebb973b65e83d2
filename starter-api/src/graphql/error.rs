//! A [`Problem`] as a GraphQL error.

use async_graphql::{Error, ErrorExtensions};

use crate::error::Problem;

/// The problem as a GraphQL error, with its kind as the code.
pub(super) fn graphql_error(problem: &Problem) -> Error {
    Error::new(problem.details().detail.to_string())
        .extend_with(|_, extensions| extensions.set("code", problem.kind().heading()))
}
