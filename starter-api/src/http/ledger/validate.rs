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

/// What to check.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ValidateQuery {
    /// Whether every entry ever posted is added up, which takes long in a large ledger, and compared
    /// with what the books were closed with.
    #[serde(default)]
    every_entry: bool,
}

/// Checks that the books balance, in one snapshot.
///
/// The books are closed as they go on: what is closed was checked then, and nothing can be posted to it
/// or changed in it. So the entries since are checked, and added to what the books were closed with;
/// with `every_entry`, all of them are, from the entries alone.
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
