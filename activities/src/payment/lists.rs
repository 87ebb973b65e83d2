//! The lists of a payment provider: payments, refunds and payouts of a range, and the items of a
//! payout. The shop compares them with its own records.
//!
//! Every list is paged. If a page's answer cannot be read, the reader requests it again, from where
//! the previous page ended.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::payment::PaymentState;
use domain::refund::AtProvider;
use domain::{Currency, Money, OrderId};
use rust_decimal::Decimal;

use super::port::{PaymentId, ProviderError};

/// A payment provider's lists.
///
/// **Errors.** Those of every call to the provider. If a single item is not understood, the item
/// says so where possible, so that it does not prevent the others from being read.
/// **Repeats.** Read-only.
#[async_trait]
pub trait ProviderLists: Send + Sync {
    /// A page of the payments opened within a range: the first one, or the one at the cursor.
    async fn list_payments(
        &self,
        range: Range,
        after: Option<&str>,
    ) -> Result<Page<ListedPayment>, ProviderError>;

    /// A page of the refunds made within a range.
    async fn list_refunds(
        &self,
        range: Range,
        after: Option<&str>,
    ) -> Result<Page<ListedRefund>, ProviderError>;

    /// A page of the payouts made within a range.
    async fn list_payouts(
        &self,
        range: Range,
        after: Option<&str>,
    ) -> Result<Page<Payout>, ProviderError>;

    /// A page of a payout's items. Some providers include the payout itself.
    async fn list_settled(
        &self,
        payout: &str,
        after: Option<&str>,
    ) -> Result<Page<Settled>, ProviderError>;

    /// One payment, as the list shows it now.
    async fn find(&self, payment: &PaymentId) -> Result<ListedPayment, ProviderError>;
}

/// A half-open range of time. Providers count in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The start, inclusive.
    pub from: DateTime<Utc>,
    /// The end, exclusive.
    pub to: DateTime<Utc>,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The cursor of the next page; `None` on the last one.
    pub next: Option<String>,
}

/// A payment in the provider's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPayment {
    /// The provider's id.
    pub id: PaymentId,
    /// The order given to the provider, if it is an order's id.
    pub order_id: Option<OrderId>,
    /// When it was opened.
    pub opened_at: DateTime<Utc>,
    /// Its state.
    pub standing: Standing,
}

/// The state of a payment, according to the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is decided. All amounts are in one currency.
    Known {
        /// Its state.
        state: PaymentState,
        /// The amount it was opened with.
        amount: Money,
        /// The captured amount.
        captured: Money,
        /// The part of it that was refunded, or is being refunded.
        refunded: Money,
    },
    /// The provider has not decided yet.
    Undecided,
    /// Its state or currency is not known to this release.
    Unreadable,
}

/// A refund in the provider's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRefund {
    /// The provider's id.
    pub id: String,
    /// The refunded payment.
    pub payment: PaymentId,
    /// The shop's key for it; `None` if somebody made it at the provider.
    pub key: Option<String>,
    /// Its state.
    pub state: AtProvider,
}

/// Money that the provider has transferred to the shop's bank account, or is about to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payout {
    /// The provider's id.
    pub id: String,
    /// The balance transaction by which it left the provider's balance.
    pub transaction: Option<String>,
    /// Its state.
    pub state: PayoutState,
    /// Negative if the bank account is debited.
    pub amount: Decimal,
    /// The currency.
    pub currency: Currency,
    /// Whether the provider lists its items.
    pub is_itemised: bool,
}

/// The state of a payout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayoutState {
    /// It is in progress.
    Pending,
    /// The bank has the money.
    Paid,
    /// It was cancelled, or the bank refused it.
    Failed {
        /// The balance transaction by which it came back, if it had left.
        returned_by: Option<String>,
    },
}

/// A balance transaction: a change of the provider's balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The provider's id.
    pub id: String,
    /// Its kind.
    pub kind: SettledKind,
    /// Its payment, if it belongs to one.
    pub payment: Option<PaymentId>,
    /// Positive if it goes to the shop.
    pub amount: Decimal,
    /// Positive if the shop pays it.
    pub fee: Decimal,
    /// The currency of both.
    pub currency: Currency,
}

/// The kind of a balance transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettledKind {
    /// A payment was captured.
    Charge,
    /// A payment was refunded.
    Refund,
    /// The provider charged for its services, or paid a charge back.
    Fee,
    /// A payout left, or came back.
    Payout,
    /// A customer's bank took a payment back, or returned it. The dispute posts what it moves.
    Dispute,
    /// Anything else, such as an adjustment.
    Other,
}

impl SettledKind {
    /// The name as the database writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::Refund => "refund",
            Self::Fee => "fee",
            Self::Payout => "payout",
            Self::Dispute => "dispute",
            Self::Other => "other",
        }
    }
}
