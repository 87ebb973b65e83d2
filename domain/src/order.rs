//! The order: what was bought, at which prices, for whom, and the arguments of its saga's steps.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use iso_currency::Currency;
use serde::{Deserialize, Serialize};

use crate::event::OrderPlaced;
use crate::{
    AddressId, Charge, ClaimLine, CountryCode, CustomerId, DiscountCode, Money, MoneyError,
    NotChargeable, OrderId, Parcel, PaymentToken, Sku, StepKey, StepName, StockClaim,
};

/// The most lines an order may have. Real invoices reach 541.
pub const LINES_MAX: usize = 1_000;

/// The most payments of one order, including declined ones.
pub const PAYMENTS_MAX: u32 = 5;

/// The most pieces of one article in one line. Real orders reach 74,215.
pub const QUANTITY_MAX: u32 = 100_000;

/// Pieces of one article: at least one, at most [`QUANTITY_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "u32")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = u32, minimum = 1, maximum = 100_000, example = 6))]
pub struct Quantity(u32);

/// Why an order is invalid, in words for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrder {
    /// Zero, negative or beyond [`QUANTITY_MAX`].
    #[error("a quantity is a whole number from 1 to {QUANTITY_MAX}, not {0}")]
    Quantity(i64),
    /// Nothing was ordered.
    #[error("an order has at least one line")]
    NoLines,
    /// More than [`LINES_MAX`].
    #[error("an order has at most {LINES_MAX} lines, not {0}; split it")]
    TooManyLines(usize),
    /// An invalid amount: see [`MoneyError`].
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// The shop has no tax rate for the country.
    #[error("the shop does not sell to {0}")]
    NotServed(CountryCode),
    /// The shop has no shipping fee for the country in the order's currency.
    #[error("the shop does not ship to {country} for {}", .currency.code())]
    NoShippingRate {
        /// The parcel's destination.
        country: CountryCode,
        /// The order's currency.
        currency: Currency,
    },
    /// The code's discount is an amount of another currency.
    #[error("the discount is in {}, the order in {}", .discount.code(), .order.code())]
    DiscountCurrency {
        /// The discount's currency.
        discount: Currency,
        /// The order's currency.
        order: Currency,
    },
    /// The payment provider cannot charge what the order costs.
    #[error(transparent)]
    NotChargeable(#[from] NotChargeable),
}

impl Quantity {
    /// Checks the range.
    pub fn new(pieces: i64) -> Result<Self, InvalidOrder> {
        match u32::try_from(pieces) {
            Ok(quantity @ 1..=QUANTITY_MAX) => Ok(Self(quantity)),
            Ok(_) | Err(_) => Err(InvalidOrder::Quantity(pieces)),
        }
    }

    /// The number of pieces.
    #[must_use]
    pub const fn pieces(self) -> u32 {
        self.0
    }
}

impl TryFrom<i64> for Quantity {
    type Error = InvalidOrder;

    fn try_from(pieces: i64) -> Result<Self, Self::Error> {
        Self::new(pieces)
    }
}

impl From<Quantity> for u32 {
    fn from(quantity: Quantity) -> Self {
        quantity.0
    }
}

/// One article of the order, at its price when it was ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrderLine {
    /// The article.
    pub sku: Sku,
    /// How many pieces.
    pub quantity: Quantity,
    /// Price of one piece, before tax. Later price changes do not affect it.
    pub unit_price: Money,
    /// `unit_price` × `quantity`.
    pub line_total: Money,
}

/// The order's amounts, all in its currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Totals {
    /// The sum of the lines.
    pub subtotal: Money,
    /// The discount on the subtotal.
    pub discount: Money,
    /// Shipping, before tax.
    pub shipping: Money,
    /// Sales tax of the destination, on goods after discount and on shipping.
    pub tax: Money,
    /// What the customer pays: subtotal − discount + shipping + tax.
    pub total: Money,
}

/// Where the parcel goes, without the recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Destination {
    /// Decides tax, fee and carrier.
    pub country: CountryCode,
    /// Refers to the recipient's name and street, which are stored only in the database.
    pub address_id: Option<AddressId>,
}

/// What was agreed besides the goods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Terms {
    /// How long the order waits between booking and packing, during which it can be cancelled. Zero
    /// packs at once.
    pub cancel_window_seconds: u32,
    /// How long a step may wait for a party that does not answer before the order is unwound; if
    /// absent, the step's own limit applies.
    pub patience_seconds: Option<u32>,
    /// When the payment is captured.
    #[serde(default)]
    pub capture_at: CaptureAt,
    /// How long the customer may take to approve the payment, if their bank requires that. Orders
    /// from before this field existed have zero, and are then refused.
    #[serde(default)]
    pub approval_seconds: u32,
    /// How long a declined payment may be replaced by another, counted from the first decline. Zero
    /// rejects the order at once.
    #[serde(default)]
    pub payment_retry_seconds: u32,
    /// How the order is screened for fraud; if absent, it is not screened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub screening: Option<Screening>,
}

