//! The port to the payment provider.

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

/// A payment provider.
///
/// A payment is created in two phases. [`open`](Self::open) moves no money; the id that it returns
/// is stored before anything else is requested. Every other request names that id, and its effect
/// depends on the payment's state alone, so it is idempotent, however long the provider remembers
/// idempotency keys.
///
/// All of these calls are required. An implementation compensates for what its provider lacks,
/// names it in [`Capabilities::cannot`], and never reports it as success: if the provider cannot
/// void an authorisation, for example, it captures the payment and refunds it.
#[async_trait]
pub trait PaymentProvider: Send + Sync {
    /// Properties of this provider that the shop has to allow for.
    fn capabilities(&self) -> Capabilities;

    /// Opens a payment. Moves and authorises no money.
    ///
    /// **Repeats.** The charge's key is its idempotency key. A repeat after the provider has
    /// forgotten it opens another payment, which is never authorised.
    async fn open(&self, charge: &Charge) -> Result<PaymentId, ProviderError>;

    /// Asks the customer's bank to authorise the payment. Returns its state then: authorised,
    /// declined, or awaiting the customer.
    async fn authorise(&self, payment: &PaymentId) -> Result<Payment, ProviderError>;

    /// Captures an authorised payment: all of it or a part. The rest is released.
    async fn capture(&self, payment: &PaymentId, amount: Money) -> Result<Payment, ProviderError>;

    /// Voids a payment that is not captured, so that it can never be authorised or captured.
    async fn void(&self, payment: &PaymentId) -> Result<Payment, ProviderError>;

    /// Refunds a captured payment, all of it or a part, once per `refund_key`. A payment may have
    /// several refunds, each under its own key; it stays captured until all of it is refunded.
    ///
    /// **Errors.** Unavailable while this refund is pending, so that it is requested again until it
    /// is decided. Moved on if it is more than is left of the payment.
    /// **Repeats.** A successful refund is not made again. A failed one leaves the payment
    /// captured, and a repeat requests another: if the provider would return the failed refund for
    /// the same key, the implementation uses another key for each.
    async fn refund(
        &self,
        payment: &PaymentId,
        refund_key: &str,
        amount: Money,
    ) -> Result<Payment, ProviderError>;

    /// The payment's current state, read consistently and never from a search index.
    async fn look_up(&self, payment: &PaymentId) -> Result<Payment, ProviderError>;

    /// The current state of the newest refund under this key, which may have failed; `None` if
    /// there is none. It is found for as long as the payment is, even after the provider has
    /// forgotten the idempotency key.
    async fn look_up_refund(
        &self,
        payment: &PaymentId,
        refund_key: &str,
    ) -> Result<Option<Refund>, ProviderError>;

    /// The provider's lists, which are compared with the shop's records.
    fn lists(&self) -> &dyn ProviderLists;

    /// The current state of a dispute, by the provider's id.
    ///
    /// **Errors.** Not found, if the provider has no disputes.
    async fn retrieve_dispute(&self, _dispute_id: &str) -> Result<DisputeFacts, ProviderError> {
        Err(ProviderError::NotFound)
    }
}

/// A provider that sends events by webhooks, and also lists them.
///
/// An event says that an object has changed. The object's state is then looked up.
#[async_trait]
pub trait EventSource: PaymentProvider {
    /// The provider's name.
    fn name(&self) -> ProviderName;

    /// A refund by the provider's id, whoever has made it.
    ///
    /// **Errors.** Not found.
    async fn find_refund(&self, reference: &str) -> Result<FoundRefund, ProviderError>;

    /// The events of handled types since a moment, the newest first, in pages.
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
    /// The cursor of the next page, with older events, if there is one.
    pub next: Option<String>,
}

/// A refund, with its payment and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRefund {
    /// The refunded payment, if it is of this shop's kind.
    pub payment: Option<PaymentId>,
    /// The key under which the shop requested it; `None` if somebody made it at the provider.
    pub key: Option<String>,
    /// The refund itself.
    pub refund: Refund,
}

/// The provider's id of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentId(pub String);

impl PaymentId {
    /// Returns the id, if it can be stored and sent back unchanged.
    ///
    /// **Errors.** [`ProviderError::InvalidAnswer`].
    pub(super) fn checked(self) -> Result<Self, ProviderError> {
        if is_foreign_id(&self.0) { Ok(self) } else { Err(nonsense("an id that cannot be stored")) }
    }
}

/// A payment in the provider's own records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Its state.
    pub state: PaymentState,
    /// The captured amount.
    pub captured: Money,
    /// The part of it that was refunded, or is being refunded, at whoever's request.
    pub refunded: Money,
    /// The provider's decline code, if the bank declined.
    pub decline_code: Option<String>,
    /// When the authorisation expires, if the provider says so.
    pub expires_at: Option<DateTime<Utc>>,
    /// How the customer approves it, if it awaits approval.
    pub approval: Option<Approval>,
    /// The provider's risk level, if it gives one. A payment held for review by the provider is at
    /// least [`RiskLevel::Elevated`]; a blocked one is declined.
    pub risk: Option<RiskLevel>,
    /// The country of the payment method, if the provider says so.
    pub method_country: Option<CountryCode>,
}

impl Payment {
    /// Cleans the provider's texts, so that they can be stored and shown.
    ///
    /// **Errors.** [`ProviderError::InvalidAnswer`], if the link for the customer's approval is not
    /// valid.
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
    /// The provider's id. A refund requested again after a failure has another one.
    pub reference: String,
    /// Its state.
    pub state: AtProvider,
    /// Its amount.
    pub amount: Money,
    /// The provider's reason, if it failed.
    pub failure: Option<String>,
}

impl Refund {
    /// Cleans the provider's texts, so that they can be stored and shown.
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

/// How the customer approves a payment, if their bank requires that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The link for the customer. Whoever has it may approve the payment, so it is given to nobody
    /// else.
    pub url: String,
    /// The deadline, if the provider sets one.
    pub until: Option<DateTime<Utc>>,
}

/// Why the provider has not done what was requested.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The payment's state does not allow the request: look it up.
    #[error("the payment has moved on meanwhile")]
    MovedOn,
    /// There is no payment with this id; or the provider's index does not have it yet.
    #[error("the payment provider knows no such payment")]
    NotFound,
    /// No answer, or an answer that asks to retry. The request may have been executed.
    #[error("the payment provider does not answer")]
    Unavailable {
        /// When to retry, if the provider says so.
        retry_after: Option<Duration>,
        /// What happened.
        source: Cause,
    },
    /// An invalid answer, such as a proxy's page. The request may have been executed. The provider
    /// is asked again for a while; then it counts as broken. A status that means an unreachable
    /// server (502, 503, 504) is no answer, whatever its body.
    #[error("the payment provider's answer makes no sense")]
    InvalidAnswer(#[source] Cause),
}

/// A provider's code is one or two words.
const WORD_MAX: usize = 100;

/// The provider, in words.
pub(crate) const PROVIDER: &str = "the payment provider";

impl ProviderError {
    pub(crate) fn into_fault(self, doing: &'static str) -> ActivityFault {
        match self {
            Self::Unavailable { retry_after, source } => {
                ActivityFault::Unavailable { doing, retry_after, source }
            }
            // A caller looks up a payment that has moved on, where possible; elsewhere this error
            // does not answer the request.
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
