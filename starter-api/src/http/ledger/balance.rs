//! `GET /v1/accounts/{account}/balance`: shows an account's balance.

use axum::Json;
use axum::extract::State as Shared;
use domain::ledger::Account;

use crate::app::ledger;
use crate::app::ledger::balance::AccountBalance;
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Path;
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::identity::{Authorized, scope};

/// Shows an account's balance in each currency.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/balance", tag = "ledger", security(("bearer" = ["ledger:read"])),
    params(("account" = Account, Path, description = "The account")),
    responses(
        (status = 200, description = "The balances", body = AccountBalance),
        (status = 404, description = "There is no such account", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        ReadProblems,
    ),
)]
pub(crate) async fn balance(
    _allowed: Authorized<scope::ReadLedger>,
    Shared(state): Shared<State>,
    Path(account): Path<String>,
) -> Result<Json<AccountBalance>, Problem> {
    let account = ledger::parse_account(&account)?;
    ledger::balance::balance(&state.app, account).await.map(Json)
}
