//! Queries on the ledger.

pub(crate) mod balance;
mod sums;
pub(crate) mod transactions;
pub(crate) mod validate;

use domain::ledger::Account;
use domain::{Currency, minor_digits};
use rust_decimal::Decimal;

use crate::error::{Kind, Problem};

/// The account with this name.
pub(crate) fn parse_account(text: &str) -> Result<Account, Problem> {
    Account::by_id(text).ok_or_else(|| {
        let accounts = Account::ALL.map(Account::as_str).join(", ");
        Problem::new(Kind::AccountNotFound, format!("The accounts are {accounts}."))
    })
}

/// A sum with the decimals of its currency. It may be below zero, which
/// [`Money`](domain::Money) may not.
pub(crate) fn with_minor_digits(mut sum: Decimal, currency: &str) -> Decimal {
    let digits = Currency::from_code(currency).and_then(|known| minor_digits(known).ok());
    // Never fewer than it has: a sum with too many decimals is a fault that has to be seen.
    sum.rescale(digits.unwrap_or_default().max(sum.normalize().scale()));
    sum
}

/// An account or a currency that the database's own checks should have refused.
#[derive(Debug, thiserror::Error)]
#[error("the books have an entry that is not usable: {0}")]
struct BadEntry(String);
