//! `GET /v1/ledger/validate`: checks whether the books balance.

use axum::Json;
use axum::extract::State as Shared;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::ledger;
use crate::app::ledger::validate::Validation;
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Query;
use crate::http::problem::{AuthResponses, ReadProblems};
use crate::identity::{Authorized, scope};

/// Query parameters.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ValidateQuery {
    /// Whether to add up every entry and compare the sums with those of the last closing. It takes
    /// long in a large ledger.
    #[serde(default)]
    #[param(example = true)]
    every_entry: bool,
}

/// Checks that the books balance, in one snapshot.
///
/// Closed books are immutable and were checked when they were closed. So only the entries since
/// the last closing are checked, and added to its sums. With `every_entry`, all are checked.
#[utoipa::path(
    get, path = "/v1/ledger/validate", tag = "ledger", security(("bearer" = ["ledger:read"])),
    params(ValidateQuery),
    responses((status = 200, description = "The proof", body = Validation), AuthResponses, ReadProblems),
)]
pub(crate) async fn validate(
    _allowed: Authorized<scope::ReadLedger>,
    Shared(state): Shared<State>,
    Query(query): Query<ValidateQuery>,
) -> Result<Json<Validation>, Problem> {
    ledger::validate::validate(&state.app, query.every_entry).await.map(Json)
}
