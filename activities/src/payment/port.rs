//! The payment provider as the shop deals with it, whoever that is.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::dispute::DisputeFacts;
use domain::payment::PaymentState;
use domain::refund::AtProvider;
use domain::screening::RiskLevel;
use domain::{Charge, CountryCode, Money, ProviderEvent, ProviderName, as_one_line, is_foreign_id};

use super::lists::ProviderLists;
use crate::ActivityFault;
use crate::fault::Cause;
pub use crate::party::Capabilities;
use crate::party::answer::Unread;

/// The party that takes the customers' money.
///
/// A payment is called in two halves. [`open`](Self::open) moves no money; the id that it answers
/// is stored before anything else is asked. Every other request names that id, and its effect
/// depends on the payment's state alone: done twice, it is done once. For how long the provider
/// remembers idempotency keys therefore does not matter.
///
/// All of these calls are required. An implementation makes up for what its provider lacks, names
/// it in [`Capabilities::cannot`], and never reports it as success: where the provider cannot void
/// an authorisation, for example, it captures the payment and refunds it.
#[async_trait]
pub trait PaymentProvider: Send + Sync {
    /// What the shop has to allow for with this provider.
    fn capabilities(&self) -> Capabilities;

    /// Opens a payment. No money moves, and none is set aside.
    ///
    /// **Repeats.** The charge's key is its idempotency key. A repeat after the provider has
    /// forgotten it opens another payment, which is never authorised.
    async fn open(&self, charge: &Charge) -> Result<PaymentId, ProviderError>;

    /// Asks the customer's bank to set the money aside. Answered with the payment as it is then:
    /// authorised, declined, or awaiting the customer.
    async fn authorise(&self, payment: &PaymentId) -> Result<Payment, ProviderError>;

    /// Takes money that was set aside: all of it or a part. The rest is released.
    async fn capture(&self, payment: &PaymentId, amount: Money) -> Result<Payment, ProviderError>;

    /// Voids a payment that is not captured, so that it can never be authorised or captured any
    /// more.
    async fn void(&self, payment: &PaymentId) -> Result<Payment, ProviderError>;

    /// Gives back what was taken, all of it or a part, once for each `refund_key`. A payment may have
    /// several refunds, each under a key of its own; it stays captured until all of it is given back.
    ///
    /// **Errors.** Unavailable while this refund is pending, so that it is requested again until it
    /// is decided. Moved on if it is more than is left of the payment.
    /// **Repeats.** A refund that was made is not made again. One that has failed leaves the
    /// payment captured, and a repeat requests it anew: where the provider would answer the same
    /// key with the failed refund, the implementation uses another key for each.
    async fn refund(
        &self,
        payment: &PaymentId,
        refund_key: &str,
        amount: Money,
    ) -> Result<Payment, ProviderError>;

    /// The payment as it is at this moment, read consistently and never from a search index.
    async fn look_up(&self, payment: &PaymentId) -> Result<Payment, ProviderError>;

    /// What really became of the newest refund under this key, which may have failed before;
    /// nothing, if there is none. It is found for as long as the payment is, also when the provider
    /// does not know the key as an idempotency key any more.
    async fn look_up_refund(
        &self,
        payment: &PaymentId,
        refund_key: &str,
    ) -> Result<Option<Refund>, ProviderError>;

    /// What the provider lists of itself, which is compared with the shop's records.
    fn lists(&self) -> &dyn ProviderLists;

    /// A dispute as it is at this moment, by the provider's own id for it.
    ///
    /// **Errors.** Not found, with a provider that has no disputes.
    async fn retrieve_dispute(&self, _dispute_id: &str) -> Result<DisputeFacts, ProviderError> {
        Err(ProviderError::NotFound)
    }
}

/// A provider that tells by itself what happens there, by webhooks, and lists what it has told.
///
/// What it tells is that an object has changed. What has become of the object is asked for.
#[async_trait]
pub trait EventSource: PaymentProvider {
    /// Which provider it is.
    fn name(&self) -> ProviderName;

    /// A refund by the provider's own name for it, whoever has made it.
    ///
    /// **Errors.** Not found.
    async fn find_refund(&self, reference: &str) -> Result<FoundRefund, ProviderError>;

    /// The events since a moment that the shop does something about, the newest first, in pages.
    async fn events(
        &self,
        since: DateTime<Utc>,
        page: Option<&str>,
    ) -> Result<EventPage, ProviderError>;
}

/// A page of events, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// The events.
    pub events: Vec<ProviderEvent>,
    /// What names the next page, of older ones, if there is one.
    pub next: Option<String>,
}

/// A refund, and what it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRefund {
    /// The payment that it gives back, if it is one of this shop's kind.
    pub payment: Option<PaymentId>,
    /// The key under which the shop has asked for it; none, if somebody made it at the provider.
    pub key: Option<String>,
    /// The refund itself.
    pub refund: Refund,
}

/// What the provider calls a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentId(pub String);

impl PaymentId {
    /// The id, if it can be stored and sent back as it is.
    ///
    /// **Errors.** [`ProviderError::InvalidAnswer`].
    pub(super) fn checked(self) -> Result<Self, ProviderError> {
        if is_foreign_id(&self.0) { Ok(self) } else { Err(nonsense("an id that cannot be stored")) }
    }
}

