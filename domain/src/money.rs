//! Amounts of money: never negative, never of mixed currencies, never finer than the currency
//! allows.

use std::fmt;

use iso_currency::Currency;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};

/// An amount of money in one currency, as it is charged and booked.
///
/// **Shape.** Never negative: the account gives the direction, not a sign. Never more decimals than
/// the currency has. In JSON `{"amount":"19.99","currency":"GBP"}`; the amount is text, because
/// many JSON readers parse numbers as floating point.
/// **Units.** Major units of the currency: `19.99` is nineteen pounds and 99 pence.
/// **Errors.** [`MoneyError`] from every operation that could overflow or mix currencies; there is
/// no `+`.
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
        /// The given amount.
        amount: Decimal,
        /// Its currency.
        currency: Currency,
        /// How many decimals that currency has.
        allowed: u32,
    },
    /// The operands have different currencies.
    #[error("{} and {} do not add up", .0.code(), .1.code())]
    MixedCurrencies(Currency, Currency),
    /// Too large to be represented exactly, or below zero after a subtraction.
    #[error("the amount is out of range")]
    OutOfRange,
    /// More than any plausible price or order total.
    #[error("an amount is at most {} {}; what is more is a mistake", Money::REASON, .0.code())]
    BeyondReason(Currency),
    /// A code that is not a currency for payments, such as gold or a test code.
    #[error("{} is not a currency to pay in", .0.code())]
    NotPayable(Currency),
}

/// How many decimals the currency has: 2 for GBP, 0 for JPY, 3 for KWD.
pub fn minor_digits(currency: Currency) -> Result<u32, MoneyError> {
    currency.exponent().map(u32::from).ok_or(MoneyError::NotPayable(currency))
}

/// Parses an amount: digits, with a point between digits. The parser of `Decimal` accepts more,
/// such as `2_5.98`.
#[must_use]
pub fn written_amount(text: &str) -> Option<Decimal> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    // A negative number is parsed here, so that it can be refused as negative.
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let is_plain = unsigned
        .split_once('.')
        .map_or_else(|| digits(unsigned), |(whole, fraction)| digits(whole) && digits(fraction));
    Decimal::from_str_exact(text).ok().filter(|_number| is_plain)
}

impl Money {
    /// Builds an exact amount.
    ///
    /// **Errors.** Negative, or more decimals than the currency has. Trailing zeros do not count:
    /// `5.000` pounds are five pounds.
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

    /// Rounds a computed amount to the currency's minor unit, halves away from zero, as is usual on
    /// invoices.
    pub fn rounded(amount: Decimal, currency: Currency) -> Result<Self, MoneyError> {
        let digits = minor_digits(currency)?;
        Self::new(
            amount.round_dp_with_strategy(digits, RoundingStrategy::MidpointAwayFromZero),
            currency,
        )
    }

    /// The highest plausible price or order total, in major units. It is low enough that the sum of
    /// all orders that a shop ever sells still fits a decimal of 28 digits.
    pub const REASON: u64 = 1_000_000_000_000;

    /// Returns the amount if it is plausible for a price or an order.
    ///
    /// **Errors.** [`MoneyError::BeyondReason`]. Checked when an amount comes in, not when it is
    /// read: what is on record stays readable.
    pub fn within_reason(self) -> Result<Self, MoneyError> {
        if self.amount > Decimal::from(Self::REASON) {
            Err(MoneyError::BeyondReason(self.currency))
        } else {
            Ok(self)
        }
    }

    /// Zero in this currency.
    pub fn zero(currency: Currency) -> Result<Self, MoneyError> {
        Self::new(Decimal::ZERO, currency)
    }

    /// Normalises the representation, so that equal amounts also hash and print alike.
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

    /// Whether the amount is zero.
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

    /// The difference; an error if it would be below zero.
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

    /// A percentage of the amount, rounded to the minor unit, halves away from zero.
    pub fn percent(self, percent: Decimal) -> Result<Self, MoneyError> {
        let share = self
            .amount
            .checked_mul(percent)
            .and_then(|product| product.checked_div(Decimal::ONE_HUNDRED))
            .ok_or(MoneyError::OutOfRange)?;
        Self::rounded(share, self.currency)
    }

    /// The sum of amounts of one currency; zero for an empty list.
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

/// Money as JSON, before it is checked.
#[derive(Serialize, Deserialize)]
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn money(minor: u32, currency: Currency) -> Money {
        Money::new(Decimal::new(minor.into(), minor_digits(currency).unwrap()), currency).unwrap()
    }

