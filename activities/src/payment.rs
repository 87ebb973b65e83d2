//! The customer's money: charging it, and giving it back.
//!
//! # Why a late charge cannot outlive its refund
//!
//! A charge may be under way, its answer lost, while the order is already being unwound. Both
//! sides go by these rules, in this order:
//!
//! - The charge authorises, then looks at its key row, then captures only if there is no
//!   tombstone, then records the capture under the key.
//! - The refund leaves the tombstone and commits it, and only then asks the provider by key what
//!   became of the charge: it voids what is authorised and refunds what is captured.
//!
//! So if the refund's question came before the authorisation, the charge's look at the row comes
//! after the tombstone, and the charge takes itself back. If the question came after it, the
//! refund voids it, and the provider refuses to capture what is voided; or it finds it captured,
//! and refunds. A charge that could still capture between look and question finds the tombstone
//! when it records, and refunds itself. A worker that dies in between leaves at worst an
//! authorisation, which takes no money and lapses by itself; its next attempt voids it.

pub mod sandbox;

use std::time::Duration;

use async_trait::async_trait;
use domain::event::{OrderEvent, PaymentMoved};
use domain::{Charge, Money, PaymentReference, Rejection, StepKey};
use sqlx::PgPool;

use crate::ActivityFault;
use crate::fault::Cause;
use crate::idempotency::{self, Outcome, Recorded};
use crate::orders::{self, Begun};

/// Who takes the customers' money, as far as the shop deals with it.
///
/// **Repeats.** The provider knows a payment by the charge's key: asked twice, it gives the same
/// answer and acts once.
#[async_trait]
pub trait PaymentProvider: Send + Sync {
    /// Asks the customer's bank to set the money aside.
    ///
    /// **Errors.** [`ProviderError::Declined`] when the bank says no.
    async fn authorise(&self, charge: &Charge) -> Result<PaymentReference, ProviderError>;

    /// Takes the money that was set aside.
    ///
    /// **Errors.** [`ProviderError::MovedOn`] when it was voided.
    async fn capture(&self, charge: StepKey) -> Result<(), ProviderError>;

    /// Lets go of money that was set aside and not taken.
    ///
    /// **Errors.** [`ProviderError::MovedOn`] when it was captured.
    async fn void(&self, charge: StepKey) -> Result<(), ProviderError>;

    /// Gives back what was taken; `refund_key` makes twice once.
    async fn refund(
        &self,
        charge: StepKey,
        refund_key: &str,
        amount: Money,
    ) -> Result<(), ProviderError>;

    /// What really became of a charge. None: the provider has never heard of it.
    async fn look_up(&self, charge: StepKey) -> Result<Option<Payment>, ProviderError>;
}

/// A payment in the provider's own records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The provider's name for it.
    pub reference: PaymentReference,
    /// What became of it.
    pub state: PaymentState,
}

/// What can have become of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentState {
    /// The bank said no.
    Declined,
    /// The money is set aside.
    Authorised,
    /// The money is taken.
    Captured,
    /// The money is not set aside any more.
    Voided,
    /// The money was taken and given back.
    Refunded,
}

/// Why the provider has not done as asked.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The customer's bank says no.
    #[error("declined: {decline_code}")]
    Declined {
        /// The provider's word for why.
        decline_code: String,
    },
    /// The payment is not any more in the state that the request is about.
    #[error("the payment has moved on meanwhile")]
    MovedOn,
    /// No answer, or an answer that asks to try again. The request may have been carried out.
    #[error("the payment provider does not answer")]
    Unavailable {
        /// When to try again, if the provider said so.
        retry_after: Option<Duration>,
        /// What happened.
        source: Cause,
    },
    /// An answer that makes no sense.
    #[error("the payment provider's answer makes no sense")]
    Broken(#[source] Cause),
}

impl ProviderError {
    fn into_fault(self, doing: &'static str) -> ActivityFault {
        match self {
            Self::Unavailable { retry_after, source } => {
                ActivityFault::Unavailable { doing, retry_after, source }
            }
            error @ (Self::Declined { .. } | Self::MovedOn | Self::Broken(_)) => {
                ActivityFault::broken(doing, error)
            }
        }
    }
}

