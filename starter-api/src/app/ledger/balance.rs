//! An account's balance.

use domain::ledger::{Account, Side};
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use super::sums::{self, Closing, Sums};
use crate::app::App;
use crate::app::ledger::{BadEntry, with_minor_digits};
use crate::error::{OrProblem, Problem};

const DOING: &str = "adding up an account";

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
    let unusable = |bad: BadEntry| Problem::internal(DOING, &bad);
    let sums = sums::together(read(&app.database).await.or_problem(DOING)?).map_err(unusable)?;
    let sums = sums.into_iter().filter(|sums| sums.account == account.as_str());
    let normal_side = account.normal_side();
    let balances = sums.map(|sums| {
        let balance = sums.balance_on(normal_side).map_err(unusable)?;
        Ok(CurrencyBalance {
            debits: with_minor_digits(sums.debits, &sums.currency),
            credits: with_minor_digits(sums.credits, &sums.currency),
            balance: with_minor_digits(balance, &sums.currency),
            currency: sums.currency,
        })
    });
    let balances = balances.collect::<Result<_, Problem>>()?;
    Ok(AccountBalance { account, normal_side, balances })
}

/// The sums of the last closing, and of the entries since. The two queries need no common snapshot:
/// a closing is immutable, and every entry that it does not contain has a higher transaction id.
async fn read(database: &PgPool) -> sqlx::Result<[Vec<Sums>; 2]> {
    let mut connection = database.acquire().await?;
    let Closing { through, sums } = sums::last_closing(&mut connection).await?;
    let since = sums::since(&mut connection, through).await?;
    Ok([sums, since])
}
