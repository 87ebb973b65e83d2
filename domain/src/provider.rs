//! Which amounts a payment provider can charge, and conversion to the units in which it counts.

use rust_decimal::Decimal;
use strum::{EnumString, IntoStaticStr};

use crate::{Currency, Money, minor_digits};

/// The payment provider, as named in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum ProviderName {
    /// The sandbox, which moves no money.
    #[default]
    Sandbox,
    /// Stripe.
    Stripe,
    /// The shop's own bank: customers transfer the money before the goods are sent.
    BankTransfer,
}

/// Why an amount cannot be charged, in words for the customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotChargeable {
    /// The provider takes no payments in this currency.
    #[error("the shop cannot be paid in {}", .0.code())]
    Currency(Currency),
    /// The provider's smallest unit in this currency is larger than the currency's own.
    #[error("{amount} cannot be charged, because it is no multiple of {step}")]
    TooFine {
        /// The amount.
        amount: Money,
        /// The amount must be a multiple of this, in major units.
        step: Decimal,
    },
    /// More than the provider can count.
    #[error("{0} is more than can be charged")]
    TooMuch(Money),
}

impl ProviderName {
    /// The names, as the settings and [`ProviderName::name`] write them.
    pub const NAMES: [&'static str; 3] = ["sandbox", "stripe", "bank-transfer"];

    /// The name as the settings write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Checks whether the provider can charge the amount. Zero is never charged.
    ///
    /// **Errors.** [`NotChargeable`]. Minimum and maximum amounts depend on the shop's account; the
    /// provider refuses those itself.
    pub fn chargeable(self, amount: Money) -> Result<(), NotChargeable> {
        match self {
            Self::Stripe if !amount.is_zero() => to_stripe_units(amount).map(|_units| ()),
            Self::Sandbox | Self::Stripe | Self::BankTransfer => Ok(()),
        }
    }

    /// The default deadline for the customer's part, in seconds: a quarter of an hour for approval
    /// in a banking app, a week for a transfer.
    #[must_use]
    pub const fn approval_seconds(self) -> u32 {
        match self {
            Self::Sandbox | Self::Stripe => 900,
            Self::BankTransfer => 604_800,
        }
    }
}

/// How Stripe counts amounts of a currency.
struct Counting {
    /// How many units are one major unit.
    units: u32,
    /// An amount must be a multiple of this many units.
    step: u32,
}

/// Stripe's table of currencies, which differs from ISO 4217: some currencies without decimals are
/// counted in hundredths, and some amounts must be multiples of ten units.
fn counting(currency: Currency) -> Option<Counting> {
    match currency.code() {
        "BIF" | "CLP" | "DJF" | "GNF" | "JPY" | "KMF" | "KRW" | "MGA" | "PYG" | "RWF" | "VND"
        | "VUV" | "XAF" | "XOF" | "XPF" => Some(Counting { units: 1, step: 1 }),
        "ISK" | "UGX" => Some(Counting { units: 100, step: 100 }),
        "BHD" | "JOD" | "KWD" | "OMR" | "TND" => Some(Counting { units: 1_000, step: 10 }),
        _ if minor_digits(currency) == Ok(2) => Some(Counting { units: 100, step: 1 }),
        _ => None,
    }
}

/// Converts an amount to Stripe's units; exact.
///
/// **Errors.** [`NotChargeable`], if Stripe cannot represent it.
pub fn to_stripe_units(amount: Money) -> Result<u64, NotChargeable> {
    let currency = amount.currency();
    let Counting { units, step } = counting(currency).ok_or(NotChargeable::Currency(currency))?;
    let (units, step) = (Decimal::from(units), Decimal::from(step));
    let too_much = || NotChargeable::TooMuch(amount);
    let counted = amount.amount().checked_mul(units).ok_or_else(too_much)?;
    if !counted.checked_rem(step).is_some_and(|rest| rest.is_zero()) {
        let step = step.checked_div(units).unwrap_or(step).normalize();
        return Err(NotChargeable::TooFine { amount, step });
    }
    u64::try_from(counted).map_err(|_beyond| too_much())
}

/// Converts from Stripe's units; exact. `None` if the currency cannot represent the amount.
#[must_use]
pub fn of_stripe_units(units: u64, currency: Currency) -> Option<Money> {
    let per_major = Decimal::from(counting(currency)?.units);
    Money::new(Decimal::from(units).checked_div(per_major)?, currency).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn money(amount: &str, currency: Currency) -> Money {
        Money::new(amount.parse().unwrap(), currency).unwrap()
    }

    #[test]
    fn amounts_are_counted_by_stripes_table_in_both_directions() {
        for (amount, currency, units) in [
            ("19.99", Currency::GBP, 1_999),
            ("0.50", Currency::USD, 50),
            ("10.00", Currency::EUR, 1_000),
            ("1234.00", Currency::HUF, 123_400),
            ("800.50", Currency::TWD, 80_050),
            ("500", Currency::JPY, 500),
            ("500", Currency::BIF, 500),
            ("500", Currency::CLP, 500),
            ("500", Currency::DJF, 500),
            ("500", Currency::GNF, 500),
            ("500", Currency::KMF, 500),
            ("500", Currency::KRW, 500),
            ("500", Currency::MGA, 500),
            ("500", Currency::PYG, 500),
            ("500", Currency::RWF, 500),
            ("500", Currency::VND, 500),
            ("500", Currency::VUV, 500),
            ("500", Currency::XAF, 500),
            ("500", Currency::XOF, 500),
            ("500", Currency::XPF, 500),
            ("5", Currency::ISK, 500),
            ("5", Currency::UGX, 500),
            ("5.120", Currency::BHD, 5_120),
            ("5.120", Currency::JOD, 5_120),
            ("5.120", Currency::KWD, 5_120),
            ("5.120", Currency::OMR, 5_120),
            ("5.120", Currency::TND, 5_120),
            ("1000000000000", Currency::ISK, 100_000_000_000_000),
        ] {
            let amount = money(amount, currency);
            assert_eq!(to_stripe_units(amount), Ok(units), "{amount}");
            assert_eq!(of_stripe_units(units, currency), Some(amount));
            assert_eq!(ProviderName::Stripe.chargeable(amount), Ok(()));
        }
    }

    #[test]
    fn what_stripe_cannot_count_is_refused_in_words() {
        for (amount, currency, words) in [
            (
                "5.123",
                Currency::KWD,
                "5.123 KWD cannot be charged, because it is no multiple of 0.01",
            ),
            ("5.50", Currency::MGA, "5.50 MGA cannot be charged, because it is no multiple of 1"),
            // It has three decimals, and Stripe does not support it.
            ("5.000", Currency::LYD, "the shop cannot be paid in LYD"),
            (
                "79228162514264337593543950335",
                Currency::JPY,
                "79228162514264337593543950335 JPY is more than can be charged",
            ),
        ] {
            let amount = money(amount, currency);
            let refused = ProviderName::Stripe.chargeable(amount).unwrap_err();
            assert_eq!(refused.to_string(), words);
            assert_eq!(ProviderName::Sandbox.chargeable(amount), Ok(()));
        }
        let nothing = Money::zero(Currency::LYD).unwrap();
        assert_eq!(ProviderName::Stripe.chargeable(nothing), Ok(()), "it is not charged");
        // Half a króna is not a valid amount.
        assert_eq!(of_stripe_units(550, Currency::ISK), None);
    }

    #[test]
    fn a_provider_has_one_name() {
        for name in ProviderName::NAMES {
            assert_eq!(name.parse::<ProviderName>().unwrap().name(), name);
        }
        assert_eq!(ProviderName::default(), ProviderName::Sandbox);
    }

    proptest! {
        #[test]
        fn what_can_be_charged_comes_back_exactly(
            minor: u32,
            currency in prop::sample::select(vec![
                Currency::GBP, Currency::JPY, Currency::KWD, Currency::ISK, Currency::MGA,
            ]),
        ) {
            let digits = minor_digits(currency).unwrap();
            let amount = Money::new(Decimal::new(minor.into(), digits), currency).unwrap();
            if let Ok(units) = to_stripe_units(amount) {
                prop_assert_eq!(of_stripe_units(units, currency), Some(amount));
            }
        }
    }
}
