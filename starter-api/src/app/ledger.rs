//! Queries on the ledger.

pub(crate) mod balance;
mod sums;
pub(crate) mod transactions;
pub(crate) mod validate;

use domain::ledger::Account;
use domain::{Currency, minor_digits};
use rust_decimal::Decimal;

use crate::error::{Kind, Problem};

/// Parses an account's name.
pub(crate) fn parse_account(text: &str) -> Result<Account, Problem> {
    Account::by_id(text).ok_or_else(|| {
        let accounts = Account::ALL.map(Account::as_str).join(", ");
        Problem::new(Kind::AccountNotFound, format!("The accounts are {accounts}."))
    })
}

/// Rescales a sum to the decimals of its currency. It may be negative, unlike
/// [`Money`](domain::Money).
pub(crate) fn with_minor_digits(mut sum: Decimal, currency: &str) -> Decimal {
    let digits = Currency::from_code(currency).and_then(|known| minor_digits(known).ok());
    // Never rounds: a sum with too many decimals is a fault that must stay visible.
    sum.rescale(digits.unwrap_or_default().max(sum.normalize().scale()));
    sum
}

/// A stored account or currency that the CHECK constraints should have refused.
#[derive(Debug, thiserror::Error)]
#[error("the books have an entry that is not usable: {0}")]
struct BadEntry(String);
