//! Parses the payment link for a bank transfer (`payto:`, RFC 8905).

use rust_decimal::Decimal;

/// The parsed link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Payto {
    pub(super) currency: String,
    pub(super) amount: Decimal,
    /// The reference to write on the transfer.
    pub(super) reference: String,
}

impl Payto {
    /// Returns `None` for any other link.
    pub(super) fn read(link: &str) -> Option<Self> {
        let (_account, asked) = link.strip_prefix("payto://iban/")?.split_once('?')?;
        let value = |wanted: &str| {
            let mut pairs = asked.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find_map(|(name, value)| (name == wanted).then_some(value))
        };
        let (currency, amount) = value("amount")?.split_once(':')?;
        Some(Self {
            currency: currency.to_owned(),
            amount: amount.parse().ok()?,
            reference: value("message")?.to_owned(),
        })
    }

    /// Half of the amount, rounded to the coin; all of it, if it is a single coin.
    pub(super) fn half(&self) -> Decimal {
        let half = self.amount.checked_div(Decimal::TWO).unwrap_or(self.amount);
        let half = half.round_dp(self.amount.scale());
        if half.is_zero() { self.amount } else { half }
    }

    /// The reference with a wrong last digit, so that its check digits do not match.
    pub(super) fn reference_with_a_slip(&self) -> String {
        let mut digits = self.reference.chars();
        let last = digits.next_back().unwrap_or_default();
        let other = if last == '0' { '1' } else { '0' };
        format!("{}{other}", digits.as_str())
    }
}

#[cfg(test)]
mod tests {
    use domain::bank::CreditorReference;

    use super::*;

    fn asked(amount: &str) -> Payto {
        let reference = CreditorReference::of("a payment");
        let link = format!(
            "payto://iban/GB82WEST12345698765432?amount=GBP:{amount}\
             &receiver-name=The%20Shop&message={reference}"
        );
        Payto::read(&link).unwrap()
    }

    #[test]
    fn a_link_says_how_much_and_under_which_reference() {
        let Payto { currency, amount, reference } = asked("24.30");
        assert_eq!((currency.as_str(), amount.to_string().as_str()), ("GBP", "24.30"));
        assert_eq!(CreditorReference::parse(&reference), Some(CreditorReference::of("a payment")));
        assert_eq!(Payto::read("https://bank.example/approve?amount=GBP:1"), None);
    }

    #[test]
    fn half_of_an_amount_is_an_amount() {
        let halves =
            ["24.30", "24.35", "0.03", "0.01"].map(|amount| asked(amount).half().to_string());
        assert_eq!(halves, ["12.15", "12.18", "0.02", "0.01"]);
    }

    #[test]
    fn a_reference_with_a_slip_is_none() {
        let slip = asked("1.00").reference_with_a_slip();
        assert_eq!(CreditorReference::found_in(&slip), []);
        assert_eq!(slip.len(), asked("1.00").reference.len());
    }
}
