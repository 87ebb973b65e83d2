//! An account's balance.

use domain::ledger::{Account, Side};
use rust_decimal::Decimal;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::app::ledger::with_minor_digits;
use crate::error::{OrProblem, Problem};

/// An account's balances.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountBalance {
    /// The account.
    account: Account,
    /// The side that increases it, on which the balances are shown.
    normal_side: Side,
    /// One for each currency with entries.
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
    /// The sum of the debits.
    #[schema(value_type = String, example = "119.94")]
    debits: Decimal,
    /// The sum of the credits.
    #[schema(value_type = String, example = "19.99")]
    credits: Decimal,
    /// The balance on its normal side; below zero if it is overdrawn.
    #[schema(value_type = String, example = "99.95")]
    balance: Decimal,
}

/// The account's balance in each currency with entries.
pub(crate) async fn balance(app: &App, account: Account) -> Result<AccountBalance, Problem> {
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
    .fetch_all(&app.database)
    .await
    .or_problem("adding up an account")?;
    for sums in &mut balances {
        sums.debits = with_minor_digits(sums.debits, &sums.currency);
        sums.credits = with_minor_digits(sums.credits, &sums.currency);
        sums.balance = with_minor_digits(sums.balance, &sums.currency);
    }
    Ok(AccountBalance { account, normal_side: account.normal_side(), balances })
}
