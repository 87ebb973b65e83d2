//! Orders: one file per operation, and the representation of an order that they share.

pub(crate) mod cancel;
pub(crate) mod deliver;
pub(crate) mod events;
pub(crate) mod filter;
pub(crate) mod invoices;
pub(crate) mod list;
pub(crate) mod pay;
pub(crate) mod place;
pub(crate) mod placer;
pub(crate) mod read;
pub(crate) mod refund;
pub(crate) mod resolve;
pub(crate) mod store;
pub(crate) mod timeline;
pub(crate) mod watch;

use chrono::{DateTime, Utc};
use domain::event::UnknownEvent;
use domain::{
    CustomerId, Destination, DiscountCode, Order, OrderId, OrderLine, OrderState, Terms, Totals,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use strum::IntoStaticStr;
use utoipa::ToSchema;
use uuid::fmt::Hyphenated;

use crate::app::disputes::DisputeResource;
use crate::error::Problem;

/// The longest cancel window: a month.
pub(crate) const CANCEL_WINDOW_SECONDS_MAX: u32 = 2_592_000;

/// The longest patience (how long a step may wait for its party): a week.
pub(crate) const PATIENCE_SECONDS_MAX: u32 = 604_800;

/// The longest time in which a declined payment may be replaced: a week.
pub(crate) const PAYMENT_RETRY_SECONDS_MAX: u32 = 604_800;

/// The longest time for a review: a week.
pub(crate) const REVIEW_SECONDS_MAX: u32 = 604_800;

/// The longest time for a customer to approve a payment or to transfer the money: a month.
pub(crate) const APPROVAL_SECONDS_MAX: u32 = 2_592_000;

/// An order, as its customer and the shop see it.
///
/// **Shape.** It has three statuses: `status`, `payment_status` and `fulfilment_status`. Details of
/// the status are fields beside it, such as `{"status":"cancelled","reason":"…"}`. The payment
/// token is not shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Order)]
pub(crate) struct OrderResource {
    /// The order's id.
    pub(crate) order_id: OrderId,
    /// Who ordered.
    pub(crate) customer_id: CustomerId,
    /// When it was placed.
    pub(crate) placed_at: DateTime<Utc>,
    /// The statuses.
    #[serde(flatten)]
    pub(crate) state: OrderState,
    /// What the customer has to do before the order continues, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) customer_action: Option<CustomerAction>,
    /// Disputes of the customer's bank about the payment, oldest first; for callers with the scope
    /// `disputes:read`, and omitted if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) disputes: Vec<DisputeResource>,
    /// What was bought, at the prices at that time.
    pub(crate) lines: Vec<OrderLine>,
    /// What it costs in total.
    pub(crate) totals: Totals,
    /// The discount code used, if any.
    pub(crate) discount_code: Option<DiscountCode>,
    /// The destination.
    pub(crate) ship_to: Destination,
    /// The agreed terms, such as the cancel window.
    pub(crate) terms: Terms,
}

/// What the customer has to do before the order continues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct CustomerAction {
    /// The kind of action.
    pub(crate) kind: CustomerActionKind,
    /// The link at the payment provider. Anybody with the link can approve the payment: pass it on
    /// to the customer and to nobody else. For a transfer: account, holder, amount and reference,
    /// as a `payto:` URI (RFC 8905).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "https://sandbox.example/approve/17")]
    pub(crate) url: Option<String>,
    /// The deadline. After that the order is rejected.
    pub(crate) until: DateTime<Utc>,
}

/// The kinds of customer action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum CustomerActionKind {
    /// Approve the payment at `url`, because the customer's bank asks for it.
    ApprovePayment,
    /// Pay in another way, because the payment was declined: `POST /v1/orders/{id}/payment`.
    ReplacePayment,
    /// Transfer the money from a bank account, as `url` says.
    TransferMoney,
}

impl CustomerActionKind {
    /// The name in every protocol.
    #[cfg(feature = "graphql")]
    pub(crate) fn name(self) -> &'static str {
        self.into()
    }
}

impl OrderResource {
    /// Whether the customer can be shown a result, or has to act.
    pub(crate) fn is_decided(&self) -> bool {
        self.customer_action.is_some() || self.state.is_decided()
    }

    /// The order as it was just placed.
    pub(crate) fn placed(order: Order) -> Self {
        Self {
            order_id: order.order_id,
            customer_id: order.customer_id,
            placed_at: order.placed_at,
            state: OrderState::placed(),
            customer_action: None,
            disputes: Vec::new(),
            lines: order.lines,
            totals: order.totals,
            discount_code: order.discount_code,
            ship_to: order.ship_to,
            terms: order.terms,
        }
    }
}

/// An order on record, with the fingerprint that identifies repeats of the request that placed it.
#[derive(Clone, Debug)]
pub(crate) struct StoredOrder {
    pub(crate) resource: OrderResource,
    pub(crate) fingerprint: String,
}

/// An event of an order. Events are immutable.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderEvent {
    /// The event's number within the order, counted from 1.
    pub(crate) sequence: i32,
    /// The event type.
    #[serde(rename = "type")]
    #[schema(example = "order.placed")]
    pub(crate) kind: String,
    /// The version of the type: a later version may have other fields.
    #[schema(example = 1)]
    pub(crate) version: i16,
    /// The data, by type.
    #[schema(value_type = Object)]
    pub(crate) data: Value,
    /// When it happened.
    pub(crate) occurred_at: DateTime<Utc>,
}

impl OrderEvent {
    /// Decodes the event's data.
    ///
    /// **Errors.** A newer release wrote it.
    pub(crate) fn read(&self) -> Result<domain::event::OrderEvent, UnknownEvent> {
        domain::event::OrderEvent::read(&self.kind, self.version, &self.data)
    }
}

/// Parses an order's id. Text that is not an id is answered like an unknown order.
pub(crate) fn parse_id(text: &str) -> Result<OrderId, Problem> {
    // Only the hyphenated form is accepted, so that each id has one spelling.
    let id = Some(text).filter(|text| text.len() == Hyphenated::LENGTH);
    let id = id.and_then(|text| text.parse().ok()).map(OrderId::of);
    id.ok_or_else(Problem::order_not_found)
}