/// A payment in the provider's own records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// What became of it.
    pub state: PaymentState,
    /// How much was taken.
    pub captured: Money,
    /// How much of that was given back, or is on its way, whoever has asked for it.
    pub refunded: Money,
    /// Why the bank said no, if it did: the provider's word for it.
    pub decline_code: Option<String>,
    /// Until when the money is set aside, if it is and the provider says so.
    pub expires_at: Option<DateTime<Utc>>,
    /// How the customer approves it, if it awaits that.
    pub approval: Option<Approval>,
    /// How risky the provider takes it to be, if it says so. A payment that it has stopped for one of
    /// its own people to look at is [`RiskLevel::Elevated`] at least; one that it does not let through
    /// is declined.
    pub risk: Option<RiskLevel>,
    /// Where the payment method is from, if the provider says so.
    pub method_country: Option<CountryCode>,
}

impl Payment {
    /// The payment, with the provider's words as they are stored and shown.
    ///
    /// **Errors.** [`ProviderError::InvalidAnswer`], if nobody can be sent where the customer is to
    /// approve it.
    pub(super) fn checked(self) -> Result<Self, ProviderError> {
        /// Far longer than any link in use.
        const URL_MAX: usize = 4_096;
        let is_no_link = |Approval { url, .. }: &Approval| {
            url.is_empty()
                || url.len() > URL_MAX
                || url.chars().any(|letter| !letter.is_ascii_graphic())
        };
        if self.approval.as_ref().is_some_and(is_no_link) {
            return Err(nonsense("a link that is none"));
        }
        let decline_code = self.decline_code.map(|code| as_one_line(&code, WORD_MAX));
        let decline_code = decline_code.filter(|code| !code.is_empty());
        Ok(Self { decline_code, ..self })
    }
}

/// A refund in the provider's own records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// What the provider calls it. A refund that is asked for anew, because the one before has
    /// failed, is called otherwise.
    pub reference: String,
    /// What became of it.
    pub state: AtProvider,
    /// How much it gives back.
    pub amount: Money,
    /// Why it failed, if it did: the provider's word for it.
    pub failure: Option<String>,
}

impl Refund {
    /// The refund, with the provider's words as they are stored and shown.
    ///
    /// **Errors.** [`ProviderError::InvalidAnswer`], if its id cannot be stored.
    pub(crate) fn checked(self) -> Result<Self, ProviderError> {
        if !is_foreign_id(&self.reference) {
            return Err(nonsense("a refund's id that cannot be stored"));
        }
        let failure = self.failure.map(|why| as_one_line(&why, WORD_MAX));
        Ok(Self { failure: failure.filter(|why| !why.is_empty()), ..self })
    }
}

/// How the customer approves a payment, as their bank asks of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Where the customer is sent. Whoever has the link may approve the payment, so it goes to the
    /// customer and nowhere else.
    pub url: String,
    /// Until when, if the provider says so.
    pub until: Option<DateTime<Utc>>,
}

/// Why the provider has not done as asked.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The payment is not in a state that the request is about: look it up.
    #[error("the payment has moved on meanwhile")]
    MovedOn,
    /// There is no payment with this id; or the provider's index does not have it yet.
    #[error("the payment provider knows no such payment")]
    NotFound,
    /// No answer, or an answer that asks to try again. The request may have been carried out.
    #[error("the payment provider does not answer")]
    Unavailable {
        /// When to try again, if the provider said so.
        retry_after: Option<Duration>,
        /// What happened.
        source: Cause,
    },
    /// An answer that makes no sense, as when a proxy answers in the provider's place. The request
    /// may have been carried out. The provider is asked again for a while, and then it is broken.
    /// A status that says that nobody is there (502, 503, 504) is no answer, whatever comes with
    /// it.
    #[error("the payment provider's answer makes no sense")]
    InvalidAnswer(#[source] Cause),
}

/// What a provider has a word for is told in a word or two.
const WORD_MAX: usize = 100;

/// The provider, in words.
pub(crate) const PROVIDER: &str = "the payment provider";

impl ProviderError {
    pub(crate) fn into_fault(self, doing: &'static str) -> ActivityFault {
        match self {
            Self::Unavailable { retry_after, source } => {
                ActivityFault::Unavailable { doing, retry_after, source }
            }
            // What has moved on is looked up, where that is possible; elsewhere it is no answer to
            // what was asked.
            error @ (Self::MovedOn | Self::NotFound | Self::InvalidAnswer(_)) => {
                ActivityFault::InvalidAnswer { party: PROVIDER, doing, source: error.into() }
            }
        }
    }
}

fn nonsense(answer: &'static str) -> ProviderError {
    ProviderError::InvalidAnswer(answer.into())
}

impl From<Unread> for ProviderError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Unavailable { retry_after, .. } => {
                Self::Unavailable { retry_after, source: unread.into() }
            }
            Unread::Nonsense(nonsense) => Self::InvalidAnswer(nonsense.into()),
        }
    }
}