/// Takes the customer's money. Undone by [`refund`].
///
/// **Errors.** Rejected as declined, with the provider's reason. Not open if the order is not on
/// record or has ended.
/// **Repeats.** By key, here and at the provider: an answer that was lost is found again, and the
/// money is taken once. What is answered already is not asked of the provider again.
pub async fn charge(
    db: &PgPool,
    provider: &dyn PaymentProvider,
    key: StepKey,
) -> Result<PaymentReference, ActivityFault> {
    let Begun { order, recorded } = orders::begin(db, key).await?;
    let charge = order.charge();
    match recorded {
        Recorded::Open => {}
        Recorded::Answered(outcome) => return outcome.into_answer(),
        Recorded::Undone => return take_back(db, provider, &charge).await,
    }
    let reference = match provider.authorise(&charge).await {
        Ok(reference) => reference,
        Err(ProviderError::Declined { decline_code }) => {
            let rejection = Rejection::CardDeclined { decline_code };
            let recorded =
                idempotency::refuse(db, key, rejection, OrderEvent::PaymentDeclined).await?;
            return idempotency::answer(db, key, recorded).await;
        }
        Err(error) => return Err(error.into_fault("authorising a payment")),
    };
    match idempotency::recall(db, key).await? {
        Recorded::Open => {}
        Recorded::Answered(outcome) => return outcome.into_answer(),
        Recorded::Undone => return take_back(db, provider, &charge).await,
    }
    match provider.capture(key).await {
        Ok(()) => {}
        Err(ProviderError::MovedOn) => return idempotency::answer(db, key, None).await,
        Err(error) => return Err(error.into_fault("capturing a payment")),
    }
    if let Some(outcome) = record_capture(db, &charge, &reference).await? {
        return idempotency::answer(db, key, Some(outcome)).await;
    }
    match idempotency::recall(db, key).await? {
        Recorded::Undone => take_back(db, provider, &charge).await,
        recorded @ (Recorded::Open | Recorded::Answered(_)) => recorded.into_answer(key),
    }
}

/// A charge that finds itself undone leaves the customer's money as the undo would have.
async fn take_back(
    db: &PgPool,
    provider: &dyn PaymentProvider,
    charge: &Charge,
) -> Result<PaymentReference, ActivityFault> {
    settle(db, provider, charge).await?;
    Err(idempotency::already_undone(charge.key))
}

fn moved(charge: &Charge, reference: &PaymentReference) -> PaymentMoved {
    let provider_reference = reference.provider_reference.clone();
    PaymentMoved { amount: charge.amount, provider_reference }
}

async fn record_capture(
    db: &PgPool,
    charge: &Charge,
    reference: &PaymentReference,
) -> Result<Option<serde_json::Value>, ActivityFault> {
    let Charge { key, amount, .. } = charge;
    let event = OrderEvent::PaymentCaptured(moved(charge, reference));
    sqlx::query_scalar!(
        r#"
        with taken as materialized (
            select orders.take_step($1, $2, $3, $4) as outcome
        ), charged as (
            insert into payments.charges
                (charge_key, order_id, provider_reference, currency, amount, captured)
            select $5, $1, $6, $7, $8, $8 from taken where outcome is not null
        )
        select outcome as "outcome!"
        from taken cross join lateral orders.record($1, $9, $10)
        where outcome is not null
        "#,
        key.order_id.uuid(),
        key.step.name(),
        idempotency::version(*key)?,
        Outcome::Done(reference).into_json(),
        key.to_string(),
        reference.provider_reference,
        amount.currency().code(),
        amount.amount(),
        event.event_type().name(),
        idempotency::data(&event)?,
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database("recording a payment", error))
}

