//! Data related to an order, in GraphQL's types.

use async_graphql::SimpleObject;
use chrono::SecondsFormat;
use domain::refund::{Parts, RefundLine};

use crate::app::orders::store::refunds::StoredRefund;
use crate::app::orders::store::related::{LedgerEntry, Payment, Shipment, StoredAmount};
use crate::app::orders::timeline::TimelineLine;
use crate::app::orders::{CustomerAction, OrderEvent};

/// An amount of money.
#[derive(Clone, SimpleObject)]
#[graphql(name = "Money")]
pub(crate) struct GraphMoney {
    /// In major units, as decimal text.
    pub(crate) amount: String,
    /// ISO 4217.
    pub(crate) currency: String,
}

/// What an order waits for until a person decides.
#[derive(Clone, SimpleObject)]
#[graphql(name = "Attention")]
pub(crate) struct GraphAttention {
    /// The step that cannot continue.
    pub(crate) step: &'static str,
    /// The number of this wait within the order, counted from 1.
    pub(crate) occurrence: u32,
    /// Whether the step is being undone (compensated), or must be completed.
    pub(crate) undoing: bool,
    /// What went wrong.
    pub(crate) why: String,
    /// The possible decisions.
    pub(crate) decisions: Vec<&'static str>,
    /// When the wait began, as RFC 3339.
    pub(crate) since: String,
}

/// What the customer has to do before the order continues.
#[derive(Clone, SimpleObject)]
#[graphql(name = "CustomerAction")]
pub(crate) struct GraphCustomerAction {
    /// `approve-payment`: the customer approves the payment at the URL, because their bank asks for
    /// it. `replace-payment`: they pay in another way, because the payment was declined.
    /// `transfer-money`: they transfer the money from their bank account.
    pub(crate) kind: &'static str,
    /// The link at the payment provider. Pass it on to the customer and to nobody else. For a
    /// transfer: account, holder, amount and reference, as a `payto:` URI (RFC 8905).
    pub(crate) url: Option<String>,
    /// The deadline, as RFC 3339. After that the order is rejected.
    pub(crate) until: String,
}

/// An event of an order.
#[derive(Clone, SimpleObject)]
#[graphql(name = "OrderEvent")]
pub(crate) struct GraphEvent {
    /// The event's number within the order, counted from 1.
    pub(crate) sequence: i32,
    /// The event type, such as `payment.captured`.
    pub(crate) kind: String,
    /// The event as text.
    pub(crate) text: String,
    /// When it happened, as RFC 3339.
    pub(crate) occurred_at: String,
}

/// A payment of an order. After a decline or an expired authorisation, an order may have another
/// one.
#[derive(Clone, SimpleObject)]
#[graphql(name = "Payment")]
pub(crate) struct GraphPayment {
    /// The payment's id at the provider.
    pub(crate) provider_reference: String,
    /// Its state: `opened`, `awaiting-customer`, `declined`, `authorised`, `captured`, `voided` or
    /// `refunded`.
    pub(crate) state: String,
    /// The amount captured.
    pub(crate) captured: GraphMoney,
    /// The amount refunded.
    pub(crate) refunded: GraphMoney,
}

/// A refund of a completed order.
#[derive(Clone, SimpleObject)]
#[graphql(name = "Refund")]
pub(crate) struct GraphRefund {
    /// The number of the refund within the order, counted from 1.
    pub(crate) number: u32,
    /// Its state: `requested`, `pending`, `succeeded`, `failed` or `cancelled`.
    pub(crate) state: &'static str,
    /// The refunded amount.
    pub(crate) amount: GraphMoney,
    /// The part for goods, after the discount and before tax.
    pub(crate) goods: GraphMoney,
    /// The part for sales tax on the goods.
    pub(crate) goods_tax: GraphMoney,
    /// The part for shipping, before tax.
    pub(crate) shipping: GraphMoney,
    /// The part for sales tax on the shipping.
    pub(crate) shipping_tax: GraphMoney,
    /// The refunded goods, if the request was by goods.
    pub(crate) lines: Vec<GraphRefundLine>,
    /// The reason given in the request.
    pub(crate) reason: String,
    /// Who requested it, as named by their token.
    pub(crate) requested_by: String,
    /// When it was requested, as RFC 3339.
    pub(crate) requested_at: String,
    /// When its state changed last, as RFC 3339.
    pub(crate) updated_at: String,
    /// Why the payment provider did not refund the money, at its last failure.
    pub(crate) failure: Option<String>,
}

