//! `GET /v1/accounts/{account}/balance`: what does this account come to?

use axum::Json;
use axum::extract::State as Shared;
use domain::ledger::{Account, Side};
use rust_decimal::Decimal;
use serde::Serialize;
use utoipa::ToSchema;

use crate::extract::Path;
use crate::identity::access::{May, scope};
use crate::ledger;
use crate::problem::{Document, Guarded, OrProblem, Problem, ReadProblems};
use crate::state::State;

/// What an account comes to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountBalance {
    /// The account.
    account: Account,
    /// The side that grows it, on which the balances are told.
    normal_side: Side,
    /// One for each currency that was ever booked here.
    balances: Vec<CurrencyBalance>,
}

/// An account's balance in one currency: the sum of its entries.
///
/// **Units.** Major units of the currency, as text.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Balance)]
pub(crate) struct CurrencyBalance {
    /// ISO 4217.
    #[schema(example = "GBP")]
    currency: String,
    /// What was booked on the left.
    #[schema(value_type = String, example = "119.94")]
    debits: Decimal,
    /// What was booked on the right.
    #[schema(value_type = String, example = "19.99")]
    credits: Decimal,
    /// What it comes to on its normal side; below zero if it is overdrawn.
    #[schema(value_type = String, example = "99.95")]
    balance: Decimal,
}

/// Shows an account's balance in each currency.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/balance", tag = "ledger", security(("bearer" = ["ledger:read"])),
    params(("account" = Account, Path, description = "The account")),
    responses(
        (status = 200, description = "What it comes to", body = AccountBalance),
        (status = 404, description = "There is no such account", body = Document,
         content_type = "application/problem+json"),
        Guarded,
        ReadProblems,
    ),
)]
pub(crate) async fn balance(
    _allowed: May<scope::ReadLedger>,
    Shared(state): Shared<State>,
    Path(account): Path<String>,
) -> Result<Json<AccountBalance>, Problem> {
    let account = ledger::account(&account)?;
    let mut balances = sqlx::query_as!(
        CurrencyBalance,
        r#"select currency, debits as "debits!", credits as "credits!",
               case $2 when 'debit' then debits - credits else credits - debits end as "balance!"
           from (
               select currency,
                   coalesce(sum(amount) filter (where side = 'debit'), 0) as debits,
                   coalesce(sum(amount) filter (where side = 'credit'), 0) as credits
               from ledger.entries where account = $1 group by currency
           ) as sums
           order by currency"#,
        account.as_str(),
        account.normal_side().as_str(),
    )
    .fetch_all(&state.database)
    .await
    .or_problem("adding up an account")?;
    for told in &mut balances {
        told.debits = ledger::written(told.debits, &told.currency);
        told.credits = ledger::written(told.credits, &told.currency);
        told.balance = ledger::written(told.balance, &told.currency);
    }
    Ok(Json(AccountBalance { account, normal_side: account.normal_side(), balances }))
}
