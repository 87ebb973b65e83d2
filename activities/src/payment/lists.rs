//! What a payment provider lists of itself: its payments, refunds and payouts of a range, and what a
//! payout consists of. The shop compares them with its own records.
//!
//! Every list comes in pages. A page whose answer cannot be read is no page: whoever reads the list
//! asks for it again, from where the page before ended.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::payment::PaymentState;
use domain::refund::AtProvider;
use domain::{Currency, Money, OrderId};
use rust_decimal::Decimal;

use super::port::{PaymentId, ProviderError};

/// A payment provider's lists.
///
/// **Errors.** Those of every call to the provider. What a single item says that cannot be
/// understood is told with the item, where that is possible, so that it does not keep all others
/// from being read.
/// **Repeats.** Nothing changes at the provider.
#[async_trait]
pub trait ProviderLists: Send + Sync {
    /// A page of the payments that were opened within a range; the first one, or the one after.
    async fn list_payments(
        &self,
        range: Range,
        after: Option<&str>,
    ) -> Result<Page<ListedPayment>, ProviderError>;

    /// A page of the refunds that were made within a range.
    async fn list_refunds(
        &self,
        range: Range,
        after: Option<&str>,
    ) -> Result<Page<ListedRefund>, ProviderError>;

    /// A page of the payouts that were made within a range.
    async fn list_payouts(
        &self,
        range: Range,
        after: Option<&str>,
    ) -> Result<Page<Payout>, ProviderError>;

    /// A page of what a payout consists of. Whether the payout itself is among that is the provider's
    /// affair.
    async fn list_settled(
        &self,
        payout: &str,
        after: Option<&str>,
    ) -> Result<Page<Settled>, ProviderError>;

    /// One payment, as the list shows it at this moment.
    async fn find(&self, payment: &PaymentId) -> Result<ListedPayment, ProviderError>;
}

/// From one moment on, and before another. Providers count in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first moment that belongs to it.
    pub from: DateTime<Utc>,
    /// The first moment after it.
    pub to: DateTime<Utc>,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What the page shows.
    pub items: Vec<T>,
    /// What the next page is asked for with; nothing, if this is the last one.
    pub next: Option<String>,
}

/// A payment in the provider's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPayment {
    /// What the provider calls it.
    pub id: PaymentId,
    /// The order that the provider was told of, if it is the id of one.
    pub order_id: Option<OrderId>,
    /// When it was opened.
    pub opened_at: DateTime<Utc>,
    /// What became of it.
    pub standing: Standing,
}

/// What the provider's list says of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is decided. All amounts are in one currency.
    Known {
        /// What became of it.
        state: PaymentState,
        /// What it was opened for.
        amount: Money,
        /// What was taken.
        captured: Money,
        /// What of that was given back, or is on its way.
        refunded: Money,
    },
    /// Nobody knows yet.
    Undecided,
    /// It is in a state or a currency that is not known here.
    Unreadable,
}

/// A refund in the provider's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRefund {
    /// What the provider calls it.
    pub id: String,
    /// The payment that it gives back.
    pub payment: PaymentId,
    /// The shop's key for it; none, if somebody made it at the provider.
    pub key: Option<String>,
    /// What became of it.
    pub state: AtProvider,
}

/// Money that the provider has transferred to the shop's bank account, or is about to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payout {
    /// What the provider calls it.
    pub id: String,
    /// The balance transaction by which it left the provider's balance.
    pub transaction: Option<String>,
    /// What became of it.
    pub state: PayoutState,
    /// Below zero, if the bank account is debited.
    pub amount: Decimal,
    /// The currency.
    pub currency: Currency,
    /// Whether the provider tells what it consists of.
    pub is_itemised: bool,
}

/// What can have become of a payout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayoutState {
    /// It is under way.
    Pending,
    /// The bank has it.
    Paid,
    /// It is called off, or the bank did not take it.
    Failed {
        /// The balance transaction by which it came back, if it had left.
        returned_by: Option<String>,
    },
}

/// A change of the provider's balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// What the provider calls the balance transaction.
    pub id: String,
    /// What it is for.
    pub kind: SettledKind,
    /// The payment that it is for, if it is for one.
    pub payment: Option<PaymentId>,
    /// Above zero, if it is to the shop.
    pub amount: Decimal,
    /// Above zero, if the shop pays it.
    pub fee: Decimal,
    /// The currency of both.
    pub currency: Currency,
}

/// What the provider's balance changed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettledKind {
    /// A payment was taken.
    Charge,
    /// Money was given back.
    Refund,
    /// The provider was paid for its services, or paid that back.
    Fee,
    /// A payout left, or came back.
    Payout,
    /// A customer's bank took a payment back, or returned it. What that moves, the dispute books.
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
