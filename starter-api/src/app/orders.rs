//! Orders: one file per operation, and the order itself as every operation answers it.

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

/// The longest patience with a party: a week.
pub(crate) const PATIENCE_SECONDS_MAX: u32 = 604_800;

/// The longest time in which a declined payment may be replaced: a week.
pub(crate) const PAYMENT_RETRY_SECONDS_MAX: u32 = 604_800;

/// The longest that a person may take to look at an order: a week.
pub(crate) const REVIEW_SECONDS_MAX: u32 = 604_800;

/// The longest that a customer may take to approve a payment, or to transfer the money: a month.
pub(crate) const APPROVAL_SECONDS_MAX: u32 = 2_592_000;

/// An order, as its customer and the shop see it.
///
/// **Shape.** Where it stands are three statuses: `status`, `payment_status` and
/// `fulfilment_status`. What belongs to the status stands beside it, such as
/// `{"status":"cancelled","reason":"…"}`. The payment token is not shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Order)]
pub(crate) struct OrderResource {
    /// Its id everywhere.
    pub(crate) order_id: OrderId,
    /// Who ordered.
    pub(crate) customer_id: CustomerId,
    /// When it was placed.
    pub(crate) placed_at: DateTime<Utc>,
    /// Where it stands.
    #[serde(flatten)]
    pub(crate) state: OrderState,
    /// What the customer has to do before the order goes on, if it waits for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) customer_action: Option<CustomerAction>,
    /// Disputes of the customer's bank about its payment, the first one first; for callers with the
    /// scope `disputes:read`, and left out if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) disputes: Vec<DisputeResource>,
    /// What was bought, at the prices of that moment.
    pub(crate) lines: Vec<OrderLine>,
    /// What it costs in total.
    pub(crate) totals: Totals,
    /// The discount code used, if any.
    pub(crate) discount_code: Option<DiscountCode>,
    /// Where it goes.
    pub(crate) ship_to: Destination,
    /// The agreed terms, such as the cancel window.
    pub(crate) terms: Terms,
}

/// What the customer has to do before the order goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct CustomerAction {
    /// What it is.
    pub(crate) kind: CustomerActionKind,
    /// Where the customer does it, at the payment provider. Whoever has the link may approve the
    /// payment: pass it on to the customer and to nobody else. Of a transfer: account, holder, amount
    /// and reference, as a `payto:` URI (RFC 8905).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "https://sandbox.example/approve/17")]
    pub(crate) url: Option<String>,
    /// Until when. After that the order is rejected.
    pub(crate) until: DateTime<Utc>,
}

/// What a customer can have to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum CustomerActionKind {
    /// To approve the payment at `url`, because their bank asks for it.
    ApprovePayment,
    /// To pay in another way, because the payment was declined: `POST /v1/orders/{id}/payment`.
    ReplacePayment,
    /// To transfer the money from their bank account, as `url` says.
    TransferMoney,
}

impl CustomerActionKind {
    /// Its name in every protocol.
    pub(crate) fn name(self) -> &'static str {
        self.into()
    }
}

impl OrderResource {
    /// Whether the customer can be told how it went, or what they have to do.
    pub(crate) fn is_decided(&self) -> bool {
        self.customer_action.is_some() || self.state.is_decided()
    }

    /// The order as it was placed a moment ago.
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

/// An order on record, with what tells whether a request repeats the one that placed it.
#[derive(Clone, Debug)]
pub(crate) struct StoredOrder {
    pub(crate) resource: OrderResource,
    pub(crate) fingerprint: String,
}

/// Something that happened to an order. Never changed afterwards.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderEvent {
    /// The event's number within the order, from 1.
    pub(crate) sequence: i32,
    /// What happened.
    #[serde(rename = "type")]
    #[schema(example = "order.placed")]
    pub(crate) kind: String,
    /// The version of the type: a later one may have other particulars.
    #[schema(example = 1)]
    pub(crate) version: i16,
    /// The particulars, by type.
    #[schema(value_type = Object)]
    pub(crate) data: Value,
    /// When.
    pub(crate) occurred_at: DateTime<Utc>,
}

impl OrderEvent {
    /// The event with its particulars.
    ///
    /// **Errors.** A newer release wrote it.
    pub(crate) fn read(&self) -> Result<domain::event::OrderEvent, UnknownEvent> {
        domain::event::OrderEvent::read(&self.kind, self.version, &self.data)
    }
}

/// The order id that a caller wrote. Text that is not an id names no order.
pub(crate) fn parse_id(text: &str) -> Result<OrderId, Problem> {
    // With hyphens and nothing around it, as ids are written everywhere.
    let id = Some(text).filter(|text| text.len() == Hyphenated::LENGTH);
    let id = id.and_then(|text| text.parse().ok()).map(OrderId::of);
    id.ok_or_else(Problem::order_not_found)
}
