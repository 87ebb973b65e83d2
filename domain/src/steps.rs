//! The arguments of the saga's steps, each with the key of its step.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoStaticStr};

use crate::{CustomerId, Destination, Money, OrderId, PaymentToken, Sku};

/// The steps of the order saga and of a refund, by the names that keys and events use, and what else
/// a person can have to decide about. Never renamed: a running order's keys are made of them.
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
    /// The shop looks whether anything speaks against the order.
    ScreenOrder,
    /// The customer's money is set aside at their bank.
    AuthorisePayment,
    /// The money is taken.
    CapturePayment,
    /// The payment is booked as a deposit.
    PostEntries,
    /// The parcel is handed over.
    ShipOrder,
    /// The deposit becomes revenue.
    RecogniseRevenue,
    /// Money is given back of an order that was completed.
    IssueRefund,
    /// A dispute of the customer's bank is answered: by a person, at the payment provider.
    AnswerDispute,
}

impl StepName {
    /// The name as keys, events and JSON write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether it is a refund's, and not the order's own.
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

/// The reference that a step and its undo are called with, and the idempotency key of both:
/// `order_id:step:version`, and from the second time that the order needs the step on,
/// `order_id:step:version:attempt`.
///
/// **Shape.** Derived from the order alone, never from a run (a reset changes it) and never
/// random; text such as `0190…:capture-payment:1`. It says where to read what the step needs: the
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
    /// Counts how often the order has needed this step, from 1: an authorisation that has expired
    /// is asked for again, a declined payment may be replaced, and an order may have several
    /// refunds. Whoever only tries again keeps the number.
    pub attempt: u32,
}

impl StepKey {
    /// The same step once more, where its first result does not hold any more.
    #[must_use]
    pub const fn again(self) -> Self {
        Self { attempt: self.attempt.saturating_add(1), ..self }
    }

    /// What its idempotency record is called within the order.
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

/// The text is no step key.
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
    /// `…:authorise-payment:…`; the idempotency keys of the requests to the provider are made of it.
    pub key: StepKey,
    /// Who pays.
    pub customer_id: CustomerId,
    /// How much; more than nothing: an order that costs nothing is not charged.
    pub amount: Money,
    /// The provider's stand-in for the card.
    pub payment_token: PaymentToken,
}

/// Money that is set aside at the customer's bank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorisation {
    /// The provider's own name for the payment, for its dashboard and for disputes.
    pub provider_reference: String,
    /// Until when the bank sets the money aside, if the provider says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// What came of asking for the customer's money.
///
/// **Shape.** An authorisation as it is, `{"provider_reference":…}`; else `{"waits_until":…}` or
/// `{"replaced_by":2}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AuthorisationAnswer {
    /// The money is set aside.
    Authorised(Authorisation),
    /// The customer has to act, or to pay in another way: asked again under the same key after
    /// this time, or when there is news, it answers what became of that.
    Waits {
        /// Until when the customer has time.
        waits_until: DateTime<Utc>,
    },
    /// The payment was declined, and another payment method is on record in its place. This
    /// attempt is over, and the money is asked for under the key of the next one.
    Replaced {
        /// The number of that attempt.
        replaced_by: u32,
    },
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