/// Asks the provider what became of the charge, and gives the money back if it was taken.
///
/// **Repeats.** The provider voids and refunds once by key, and the shop's record of it is
/// written once. Without a charge the tombstone alone is left, and one that comes late is
/// refused.
pub async fn refund(
    db: &PgPool,
    provider: &dyn PaymentProvider,
    key: StepKey,
) -> Result<(), ActivityFault> {
    let charge = orders::on_record(db, key).await?.charge();
    settle(db, provider, &charge).await
}

async fn settle(
    db: &PgPool,
    provider: &dyn PaymentProvider,
    charge: &Charge,
) -> Result<(), ActivityFault> {
    const LOOKING: &str = "asking what became of a payment";
    idempotency::leave_tombstone(db, charge.key).await?;
    let found = provider.look_up(charge.key).await.map_err(|error| error.into_fault(LOOKING))?;
    let Some(Payment { reference, state }) = found else { return Ok(()) };
    match state {
        PaymentState::Declined => Ok(()),
        PaymentState::Voided => record_void(db, charge, &reference).await,
        PaymentState::Authorised => match provider.void(charge.key).await {
            Ok(()) => record_void(db, charge, &reference).await,
            // A charge that had looked before the tombstone has captured it at this moment.
            Err(ProviderError::MovedOn) => give_back(db, provider, charge, &reference).await,
            Err(error) => Err(error.into_fault("voiding a payment")),
        },
        // Asking again for a refund that was made repeats nothing but its answer.
        PaymentState::Captured | PaymentState::Refunded => {
            give_back(db, provider, charge, &reference).await
        }
    }
}

async fn give_back(
    db: &PgPool,
    provider: &dyn PaymentProvider,
    charge: &Charge,
    reference: &PaymentReference,
) -> Result<(), ActivityFault> {
    let refund_key = format!("{}:refund", charge.key);
    let refunded = provider.refund(charge.key, &refund_key, charge.amount).await;
    refunded.map_err(|error| error.into_fault("refunding a payment"))?;
    record_refund(db, charge, reference, &refund_key).await
}

/// The charge is recorded with its refund if its own answer was lost: what the provider took
/// and gave back, the shop's books of payments show.
async fn record_refund(
    db: &PgPool,
    charge: &Charge,
    reference: &PaymentReference,
    refund_key: &str,
) -> Result<(), ActivityFault> {
    sqlx::query!(
        r#"
        with charge as (
            insert into payments.charges as known
                (charge_key, order_id, provider_reference, currency, amount, captured, refunded)
            values ($1, $2, $3, $4, $5, $5, $5)
            on conflict (charge_key) do update set refunded = excluded.refunded
            where known.refunded = 0
            returning charge_key
        ), refund as (
            insert into payments.refunds
                (refund_key, charge_key, provider_reference, currency, amount)
            select $6, charge_key, $3, $4, $5 from charge
            returning refund_key
        )
        select number
        from refund cross join lateral orders.record($2, 'payment.refunded', $7) as number
        "#,
        charge.key.to_string(),
        charge.key.order_id.uuid(),
        reference.provider_reference,
        charge.amount.currency().code(),
        charge.amount.amount(),
        refund_key,
        idempotency::data(&OrderEvent::PaymentRefunded(moved(charge, reference)))?,
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database("recording a refund", error))?;
    Ok(())
}

async fn record_void(
    db: &PgPool,
    charge: &Charge,
    reference: &PaymentReference,
) -> Result<(), ActivityFault> {
    sqlx::query!(
        r#"
        with charge as (
            insert into payments.charges
                (charge_key, order_id, provider_reference, currency, amount, captured)
            values ($1, $2, $3, $4, $5, 0)
            on conflict (charge_key) do nothing
            returning charge_key
        )
        select number
        from charge cross join lateral orders.record($2, 'payment.voided', $6) as number
        "#,
        charge.key.to_string(),
        charge.key.order_id.uuid(),
        reference.provider_reference,
        charge.amount.currency().code(),
        charge.amount.amount(),
        idempotency::data(&OrderEvent::PaymentVoided(moved(charge, reference)))?,
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database("recording a void", error))?;
    Ok(())
}
