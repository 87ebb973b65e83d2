//! Amounts that cannot be negative, mixed across currencies, or finer than their currency.

use std::fmt;

use iso_currency::Currency;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};

/// An amount of money in one currency, as it is charged and booked.
///
/// **Shape.** Never negative: direction is the account's, not the sign's. Never more decimals
/// than the currency has. In JSON `{"amount":"19.99","currency":"GBP"}`; the amount is text,
/// because a JSON number would pass through floating point on its way.
/// **Units.** Major units of the currency: `19.99` is nineteen pounds and 99 pence.
/// **Errors.** [`MoneyError`] from every operation that could overflow or mix currencies; there
/// is no `+`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"amount": "19.99", "currency": "GBP"})))]
pub struct Money {
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "19.99", pattern = r"^\d+(\.\d+)?$"))]
    amount: Decimal,
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "GBP"))]
    currency: Currency,
}

/// Why an amount is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// An amount below zero was given.
    #[error("an amount is never negative; direction is given by the account")]
    Negative,
    /// More decimals than the currency's smallest coin.
    #[error("{currency} has {allowed} decimals; {amount} has more", currency = .currency.code())]
    TooFine {
        /// What was given.
        amount: Decimal,
        /// The currency it was given in.
        currency: Currency,
        /// How many decimals that currency has.
        allowed: u32,
    },
    /// Two currencies in one sum.
    #[error("{} and {} do not add up", .0.code(), .1.code())]
    MixedCurrencies(Currency, Currency),
    /// Beyond what a decimal holds exactly, or below zero after a subtraction.
    #[error("the amount is out of range")]
    OutOfRange,
    /// A code that is no money one can pay with, such as gold or a test code.
    #[error("{} is not a currency to pay in", .0.code())]
    NotPayable(Currency),
}

/// How many decimals the currency has: 2 for GBP, 0 for JPY, 3 for KWD.
pub fn minor_digits(currency: Currency) -> Result<u32, MoneyError> {
    currency.exponent().map(u32::from).ok_or(MoneyError::NotPayable(currency))
}

impl Money {
    /// Takes an exact amount.
    ///
    /// **Errors.** Negative, or with more decimals than the currency has. Trailing zeros are
    /// no decimals: `5.000` pounds are five pounds.
    pub fn new(amount: Decimal, currency: Currency) -> Result<Self, MoneyError> {
        let allowed = minor_digits(currency)?;
        let plain = amount.normalize();
        if plain.is_sign_negative() && !plain.is_zero() {
            return Err(MoneyError::Negative);
        }
        if plain.scale() > allowed {
            return Err(MoneyError::TooFine { amount, currency, allowed });
        }
        Ok(Self::written(plain, currency, allowed))
    }

    /// Rounds a computed amount to the currency's smallest coin, halves away from zero, as
    /// invoices do.
    pub fn rounded(amount: Decimal, currency: Currency) -> Result<Self, MoneyError> {
        let digits = minor_digits(currency)?;
        Self::new(
            amount.round_dp_with_strategy(digits, RoundingStrategy::MidpointAwayFromZero),
            currency,
        )
    }

    /// No money at all, in this currency.
    pub fn zero(currency: Currency) -> Result<Self, MoneyError> {
        Self::new(Decimal::ZERO, currency)
    }

    /// One way to write each amount, so that equal amounts also hash and print alike.
    fn written(plain: Decimal, currency: Currency, digits: u32) -> Self {
        let mut amount = plain;
        amount.rescale(digits);
        Self { amount, currency }
    }

    /// The amount in major units.
    #[must_use]
    pub const fn amount(self) -> Decimal {
        self.amount
    }

    /// The currency.
    #[must_use]
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// Whether there is nothing to pay.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.amount.is_zero()
    }

    /// The sum, in the same currency.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        let sum = self.amount.checked_add(other.amount).ok_or(MoneyError::OutOfRange)?;
        Self::new(sum, self.currency)
    }

    /// What is left after taking `other` away; never below zero.
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        let rest = self.amount.checked_sub(other.amount).ok_or(MoneyError::OutOfRange)?;
        if rest.is_sign_negative() && !rest.is_zero() {
            return Err(MoneyError::OutOfRange);
        }
        Self::new(rest, self.currency)
    }

    /// The price of `quantity` pieces; exact.
    pub fn times(self, quantity: u32) -> Result<Self, MoneyError> {
        let product =
            self.amount.checked_mul(Decimal::from(quantity)).ok_or(MoneyError::OutOfRange)?;
        Self::new(product, self.currency)
    }

    /// A share of the amount, rounded to the smallest coin, halves away from zero.
    pub fn percent(self, percent: Decimal) -> Result<Self, MoneyError> {
        let share = self
            .amount
            .checked_mul(percent)
            .and_then(|product| product.checked_div(Decimal::ONE_HUNDRED))
            .ok_or(MoneyError::OutOfRange)?;
        Self::rounded(share, self.currency)
    }

    /// Adds up amounts of one currency; an empty list is zero.
    pub fn sum(
        currency: Currency,
        amounts: impl IntoIterator<Item = Self>,
    ) -> Result<Self, MoneyError> {
        amounts.into_iter().try_fold(Self::zero(currency)?, Self::checked_add)
    }

    fn same_currency(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(MoneyError::MixedCurrencies(self.currency, other.currency))
        }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency.code())
    }
}

/// Money as JSON writes it, before it is checked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    amount: Decimal,
    currency: Currency,
}

impl TryFrom<Written> for Money {
    type Error = MoneyError;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        Self::new(written.amount, written.currency)
    }
}

impl From<Money> for Written {
    fn from(money: Money) -> Self {
        Self { amount: money.amount, currency: money.currency }
    }
}