/// The terms of fraud screening before the payment is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Screening {
    /// How long a person may take to review the order, if the rules require a review. Afterwards
    /// the rules' default decision counts.
    pub review_seconds: u32,
}

/// When the payment is captured. It is authorised as soon as the stock is reserved.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum CaptureAt {
    /// Right before the parcel is handed over: a cancel inside the window moves no money.
    #[default]
    HandOver,
    /// As soon as the order is placed.
    Placement,
}

impl Terms {
    /// How long the order can be cancelled before packing.
    #[must_use]
    pub fn cancel_window(self) -> Duration {
        Duration::from_secs(self.cancel_window_seconds.into())
    }

    /// The longest time that the order waits for its customer to pay: to approve a payment, to
    /// replace it after a decline, and to approve the replacement.
    #[must_use]
    pub fn customer_time(self) -> Duration {
        let approval = Duration::from_secs(self.approval_seconds.into());
        let retry = Duration::from_secs(self.payment_retry_seconds.into());
        approval.saturating_mul(2).saturating_add(retry)
    }

    /// The longest time that the order waits for reviews: one before its payment is requested, one
    /// after it is authorised.
    #[must_use]
    pub fn review_time(self) -> Duration {
        let once = self.screening.map_or(0, |screening| screening.review_seconds);
        Duration::from_secs(once.into()).saturating_mul(2)
    }

    /// The order's limit on how long a step may wait for its party.
    #[must_use]
    pub fn patience(self) -> Option<Duration> {
        self.patience_seconds.map(|seconds| Duration::from_secs(seconds.into()))
    }
}

/// A customer's order as the shop accepted it: priced and immutable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Its id everywhere.
    pub order_id: OrderId,
    /// Who ordered.
    pub customer_id: CustomerId,
    /// When the shop accepted it, by the starter's clock.
    pub placed_at: DateTime<Utc>,
    /// Counts the versions of the record, from 1. An order is immutable per version.
    pub record_version: u32,
    /// What was bought.
    pub lines: Vec<OrderLine>,
    /// What it comes to.
    pub totals: Totals,
    /// What the goods cost the shop; moves from inventory to cost of goods when the goods leave.
    pub cost_of_goods: Money,
    /// The discount code used, if any.
    pub discount_code: Option<DiscountCode>,
    /// Where it goes.
    pub ship_to: Destination,
    /// The provider's token for the card.
    pub payment_token: PaymentToken,
    /// Window and patience.
    pub terms: Terms,
}

impl Order {
    /// The key of one of this order's steps.
    #[must_use]
    pub const fn key(&self, step: StepName) -> StepKey {
        StepKey { order_id: self.order_id, step, version: self.record_version, attempt: 1 }
    }

    /// The event that it was placed, from which the record can be rebuilt.
    #[must_use]
    pub fn placed(&self) -> OrderPlaced {
        OrderPlaced {
            customer_id: self.customer_id.clone(),
            placed_at: self.placed_at,
            record_version: self.record_version,
            lines: self.lines.clone(),
            totals: self.totals,
            cost_of_goods: self.cost_of_goods,
            discount_code: self.discount_code.clone(),
            ship_to: self.ship_to,
            terms: self.terms,
        }
    }

    /// Until when it can be cancelled before packing: counted from its placing, so that a delayed
    /// launch costs no time.
    #[must_use]
    pub fn cancellable_until(&self) -> DateTime<Utc> {
        self.placed_at
            .checked_add_signed(TimeDelta::seconds(self.terms.cancel_window_seconds.into()))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// The stock to reserve: one line per article, in SKU order.
    #[must_use]
    pub fn stock_claim(&self) -> StockClaim {
        let mut pieces = BTreeMap::<&Sku, u32>::new();
        for line in &self.lines {
            let claimed = pieces.entry(&line.sku).or_default();
            *claimed = claimed.saturating_add(line.quantity.pieces());
        }
        let lines = pieces
            .into_iter()
            .map(|(sku, quantity)| ClaimLine { sku: sku.clone(), quantity })
            .collect();
        StockClaim { key: self.key(StepName::ReserveStock), lines }
    }

    /// The charge to request at this authorisation attempt.
    #[must_use]
    pub fn charge(&self, attempt: u32) -> Charge {
        Charge {
            key: StepKey { attempt, ..self.key(StepName::AuthorisePayment) },
            customer_id: self.customer_id.clone(),
            amount: self.totals.total,
            payment_token: self.payment_token.clone(),
        }
    }

    /// What is handed to the carrier.
    #[must_use]
    pub fn parcel(&self) -> Parcel {
        Parcel {
            key: self.key(StepName::ShipOrder),
            reservation: self.key(StepName::ReserveStock),
            ship_to: self.ship_to,
            pieces: self.lines.iter().map(|line| u64::from(line.quantity.pieces())).sum(),
        }
    }
}
