//! What belongs to an order, in GraphQL's types.

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

/// What an order waits for, until a person decides.
#[derive(Clone, SimpleObject)]
#[graphql(name = "Attention")]
pub(crate) struct GraphAttention {
    /// The step that cannot go on.
    pub(crate) step: &'static str,
    /// Counts how often the order has needed a person, from 1.
    pub(crate) occurrence: u32,
    /// Whether the step is being undone, or must be done.
    pub(crate) undoing: bool,
    /// What went wrong.
    pub(crate) why: String,
    /// What can be decided.
    pub(crate) decisions: Vec<&'static str>,
    /// Since when, as RFC 3339.
    pub(crate) since: String,
}

/// What the customer has to do before the order goes on.
#[derive(Clone, SimpleObject)]
#[graphql(name = "CustomerAction")]
pub(crate) struct GraphCustomerAction {
    /// `approve-payment`: the customer approves the payment at the URL, because their bank asks for
    /// it. `replace-payment`: they pay in another way, because the payment was declined.
    /// `transfer-money`: they transfer the money from their bank account.
    pub(crate) kind: &'static str,
    /// Where the customer does it, at the payment provider. Pass it on to nobody else. Of a transfer:
    /// account, holder, amount and reference, as a `payto:` URI (RFC 8905).
    pub(crate) url: Option<String>,
    /// Until when, as RFC 3339. After that the order is rejected.
    pub(crate) until: String,
}

/// Something that happened to an order.
#[derive(Clone, SimpleObject)]
#[graphql(name = "OrderEvent")]
pub(crate) struct GraphEvent {
    /// The event's number within the order, from 1.
    pub(crate) sequence: i32,
    /// What happened, such as `payment.captured`.
    pub(crate) kind: String,
    /// What happened, in words.
    pub(crate) text: String,
    /// When, as RFC 3339.
    pub(crate) occurred_at: String,
}

/// A payment of an order. Where one was declined or its authorisation has expired, an order may
/// have another one.
#[derive(Clone, SimpleObject)]
#[graphql(name = "Payment")]
pub(crate) struct GraphPayment {
    /// The provider's own id for it.
    pub(crate) provider_reference: String,
    /// What the shop knows of it: `opened`, `awaiting-customer`, `declined`, `authorised`,
    /// `captured`, `voided` or `refunded`.
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
    /// Counts the order's refunds, from 1.
    pub(crate) number: u32,
    /// Where it stands: `requested`, `pending`, `succeeded`, `failed` or `cancelled`.
    pub(crate) state: &'static str,
    /// How much is given back.
    pub(crate) amount: GraphMoney,
    /// Of it, the goods after the discount and before tax.
    pub(crate) goods: GraphMoney,
    /// Of it, the sales tax on the goods.
    pub(crate) goods_tax: GraphMoney,
    /// Of it, the shipping before tax.
    pub(crate) shipping: GraphMoney,
    /// Of it, the sales tax on the shipping.
    pub(crate) shipping_tax: GraphMoney,
    /// The goods that it is for, if it was asked for by goods.
    pub(crate) lines: Vec<GraphRefundLine>,
    /// Why, in the words of whoever asked for it.
    pub(crate) reason: String,
    /// Who asked for it, as the token named them.
    pub(crate) requested_by: String,
    /// When it was asked for, as RFC 3339.
    pub(crate) requested_at: String,
    /// When its state changed last, as RFC 3339.
    pub(crate) updated_at: String,
    /// Why the payment provider did not give the money back, the last time that it did not.
    pub(crate) failure: Option<String>,
}

/// Pieces of one article that money is given back for.
#[derive(Clone, SimpleObject)]
#[graphql(name = "RefundLine")]
pub(crate) struct GraphRefundLine {
    /// The article.
    pub(crate) sku: String,
    /// How many pieces of it.
    pub(crate) quantity: u32,
}

/// A parcel.
#[derive(Clone, SimpleObject)]
#[graphql(name = "Shipment")]
pub(crate) struct GraphShipment {
    /// The carrier's number for it.
    pub(crate) tracking: String,
    /// How many pieces are in it.
    pub(crate) pieces: i64,
    /// Whether it was cancelled before the carrier fetched it.
    pub(crate) is_cancelled: bool,
}

/// One side of a journal entry.
#[derive(Clone, SimpleObject)]
#[graphql(name = "LedgerEntry")]
pub(crate) struct GraphEntry {
    /// The transaction that it is a part of, in which debits equal credits.
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
