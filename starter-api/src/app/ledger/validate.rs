//! Checks whether the books balance.

use std::collections::BTreeMap;

use domain::ledger::{Account, Side};
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;

use super::sums::{self, BEGINNING, Closing, Sums};
use crate::app::App;
use crate::app::ledger::{BadEntry, with_minor_digits};
use crate::error::{OrProblem, Problem};

/// The maximum number of unbalanced transactions in a response.
const UNBALANCED_MAX: i64 = 100;

const DOING: &str = "adding up the books";

/// Whether the books balance, with the trial balance.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Validation {
    /// Whether every transaction balances, and the sum of all in every currency. With
    /// `every_entry`, also whether the sums of the last closing are those of its entries.
    valid: bool,
    /// The last transaction of the closed books, whose sums were taken from the last closing. Left
    /// out if no books are closed yet, or every entry was added up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 17_754)]
    closed_through: Option<i64>,
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

/// What was read from the books, in one snapshot.
struct Books {
    unbalanced: Vec<UnbalancedTransaction>,
    closing: Closing,
    /// The sums of the entries since the closing.
    since: Vec<Sums>,
    /// The sums of all entries, if they were requested.
    every_entry: Option<Vec<Sums>>,
}

/// Checks that the books balance: the entries since the last closing, or every entry.
pub(crate) async fn validate(app: &App, every_entry: bool) -> Result<Validation, Problem> {
    let unusable = |bad: BadEntry| Problem::internal(DOING, &bad);
    let books = read(&app.database, every_entry).await.or_problem(DOING)?;
    let Books { unbalanced, closing: Closing { through, sums }, since, every_entry } = books;
    let known = sums::together([sums, since]).map_err(unusable)?;
    let (sums, are_as_closed, closed_through) = match every_entry {
        None => (known, true, Some(through).filter(|through| *through > 0)),
        Some(every_entry) => {
            let every_entry = sums::together([every_entry, Vec::new()]).map_err(unusable)?;
            let are_as_closed = every_entry == known;
            (every_entry, are_as_closed, None)
        }
    };
    let trial_balances = trial_balances(sums)?;
    let valid = unbalanced.is_empty()
        && are_as_closed
        && trial_balances.iter().all(|currency| currency.debits == currency.credits);
    Ok(Validation { valid, closed_through, unbalanced, trial_balances })
}

async fn read(database: &PgPool, every_entry: bool) -> sqlx::Result<Books> {
    // All queries share one snapshot, so that a transaction posted in between cannot look like a
    // fault.
    let mut moment = database.begin_with("begin isolation level repeatable read read only").await?;
    sqlx::query!("select set_config('statement_timeout', '30000', true)")
        .fetch_one(&mut *moment)
        .await?;
    let closing = sums::last_closing(&mut moment).await?;
    let checked_from = if every_entry { BEGINNING } else { closing.through };
    let books = Books {
        unbalanced: unbalanced(&mut moment, checked_from).await?,
        since: sums::since(&mut moment, closing.through).await?,
        every_entry: if every_entry {
            Some(sums::since(&mut moment, BEGINNING).await?)
        } else {
            None
        },
        closing,
    };
    moment.commit().await?;
    Ok(books)
}

/// Transactions after `through` whose sides differ.
async fn unbalanced(
    moment: &mut PgConnection,
    through: i64,
) -> sqlx::Result<Vec<UnbalancedTransaction>> {
    sqlx::query_as!(
        UnbalancedTransaction,
        r#"select transaction_id, currency,
               sum(case side when 'debit' then amount else -amount end) as "difference!"
           from ledger.entries
           where transaction_id > $2 and transaction_id <= 9223372036854775807
           group by transaction_id, currency
           having sum(case side when 'debit' then amount else -amount end) <> 0
           order by transaction_id limit $1"#,
        UNBALANCED_MAX,
        through,
    )
    .fetch_all(moment)
    .await
}

fn trial_balances(sums: Vec<Sums>) -> Result<Vec<TrialBalance>, Problem> {
    let mut currencies = BTreeMap::<String, TrialBalance>::new();
    for line in sums {
        let unusable = || Problem::internal(DOING, &line.unusable());
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
        let balance = line.balance_on(normal_side).map_err(|bad| Problem::internal(DOING, &bad))?;
        let balance = with_minor_digits(balance, &line.currency);
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