/// Refunded pieces of one article.
#[derive(Clone, SimpleObject)]
#[graphql(name = "RefundLine")]
pub(crate) struct GraphRefundLine {
    /// The article.
    pub(crate) sku: String,
    /// The number of pieces.
    pub(crate) quantity: u32,
}

/// A parcel.
#[derive(Clone, SimpleObject)]
#[graphql(name = "Shipment")]
pub(crate) struct GraphShipment {
    /// The carrier's tracking number.
    pub(crate) tracking: String,
    /// The number of pieces in it.
    pub(crate) pieces: i64,
    /// Whether it was cancelled before the carrier collected it.
    pub(crate) is_cancelled: bool,
}

/// One side of a journal entry.
#[derive(Clone, SimpleObject)]
#[graphql(name = "LedgerEntry")]
pub(crate) struct GraphEntry {
    /// The transaction that it belongs to; debits equal credits in it.
    pub(crate) transaction_key: String,
    /// The account.
    pub(crate) account: String,
    /// `debit` or `credit`.
    pub(crate) side: String,
    /// The amount.
    pub(crate) amount: GraphMoney,
}

impl From<domain::Money> for GraphMoney {
    fn from(money: domain::Money) -> Self {
        Self { amount: money.amount().to_string(), currency: money.currency().code().to_owned() }
    }
}

impl From<domain::Attention> for GraphAttention {
    fn from(attention: domain::Attention) -> Self {
        Self {
            step: attention.step.name(),
            occurrence: attention.occurrence,
            undoing: attention.undoing,
            why: attention.why,
            decisions: attention.decisions.iter().map(|decision| decision.name()).collect(),
            since: attention.since.to_rfc3339_opts(SecondsFormat::Micros, true),
        }
    }
}

impl From<OrderEvent> for GraphEvent {
    fn from(event: OrderEvent) -> Self {
        Self {
            sequence: event.sequence,
            text: TimelineLine::of(&event).text,
            kind: event.kind,
            occurred_at: event.occurred_at.to_rfc3339_opts(SecondsFormat::Micros, true),
        }
    }
}

impl From<StoredAmount> for GraphMoney {
    fn from(StoredAmount { amount, currency }: StoredAmount) -> Self {
        Self { amount, currency }
    }
}

impl From<CustomerAction> for GraphCustomerAction {
    fn from(action: CustomerAction) -> Self {
        let until = action.until.to_rfc3339_opts(SecondsFormat::Micros, true);
        Self { kind: action.kind.name(), url: action.url, until }
    }
}

impl From<Payment> for GraphPayment {
    fn from(payment: Payment) -> Self {
        Self {
            provider_reference: payment.provider_reference,
            state: payment.state,
            captured: payment.captured.into(),
            refunded: payment.refunded.into(),
        }
    }
}

impl From<StoredRefund> for GraphRefund {
    fn from(StoredRefund { resource, .. }: StoredRefund) -> Self {
        let Parts { goods, goods_tax, shipping, shipping_tax } = resource.parts;
        Self {
            number: resource.number,
            state: resource.state.name(),
            amount: resource.amount.into(),
            goods: goods.into(),
            goods_tax: goods_tax.into(),
            shipping: shipping.into(),
            shipping_tax: shipping_tax.into(),
            lines: resource.lines.into_iter().map(Into::into).collect(),
            reason: resource.reason,
            requested_by: resource.requested_by,
            requested_at: resource.requested_at.to_rfc3339_opts(SecondsFormat::Micros, true),
            updated_at: resource.updated_at.to_rfc3339_opts(SecondsFormat::Micros, true),
            failure: resource.failure,
        }
    }
}

impl From<RefundLine> for GraphRefundLine {
    fn from(RefundLine { sku, quantity }: RefundLine) -> Self {
        Self { sku: sku.to_string(), quantity: quantity.pieces() }
    }
}

impl From<Shipment> for GraphShipment {
    fn from(Shipment { tracking, pieces, is_cancelled }: Shipment) -> Self {
        Self { tracking, pieces, is_cancelled }
    }
}

impl From<LedgerEntry> for GraphEntry {
    fn from(entry: LedgerEntry) -> Self {
        Self {
            transaction_key: entry.transaction_key,
            account: entry.account,
            side: entry.side,
            amount: entry.amount.into(),
        }
    }
}
