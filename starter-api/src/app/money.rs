//! Stored amounts of money.

use domain::{Currency, Money};
use rust_decimal::Decimal;

/// Converts a stored amount; `None` if it is not a valid amount of a known currency.
pub(crate) fn stored_money(amount: Decimal, currency: &str) -> Option<Money> {
    Money::new(amount, Currency::from_code(currency)?).ok()
}