    fn currency() -> impl Strategy<Value = Currency> {
        prop::sample::select(vec![Currency::GBP, Currency::JPY, Currency::KWD])
    }

    proptest! {
        #[test]
        fn what_was_added_can_be_taken_away(a: u32, b: u32, currency in currency()) {
            let (a, b) = (money(a, currency), money(b, currency));
            prop_assert_eq!(a.checked_add(b).unwrap().checked_sub(b).unwrap(), a);
        }

        #[test]
        fn json_gives_back_the_same_money(minor: u32, currency in currency()) {
            let money = money(minor, currency);
            let json = serde_json::to_string(&money).unwrap();
            prop_assert_eq!(serde_json::from_str::<Money>(&json).unwrap(), money);
        }

        #[test]
        fn a_share_has_no_more_decimals_than_its_currency(minor: u32, percent in 0u32..=10_000, currency in currency()) {
            let share = money(minor, currency).percent(Decimal::new(percent.into(), 2)).unwrap();
            prop_assert!(share.amount().normalize().scale() <= minor_digits(currency).unwrap());
        }

        #[test]
        fn two_currencies_never_add_up(a: u32, b: u32) {
            let (pounds, yen) = (money(a, Currency::GBP), money(b, Currency::JPY));
            prop_assert_eq!(
                pounds.checked_add(yen),
                Err(MoneyError::MixedCurrencies(Currency::GBP, Currency::JPY))
            );
        }
    }

    #[test]
    fn a_currency_has_the_decimals_that_iso_4217_gives_it() {
        let fits = |text: &str, currency| Money::new(text.parse().unwrap(), currency).is_ok();
        assert!(fits("19.99", Currency::GBP) && !fits("19.999", Currency::GBP));
        assert!(fits("1999", Currency::JPY) && !fits("19.9", Currency::JPY));
        assert!(fits("1.999", Currency::KWD) && !fits("1.9999", Currency::KWD));
        assert!(fits("5.000", Currency::GBP), "trailing zeros are no decimals");
        assert!(!fits("-0.01", Currency::GBP));
        assert!(!fits("1", Currency::XAU), "gold is not a currency to pay in");
    }

    #[test]
    fn half_a_penny_is_rounded_away_from_zero() {
        let rounded = |text: &str, currency| {
            Money::rounded(text.parse().unwrap(), currency).unwrap().to_string()
        };
        assert_eq!(rounded("0.125", Currency::GBP), "0.13 GBP");
        assert_eq!(rounded("0.135", Currency::GBP), "0.14 GBP");
        assert_eq!(rounded("2.5", Currency::JPY), "3 JPY");
        assert_eq!(rounded("0.0005", Currency::KWD), "0.001 KWD");
    }

    #[test]
    fn an_amount_is_digits_and_a_point_between_them() {
        for (text, written) in [("25.98", "25.98"), ("0", "0"), ("007", "7"), ("-1.50", "-1.50")] {
            assert_eq!(written_amount(text).unwrap().to_string(), written);
        }
        for loose in [
            "2_5.98", "25_.98", "25.9_8", "+25.98", ".98", "25.", "25,98", " 25.98", "25.98 ",
            "1e3", "\u{661}", "", "-", ".", "1.2.3", "--1", "0x1", "inf",
        ] {
            assert_eq!(written_amount(loose), None, "{loose}");
        }
        assert_eq!(written_amount(&"9".repeat(40)), None);
    }

    #[test]
    fn what_no_order_comes_to_is_beyond_reason() {
        let yen = |amount: u64| Money::new(amount.into(), Currency::JPY).unwrap();
        assert!(yen(Money::REASON).within_reason().is_ok());
        let beyond = yen(Money::REASON.saturating_add(1)).within_reason();
        assert_eq!(beyond, Err(MoneyError::BeyondReason(Currency::JPY)));
    }

    #[test]
    fn too_much_money_is_an_error_and_never_wraps() {
        let most = Money::new(Decimal::MAX, Currency::JPY).unwrap();
        assert_eq!(most.checked_add(most), Err(MoneyError::OutOfRange));
        assert_eq!(most.times(2), Err(MoneyError::OutOfRange));
        assert_eq!(
            Money::zero(Currency::JPY).unwrap().checked_sub(most),
            Err(MoneyError::OutOfRange)
        );
    }
}
