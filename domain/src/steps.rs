//! What each step of the saga takes: nouns of the trade, each carrying its step's key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoStaticStr};

use crate::{CustomerId, Destination, Money, OrderId, PaymentToken, Sku};

/// The steps of the order saga, by the names that keys and events use. Never renamed: a running
/// order's keys are made of them.
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
    /// Stock is set aside.
    ReserveStock,
    /// The customer pays.
    ChargePayment,
    /// The payment is booked as a deposit.
    PostEntries,
    /// The parcel is handed over.
    ShipOrder,
    /// The deposit becomes revenue.
    RecogniseRevenue,
}

impl StepName {
    /// The name as keys, events and JSON write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The reference that a step and its undo are called with, and the idempotency key of both:
/// `order_id:step:version`.
///
/// **Shape.** Derived from the order alone, never from a run (a reset changes it) and never
/// random; text such as `0190…:charge-payment:1`. It says where to read what the step needs: the
/// order on record, which is immutable per version.
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
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.order_id, self.step, self.version)
    }
}

impl From<StepKey> for String {
    fn from(key: StepKey) -> Self {
        key.to_string()
    }
}

/// The text is no step key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a step key is `order_id:step:version`")]
pub struct NotAStepKey;

impl FromStr for StepKey {
    type Err = NotAStepKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(':');
        let (Some(order), Some(step), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotAStepKey);
        };
        Ok(Self {
            order_id: OrderId::of(order.parse().map_err(|_| NotAStepKey)?),
            step: step.parse().map_err(|_| NotAStepKey)?,
            version: version.parse().map_err(|_| NotAStepKey)?,
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
    /// Pieces, all lines of the order that name the article added up.
    pub quantity: u32,
}

/// Stock that the order wants set aside: all of it or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockClaim {
    /// `…:reserve-stock:…`.
    pub key: StepKey,
    /// One line an article, in SKU order, so that two orders cannot deadlock.
    pub lines: Vec<ClaimLine>,
}

/// What the customer pays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// `…:charge-payment:…`; also the provider's idempotency key.
    pub key: StepKey,
    /// Who pays.
    pub customer_id: CustomerId,
    /// How much; more than nothing.
    pub amount: Money,
    /// The provider's stand-in for the card.
    pub payment_token: PaymentToken,
}

/// What the provider calls the customer's payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentReference {
    /// The provider's own name for the payment, for its dashboard and for disputes.
    pub provider_reference: String,
}

/// What is handed to the carrier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// `…:ship-order:…`; also the carrier's reference.
    pub key: StepKey,
    /// The reservation whose goods are in it: they leave the stock as it leaves the house.
    pub reservation: StepKey,
    /// Where it goes.
    pub ship_to: Destination,
    /// Pieces in it.
    pub pieces: u64,
}

/// What the carrier calls the parcel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    /// What the customer follows the parcel by.
    pub tracking: String,
}

/// What a person can decide about a step that cannot go on.
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
    /// The cause is repaired: try again.
    Retry,
    /// It has been settled by hand, or never will be: go on without it.
    Skip,
    /// What was to be undone has happened for good, such as a parcel that has left: the order
    /// goes forward again from there.
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
            let key = StepKey { order_id: OrderId::of(Uuid::from_u128(7)), step, version: 3 };
            assert_eq!(key.to_string().parse(), Ok(key));
            assert_eq!(serde_json::to_value(step).unwrap(), step.name());
        }
        for wrong in ["", "a:b:c", "00000000-0000-0000-0000-000000000007:charge-payment"] {
            assert_eq!(wrong.parse::<StepKey>(), Err(NotAStepKey));
        }
    }
}
