//! What each step of the saga takes: nouns of the trade, each carrying its step's key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{CustomerId, Destination, Money, Order, OrderId, OrderStatus, PaymentToken, Sku};

/// The steps of the order saga, by the names that keys and events use. Never renamed: a running
/// order's keys are made of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum StepName {
    /// The order goes on record.
    OpenOrder,
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
    /// Every step, in the order in which an order that ships goes through them.
    pub const ALL: [Self; 6] = [
        Self::OpenOrder,
        Self::ReserveStock,
        Self::ChargePayment,
        Self::PostEntries,
        Self::ShipOrder,
        Self::RecogniseRevenue,
    ];

    /// The name as keys, events and JSON write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenOrder => "open-order",
            Self::ReserveStock => "reserve-stock",
            Self::ChargePayment => "charge-payment",
            Self::PostEntries => "post-entries",
            Self::ShipOrder => "ship-order",
            Self::RecogniseRevenue => "recognise-revenue",
        }
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What makes twice once: `order_id:step:generation`.
///
/// **Shape.** Derived from the order alone, never from a run id (it changes on reset) and never
/// random; text such as `0190…:charge-payment:1`.
/// **Repeats.** The same key with the same argument gives the first answer again; with another
/// argument it is an error, not a second effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StepKey {
    /// The order the step belongs to.
    pub order_id: OrderId,
    /// Which step.
    pub step: StepName,
    /// 1 for the order's first and usually only course; a deliberate second course counts on.
    pub generation: u32,
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.order_id, self.step, self.generation)
    }
}

impl From<StepKey> for String {
    fn from(key: StepKey) -> Self {
        key.to_string()
    }
}

/// The text is no step key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a step key is `order_id:step:generation`")]
pub struct NotAStepKey;

impl FromStr for StepKey {
    type Err = NotAStepKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(':');
        let (Some(order), Some(step), Some(generation), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotAStepKey);
        };
        Ok(Self {
            order_id: OrderId::of(order.parse().map_err(|_| NotAStepKey)?),
            step: StepName::ALL
                .into_iter()
                .find(|name| name.as_str() == step)
                .ok_or(NotAStepKey)?,
            generation: generation.parse().map_err(|_| NotAStepKey)?,
        })
    }
}

impl TryFrom<String> for StepKey {
    type Error = NotAStepKey;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The order as it goes on record. Undone by nothing: an order that was placed stays on record,
/// whatever becomes of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// `…:open-order:…`.
    pub key: StepKey,
    /// The order as priced.
    pub order: Order,
}

/// Pieces of one article.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// One line an article, in SKU order, so that two orders never wait for each other in a circle.
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

/// What the provider gave for the customer's money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
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

/// What the carrier gave for the parcel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consignment {
    /// What the customer follows the parcel by.
    pub tracking: String,
}

/// A turn in the order's life that no step's own effect records: unwinding, stuck, the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusNote {
    /// The order.
    pub order_id: OrderId,
    /// Counts the order's notes from 1; the same number is the same note.
    pub number: u32,
    /// What the order has become.
    pub status: OrderStatus,
    /// Who decided and why, when a person did.
    pub remark: Option<String>,
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_key_is_read_back_as_it_was_written() {
        for step in StepName::ALL {
            let key = StepKey { order_id: OrderId::of(Uuid::from_u128(7)), step, generation: 3 };
            assert_eq!(key.to_string().parse(), Ok(key));
            assert_eq!(serde_json::to_value(step).unwrap(), step.as_str());
        }
        for wrong in ["", "a:b:c", "00000000-0000-0000-0000-000000000007:charge-payment"] {
            assert_eq!(wrong.parse::<StepKey>(), Err(NotAStepKey));
        }
    }
}
