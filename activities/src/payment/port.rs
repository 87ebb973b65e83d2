//! The payment provider as the shop deals with it, whoever that is.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::payment::PaymentState;
use domain::{Charge, Money, as_one_line, is_foreign_id};

use crate::ActivityFault;
use crate::fault::Cause;
use crate::party::answer::Unread;

/// Who takes the customers' money.
///
/// A payment is called in two halves. [`open`](Self::open) moves no money; the id that it answers
/// is stored before anything else is asked. Every other request names that id, and its effect
/// depends on the payment's state alone: done twice, it is done once. For how long the provider
/// remembers idempotency keys therefore does not matter.
///
/// Each of these calls is needed. What a provider lacks is made up for by whoever implements this,
/// and never shows as success: one that cannot void an authorisation, for example, captures it and
/// gives the money back.
#[async_trait]
pub trait PaymentProvider: Send + Sync {
    /// What the shop has to allow for with this provider.
    fn capabilities(&self) -> Capabilities;

    /// Opens a payment. No money moves, and none is set aside.
    ///
    /// **Repeats.** The charge's key is its idempotency key. A repeat after the provider has
    /// forgotten it opens another payment, which nobody will ever ask for anything.
    async fn open(&self, charge: &Charge) -> Result<PaymentId, ProviderError>;

    /// Asks the customer's bank to set the money aside. Answered with the payment as it is then:
    /// authorised, declined, or awaiting the customer.
    async fn authorise(&self, payment: &PaymentId) -> Result<Payment, ProviderError>;

    /// Takes money that was set aside: all of it or a part. The rest is let go.
    async fn capture(&self, payment: &PaymentId, amount: Money) -> Result<Payment, ProviderError>;

    /// Lets go of a payment that is not captured, so that it can never be authorised or captured
    /// any more.
    async fn void(&self, payment: &PaymentId) -> Result<Payment, ProviderError>;

    /// Gives back what was taken; `refund_key` makes twice once.
    ///
    /// **Errors.** Unavailable while the provider has not decided about a refund, so that it is
    /// asked for again until it has.
    /// **Repeats.** A refund that was made is not made again. One that has failed leaves the payment
    /// captured, and a repeat asks for it anew: a provider that would answer the same key with the
    /// failed refund is given another key for each.
    async fn refund(
        &self,
        payment: &PaymentId,
        refund_key: &str,
        amount: Money,
    ) -> Result<Payment, ProviderError>;

    /// What really became of a payment: the truth at this moment, never what an index has.
    async fn look_up(&self, payment: &PaymentId) -> Result<Payment, ProviderError>;
}

/// What the shop has to allow for with a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// How long after it was opened a payment may not be found by its id. Until then, that there
    /// is no such payment is no answer; from then on it makes no sense, because the provider gave
    /// out the id.
    pub may_lag: Duration,
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
    /// Why the bank said no, if it did: the provider's word for it.
    pub decline_code: Option<String>,
    /// Until when the money is set aside, if it is and the provider says so.
    pub expires_at: Option<DateTime<Utc>>,
    /// How the customer approves it, if it awaits that.
    pub approval: Option<Approval>,
}

impl Payment {
    /// The payment, with the provider's words as they are stored and shown.
    ///
    /// **Errors.** [`ProviderError::InvalidAnswer`], if nobody can be sent where the customer is to
    /// approve it.
    pub(super) fn checked(self) -> Result<Self, ProviderError> {
        /// Far longer than any link in use.
        const URL_MAX: usize = 4_096;
        /// A code is a word or two.
        const CODE_MAX: usize = 100;
        let is_no_link = |Approval { url, .. }: &Approval| {
            url.is_empty()
                || url.len() > URL_MAX
                || url.chars().any(|letter| !letter.is_ascii_graphic())
        };
        if self.approval.as_ref().is_some_and(is_no_link) {
            return Err(nonsense("a link that is none"));
        }
        let decline_code = self.decline_code.map(|code| as_one_line(&code, CODE_MAX));
        let decline_code = decline_code.filter(|code| !code.is_empty());
        Ok(Self { decline_code, ..self })
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

/// The provider, in words.
pub(super) const PROVIDER: &str = "the payment provider";

impl ProviderError {
    /// The same, of a payment that was opened so long ago: one that is not found is not there yet,
    /// for as long as the provider may lag.
    pub(super) fn at_age(self, age: Duration, Capabilities { may_lag }: Capabilities) -> Self {
        match self {
            Self::NotFound if age < may_lag => {
                Self::Unavailable { retry_after: None, source: Self::NotFound.into() }
            }
            error @ (Self::MovedOn
            | Self::NotFound
            | Self::Unavailable { .. }
            | Self::InvalidAnswer(_)) => error,
        }
    }

    pub(super) fn into_fault(self, doing: &'static str) -> ActivityFault {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_that_is_not_found_is_waited_for_as_long_as_the_provider_may_lag() {
        let seconds = Duration::from_secs;
        let asked = |age| ProviderError::NotFound.at_age(age, Capabilities { may_lag: seconds(5) });
        for age in [seconds(0), seconds(4)] {
            let error = asked(age);
            assert!(
                matches!(error, ProviderError::Unavailable { retry_after: None, .. }),
                "{error:?}"
            );
        }
        for age in [seconds(5), seconds(86_400)] {
            let error = asked(age);
            assert!(matches!(error, ProviderError::NotFound), "{error:?}");
        }
        let never = Capabilities { may_lag: Duration::ZERO };
        let error = ProviderError::NotFound.at_age(Duration::ZERO, never);
        assert!(matches!(error.into_fault("asking"), ActivityFault::InvalidAnswer { .. }));
    }
}
