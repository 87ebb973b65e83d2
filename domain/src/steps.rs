//! The steps, their keys and their arguments.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoStaticStr};

use crate::{CustomerId, Destination, Money, OrderId, PaymentToken, Sku};

/// The steps of the order saga and of a refund, and other things that a person may have to decide
/// about, by the names that keys and events use. Never rename one: the keys of running orders
/// contain them.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    EnumIter,
    EnumString,
    IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum StepName {
    /// The stock is reserved.
    ReserveStock,
    /// The order is screened for fraud.
    ScreenOrder,
    /// The payment is authorised.
    AuthorisePayment,
    /// The payment is captured.
    CapturePayment,
    /// The payment is booked as a deposit.
    PostEntries,
    /// The parcel is handed over.
    ShipOrder,
    /// The deposit becomes revenue.
    RecogniseRevenue,
    /// Money of a completed order is given back.
    IssueRefund,
    /// A dispute of the customer's bank is answered, by a person at the payment provider.
    AnswerDispute,
}

impl StepName {
    /// The name as keys, events and JSON write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether it belongs to a refund, not to the order itself.
    #[must_use]
    pub const fn is_of_refund(self) -> bool {
        match self {
            Self::IssueRefund => true,
            Self::ReserveStock
            | Self::ScreenOrder
            | Self::AuthorisePayment
            | Self::CapturePayment
            | Self::PostEntries
            | Self::ShipOrder
            | Self::RecogniseRevenue
            | Self::AnswerDispute => false,
        }
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The argument of a step and of its undo, and the idempotency key of both:
/// `order_id:step:version`, and for the second and later executions of the step in an order,
/// `order_id:step:version:attempt`.
///
/// **Shape.** Derived from the order alone, never from a run (a reset changes it) and never random;
/// text such as `0190…:capture-payment:1`. It refers to the order on record, which is immutable per
/// version and holds what the step needs.
/// **Repeats.** The same key gives the first answer again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StepKey {
    /// The order the step belongs to.
    pub order_id: OrderId,
    /// Which step.
    pub step: StepName,
    /// The version of the order's record that the step reads.
    pub version: u32,
    /// Counts how often the order has needed this step, from 1: an expired authorisation is
    /// requested again, a declined payment may be replaced, and an order may have several refunds.
    /// A mere retry keeps the number.
    pub attempt: u32,
}

impl StepKey {
    /// The key for another execution of the step, when its first result no longer holds.
    #[must_use]
    pub const fn again(self) -> Self {
        Self { attempt: self.attempt.saturating_add(1), ..self }
    }

    /// The name of its idempotency record within the order.
    #[must_use]
    pub fn name_on_record(self) -> String {
        match self.attempt {
            1 => self.step.name().to_owned(),
            attempt => format!("{}:{attempt}", self.step),
        }
    }
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.order_id, self.step, self.version)?;
        if self.attempt == 1 { Ok(()) } else { write!(f, ":{}", self.attempt) }
    }
}

impl From<StepKey> for String {
    fn from(key: StepKey) -> Self {
        key.to_string()
    }
}

/// Text that is not a step key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a step key is `order_id:step:version`, with `:attempt` from the second on")]
pub struct NotAStepKey;

impl FromStr for StepKey {
    type Err = NotAStepKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(':');
        let (Some(order), Some(step), Some(version), attempt, None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotAStepKey);
        };
        let attempt = attempt.map(str::parse).transpose().map_err(|_| NotAStepKey)?;
        if attempt.is_some_and(|attempt| attempt < 2) {
            return Err(NotAStepKey);
        }
        Ok(Self {
            order_id: OrderId::of(order.parse().map_err(|_| NotAStepKey)?),
            step: step.parse().map_err(|_| NotAStepKey)?,
            version: version.parse().map_err(|_| NotAStepKey)?,
            attempt: attempt.unwrap_or(1),
        })
    }
}

impl TryFrom<String> for StepKey {
    type Error = NotAStepKey;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Pieces of one article.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClaimLine {
    /// The article.
    pub sku: Sku,
    /// Pieces, summed over all lines of the order with this article.
    pub quantity: u32,
}

/// The stock that an order reserves: all of it or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockClaim {
    /// `…:reserve-stock:…`.
    pub key: StepKey,
    /// One line per article, in SKU order, so that two orders cannot deadlock.
    pub lines: Vec<ClaimLine>,
}

/// The charge of a customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// `…:authorise-payment:…`; the idempotency keys of the requests to the provider are derived
    /// from it.
    pub key: StepKey,
    /// The paying customer.
    pub customer_id: CustomerId,
    /// The amount; above zero, because an order that costs nothing is not charged.
    pub amount: Money,
    /// The provider's token for the card.
    pub payment_token: PaymentToken,
}

/// An authorised payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorisation {
    /// The provider's id of the payment, for its dashboard and for disputes.
    pub provider_reference: String,
    /// When the authorisation expires, if the provider says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// The result of an authorisation.
///
/// **Shape.** The fields of an authorisation, `{"provider_reference":…}`; or `{"waits_until":…}`,
/// or `{"replaced_by":2}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AuthorisationAnswer {
    /// The payment is authorised.
    Authorised(Authorisation),
    /// The customer has to act, or to pay in another way. If asked again under the same key after
    /// this time, or after a hint, the step returns the outcome.
    Waits {
        /// The customer's deadline.
        waits_until: DateTime<Utc>,
    },
    /// The payment was declined, and was replaced by another payment method on record. This attempt
    /// is over; the next attempt, with its own key, authorises the new method.
    Replaced {
        /// The number of that attempt.
        replaced_by: u32,
    },
}

/// A parcel for the carrier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// `…:ship-order:…`; also the shop's reference at the carrier.
    pub key: StepKey,
    /// The reservation of its goods, which leave the stock together with the parcel.
    pub reservation: StepKey,
    /// Where it goes.
    pub ship_to: Destination,
    /// Number of pieces.
    pub pieces: u64,
}

/// The carrier's answer to a parcel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    /// The tracking number for the customer.
    pub tracking: String,
}

/// A person's possible decisions about a step that cannot continue.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    EnumIter,
    IntoStaticStr,
    EnumString,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Decision {
    /// The cause is fixed: try again.
    Retry,
    /// It was settled by hand, or never will be: continue without it.
    Skip,
    /// What was to be undone has happened for good, such as a parcel that has left: the order goes
    /// forward again from there.
    AcceptAsDone,
}

impl Decision {
    /// The name as events and JSON write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator as _;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_key_is_read_back_as_it_was_written() {
        for step in StepName::iter() {
            let order_id = OrderId::of(Uuid::from_u128(7));
            let key = StepKey { order_id, step, version: 3, attempt: 1 };
            assert_eq!(key.to_string(), format!("{order_id}:{step}:3"));
            assert_eq!(key.again().to_string(), format!("{order_id}:{step}:3:2"));
            assert_eq!(key.name_on_record(), step.name());
            for key in [key, key.again(), key.again().again()] {
                assert_eq!(key.to_string().parse(), Ok(key));
            }
            assert_eq!(serde_json::to_value(step).unwrap(), step.name());
        }
        let order = "00000000-0000-0000-0000-000000000007";
        for wrong in
            ["", "a:b:c", ":ship-order", ":ship-order:1:1", ":ship-order:1:0", ":ship-order:1:2:3"]
        {
            assert_eq!(format!("{order}{wrong}").parse::<StepKey>(), Err(NotAStepKey));
        }
    }
}
