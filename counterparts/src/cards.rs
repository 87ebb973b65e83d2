//! Stripe's names of test cards, as far as tests need them.

/// The behaviour of a test card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Card {
    /// It is charged.
    Approved,
    /// The bank declines.
    Declined {
        /// The error's code.
        code: &'static str,
        /// The bank's reason.
        decline_code: &'static str,
    },
    /// The bank asks the customer for approval (3-D Secure); localstripe knows such cards by
    /// number.
    Approval {
        /// The number.
        number: &'static str,
    },
}

/// localstripe's card that is charged.
pub(crate) const APPROVED: &str = "pm_card_visa";
/// localstripe's only card that is declined when charged.
pub(crate) const DECLINED: &str = "pm_card_chargeCustomerFail";

impl Card {
    /// The card of this name; `None` if it is not a test card, such as a stored card's id.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.strip_prefix("pm_card_")? {
            "visa" | "visa_debit" | "mastercard" | "amex" | "gb" | "de" => Self::Approved,
            "authenticationRequired" | "threeDSecure2Required" => {
                Self::Approval { number: "4000002760003184" }
            }
            "authenticationRequiredChargeDeclinedInsufficientFunds" => {
                Self::Approval { number: "4000008260003178" }
            }
            "chargeCustomerFail" => Self::declined("generic_decline"),
            other => Self::refusing(other.strip_prefix("visa_").unwrap_or(other))?,
        })
    }

    fn refusing(name: &str) -> Option<Self> {
        Some(match name.strip_prefix("chargeDeclined")? {
            "" => Self::declined("generic_decline"),
            "InsufficientFunds" => Self::declined("insufficient_funds"),
            "LostCard" => Self::declined("lost_card"),
            "StolenCard" => Self::declined("stolen_card"),
            "Fraudulent" => Self::declined("fraudulent"),
            "ExpiredCard" => Self::declined_as("expired_card"),
            "IncorrectCvc" => Self::declined_as("incorrect_cvc"),
            "ProcessingError" => Self::declined_as("processing_error"),
            _ => return None,
        })
    }

    fn declined(decline_code: &'static str) -> Self {
        Self::Declined { code: "card_declined", decline_code }
    }

    /// Some decline reasons have an error code of their own.
    fn declined_as(code: &'static str) -> Self {
        Self::Declined { code, decline_code: code }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_known_by_the_names_that_stripe_has_for_them() {
        let declined = |code, decline_code| Some(Card::Declined { code, decline_code });
        assert_eq!(Card::named("pm_card_visa"), Some(Card::Approved));
        for name in ["pm_card_chargeDeclined", "pm_card_visa_chargeDeclined"] {
            assert_eq!(Card::named(name), declined("card_declined", "generic_decline"));
        }
        let name = "pm_card_chargeDeclinedExpiredCard";
        assert_eq!(Card::named(name), declined("expired_card", "expired_card"));
        assert_eq!(Card::named("pm_CoRJnRsdt4TmtM"), None);
        assert_eq!(Card::named("pm_card_unheardOf"), None);
    }
}
