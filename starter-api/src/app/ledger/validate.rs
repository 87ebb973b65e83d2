//! Checks whether the books balance.

use std::collections::BTreeMap;

use domain::ledger::{Account, Side};
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;

use crate::app::App;
use crate::app::ledger::{BadEntry, with_minor_digits};
use crate::error::{OrProblem, Problem};

/// The maximum number of unbalanced transactions in a response.
const UNBALANCED_MAX: i64 = 100;

/// Whether the books balance, with the trial balance.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Validation {
    /// Whether every transaction balances, and the sum of all in every currency.
    valid: bool,
    /// Transactions whose sides differ, at most a hundred. Empty in books that are in order.
    unbalanced: Vec<UnbalancedTransaction>,
    /// Every account's sums, for each currency.
    trial_balances: Vec<TrialBalance>,
}

/// A transaction whose debits differ from its credits.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UnbalancedTransaction {
    /// Its number in the books.
    transaction_id: i64,
    /// The currency in which the sides differ.
    #[schema(example = "GBP")]
    currency: String,
    /// Debits minus credits.
    #[schema(value_type = String, example = "0.01")]
    difference: Decimal,
}

/// The trial balance in one currency.
///
/// **Units.** Major units of the currency, as text.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrialBalance {
    /// ISO 4217.
    #[schema(example = "GBP")]
    currency: String,
    /// The sum of all debits.
    #[schema(value_type = String, example = "119.94")]
    debits: Decimal,
    /// The sum of all credits; equal to the debits if the books balance.
    #[schema(value_type = String, example = "119.94")]
    credits: Decimal,
    /// Each account with entries in this currency.
    accounts: Vec<AccountSum>,
}

/// One account's line of the trial balance.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountSum {
    /// The account.
    account: Account,
    /// The side that increases it, on which its balance is shown.
    normal_side: Side,
    /// Its balance on that side.
    #[schema(value_type = String, example = "99.95")]
    balance: Decimal,
}

/// The sums of one account in one currency.
#[derive(Debug)]
struct Sums {
    account: String,
    currency: String,
    debits: Decimal,
    credits: Decimal,
}

/// Checks that the books balance, from the entries alone.
pub(crate) async fn validate(app: &App) -> Result<Validation, Problem> {
    let (unbalanced, sums) = read(&app.database).await.or_problem("adding up the books")?;
    let trial_balances = trial_balances(sums)?;
    let valid = unbalanced.is_empty()
        && trial_balances.iter().all(|currency| currency.debits == currency.credits);
    Ok(Validation { valid, unbalanced, trial_balances })
}

async fn read(database: &PgPool) -> sqlx::Result<(Vec<UnbalancedTransaction>, Vec<Sums>)> {
    // Both queries share one snapshot, so that a transaction posted in between cannot look like a
    // fault.
    let mut moment = database.begin_with("begin isolation level repeatable read read only").await?;
    sqlx::query!("select set_config('statement_timeout', '30000', true)")
        .fetch_one(&mut *moment)
        .await?;
    let read = (unbalanced(&mut moment).await?, sums(&mut moment).await?);
    moment.commit().await?;
    Ok(read)
}

async fn unbalanced(moment: &mut PgConnection) -> sqlx::Result<Vec<UnbalancedTransaction>> {
    sqlx::query_as!(
        UnbalancedTransaction,
        r#"select transaction_id, currency,
               sum(case side when 'debit' then amount else -amount end) as "difference!"
           from ledger.entries
           group by transaction_id, currency
           having sum(case side when 'debit' then amount else -amount end) <> 0
           order by transaction_id limit $1"#,
        UNBALANCED_MAX,
    )
    .fetch_all(moment)
    .await
}

async fn sums(moment: &mut PgConnection) -> sqlx::Result<Vec<Sums>> {
    sqlx::query_as!(
        Sums,
        r#"select account, currency,
               coalesce(sum(amount) filter (where side = 'debit'), 0) as "debits!",
               coalesce(sum(amount) filter (where side = 'credit'), 0) as "credits!"
           from ledger.entries group by account, currency"#,
    )
    .fetch_all(moment)
    .await
}

fn trial_balances(sums: Vec<Sums>) -> Result<Vec<TrialBalance>, Problem> {
    let mut currencies = BTreeMap::<String, TrialBalance>::new();
    for line in sums {
        let unusable = || {
            let line = format!("{} in {}", line.account, line.currency);
            Problem::internal("adding up the books", &BadEntry(line))
        };
        let account = Account::by_id(&line.account).ok_or_else(unusable)?;
        let currency = currencies.entry(line.currency.clone()).or_insert_with(|| TrialBalance {
            currency: line.currency.clone(),
            debits: Decimal::ZERO,
            credits: Decimal::ZERO,
            accounts: Vec::new(),
        });
        currency.debits = currency.debits.checked_add(line.debits).ok_or_else(unusable)?;
        currency.credits = currency.credits.checked_add(line.credits).ok_or_else(unusable)?;
        let normal_side = account.normal_side();
        let balance = match normal_side {
            Side::Debit => line.debits.checked_sub(line.credits),
            Side::Credit => line.credits.checked_sub(line.debits),
        };
        let balance = with_minor_digits(balance.ok_or_else(unusable)?, &line.currency);
        currency.accounts.push(AccountSum { account, normal_side, balance });
    }
    for currency in currencies.values_mut() {
        currency.debits = with_minor_digits(currency.debits, &currency.currency);
        currency.credits = with_minor_digits(currency.credits, &currency.currency);
        currency.accounts.sort_by_key(|line| {
            Account::ALL.into_iter().position(|account| account == line.account)
        });
    }
    Ok(currencies.into_values().collect())
}
