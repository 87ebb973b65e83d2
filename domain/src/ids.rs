//! All identifiers, each with its own type, so that they cannot be confused.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An id that does not have the shape its kind requires.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {kind} is {shape}")]
pub struct IdError {
    kind: &'static str,
    shape: &'static str,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = Uuid))]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID that is known to be such an id.
            #[must_use]
            pub const fn of(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID, for a database column.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $shape:literal, $max:tt, $fits:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, min_length = 1, max_length = $max))]
        pub struct $name(String);

        impl $name {
            /// Parses the text, after a check of its shape.
            pub fn parse(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                let fits: fn(&str) -> bool = $fits;
                if (1..=$max).contains(&text.len()) && fits(&text) {
                    Ok(Self(text))
                } else {
                    Err(IdError { kind: $kind, shape: $shape })
                }
            }

            /// The text as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

uuid_id! {
    /// One customer's order, from placing to the parcel's hand-over; also the accounting reference.
    OrderId
}

uuid_id! {
    /// Refers to a recipient's name and street. They stay in the database; histories and events
    /// carry this reference instead, so that no personal data leaves it.
    AddressId
}

impl OrderId {
    /// Prefix of every order's workflow id.
    pub const WORKFLOW_ID_PREFIX: &'static str = "order-";

    /// Derives the order id from a customer's idempotency key.
    ///
    /// **Repeats.** The same customer and key always give the same order, on any machine, so a
    /// repeated request finds the first one's workflow instead of starting a second.
    #[must_use]
    pub fn for_request(customer: &CustomerId, idempotency_key: &str) -> Self {
        let name = format!("{customer}\n{idempotency_key}");
        Self(Uuid::new_v5(&ORDER_NAMESPACE, name.as_bytes()))
    }

    /// The id of the order's workflow.
    #[must_use]
    pub fn workflow_id(self) -> String {
        format!("{}{self}", Self::WORKFLOW_ID_PREFIX)
    }

    /// The order of a workflow, by the workflow's id.
    #[must_use]
    pub fn of_workflow(workflow_id: &str) -> Option<Self> {
        workflow_id.strip_prefix(Self::WORKFLOW_ID_PREFIX)?.parse().ok().map(Self)
    }
}

impl AddressId {
    /// Derives an address's id: the same address of the same customer is one row.
    #[must_use]
    pub fn for_address(customer: &CustomerId, address: &str) -> Self {
        let name = format!("{customer}\n{address}");
        Self(Uuid::new_v5(&ADDRESS_NAMESPACE, name.as_bytes()))
    }
}

/// Never change these: a repeated request would become a second order.
const ORDER_NAMESPACE: Uuid = Uuid::from_u128(0x6f72_6465_7273_4167_8000_6f72_6465_7273);
const ADDRESS_NAMESPACE: Uuid = Uuid::from_u128(0x6164_6472_6573_4367_8000_6164_6472_6573);

fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Real catalogues have SKUs such as `BANK CHARGES`.
fn is_sku(text: &str) -> bool {
    text.trim() == text && text.split(' ').all(is_word)
}

/// A token stands for a card without its number: the sandbox's (`tok_…`), or Stripe's for a payment
/// method (`pm_…`), or for one that a Stripe customer has saved (`cus_…/pm_…`).
fn is_token(text: &str) -> bool {
    if text.starts_with("tok_") {
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        return is_word(text) && digits < CARD_DIGITS_MIN;
    }
    let is_id =
        |id: &str, kind: &str| id.starts_with(kind) && is_word(id) && !holds_card_number(id);
    let (customer, method) = match text.split_once('/') {
        Some((customer, method)) => (Some(customer), method),
        None => (None, text),
    };
    is_id(method, "pm_") && customer.is_none_or(|customer| is_id(customer, "cus_"))
}

/// A card number has at least this many digits.
const CARD_DIGITS_MIN: usize = 12;

/// Whether there are as many consecutive digits as a card number has, with or without `-`, `_` or
/// `.` between them. A random id may have that many in total, but with letters in between.
fn holds_card_number(id: &str) -> bool {
    let digits = |run: &str| run.bytes().filter(u8::is_ascii_digit).count();
    id.split(|it: char| it.is_ascii_alphabetic()).any(|run| digits(run) >= CARD_DIGITS_MIN)
}

text_id! {
    /// The customer, in the shop's own numbering.
    CustomerId, "customer id", "1 to 64 letters, digits, `-`, `_` or `.`", 64, is_word
}

text_id! {
    /// A stock keeping unit: the warehouse's id of an article.
    Sku, "SKU", "1 to 32 letters, digits, `-`, `_` or `.`, with spaces only inside", 32, is_sku
}

text_id! {
    /// The code that a customer enters to get a discount.
    DiscountCode, "discount code", "1 to 32 letters, digits, `-`, `_` or `.`", 32, is_word
}

text_id! {
    /// The payment provider's token for a card, such as `tok_visa`. A card number is refused.
    PaymentToken, "payment token",
    "`tok_…`, `pm_…` or `cus_…/pm_…` with letters, digits, `-`, `_` or `.`: never a card number",
    128, is_token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_key_of_the_same_customer_is_one_order() {
        let (ada, bob) = (CustomerId::parse("ada").unwrap(), CustomerId::parse("bob").unwrap());
        assert_eq!(OrderId::for_request(&ada, "k"), OrderId::for_request(&ada, "k"));
        assert_ne!(OrderId::for_request(&ada, "k"), OrderId::for_request(&bob, "k"));
        assert_eq!(
            OrderId::of_workflow(&OrderId::for_request(&ada, "k").workflow_id()),
            Some(OrderId::for_request(&ada, "k")),
        );
    }

    #[test]
    fn a_card_number_is_not_a_payment_token() {
        for wrong in [
            "4111111111111111",
            "tok_4111111111111111",
            "tok_4111-1111x1111-1111",
            "pm_4111111111111111",
            "pm_1a4111-1111_1111.1111",
            "cus_4111111111111111/pm_1a",
            "cus_1a/4111111111111111",
            "visa",
            "tok_a b",
            "pm_a b",
            "cus_1a",
            "cus_1a/",
            "/pm_1a",
            "cus_1a/tok_visa",
            "cus_1a/pm_1a/pm_1a",
            "pm_1a/cus_1a",
            "",
        ] {
            assert!(PaymentToken::parse(wrong).is_err(), "{wrong} was taken for a token");
        }
        for token in [
            "tok_visa",
            "pm_card_visa",
            "pm_1MqLiJLkdIwHu7ixUEgbFdYF",
            // Many digits, and never twelve in a row.
            "pm_1a23b45c67d89e01f23g45h67",
            "cus_NffrFeUfNV2Hib/pm_1MqLiJLkdIwHu7ixUEgbFdYF",
        ] {
            assert_eq!(PaymentToken::parse(token).unwrap().as_str(), token);
        }
    }
}
