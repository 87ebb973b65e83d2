//! `GET /v1/ledger/validate`: checks whether the books balance.

use axum::Json;
use axum::extract::State as Shared;

use crate::app::ledger;
use crate::app::ledger::validate::Validation;
use crate::error::Problem;
use crate::http::State;
use crate::http::problem::{AuthResponses, ReadProblems};
use crate::identity::{Authorized, scope};

/// Checks that the books balance, from the entries alone.
///
/// Reads every entry in one snapshot, so it takes long in a large ledger.
#[utoipa::path(
    get, path = "/v1/ledger/validate", tag = "ledger", security(("bearer" = ["ledger:read"])),
    responses((status = 200, description = "The proof", body = Validation), AuthResponses, ReadProblems),
)]
pub(crate) async fn validate(
    _allowed: Authorized<scope::ReadLedger>,
    Shared(state): Shared<State>,
) -> Result<Json<Validation>, Problem> {
    ledger::validate::validate(&state.app).await.map(Json)
}
