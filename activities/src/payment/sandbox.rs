//! A payment provider to try things with. It keeps its own records, on its own connections, and
//! reads nothing of the shop's. What a card does is told by its token:
//!
//! | token | what happens |
//! |---|---|
//! | `tok_visa`, and any other | paid |
//! | `tok_declined` | declined: `insufficient_funds` |
//! | `tok_expired_card` | declined: `expired_card` |
//! | `tok_slow`, `tok_slow_<ms>` | paid, but every answer takes 2 s, or so many milliseconds |
//! | `tok_unavailable_<n>` | the first n authorisations of a key are answered 503, `Retry-After: 1` |
//! | `tok_charge_lost` | the money is taken, and the answer to the first capture is lost |
//! | `tok_answer_twice` | authorisation and capture reach the provider twice |
//! | `tok_refund_unavailable_<n>` | paid; the first n refunds are answered 503, `Retry-After: 1` |
//! | `tok_refund_broken` | paid; refunds are answered with nonsense until the payment's key is entered into `sandbox_provider.repairs` |
//!
//! Beyond that a share of all cards may be declined, as in the world outside: which ones is
//! decided by their keys, so a repeat is declined again.

use std::time::Duration;

use async_trait::async_trait;
use domain::{Charge, Money, PaymentReference, StepKey};
use sha2::{Digest, Sha256};
use sqlx::PgPool;

use super::{Payment, PaymentProvider, PaymentState, ProviderError};

/// The sandbox's payment provider.
pub struct SandboxProvider {
    db: PgPool,
    decline_percent: u8,
}

/// A payment as the sandbox keeps it.
struct Record {
    payment_id: i64,
    token: String,
    state: String,
    is_refunded: bool,
}

impl SandboxProvider {
    /// Opens for business.
    ///
    /// **Shape.** `db` holds the schema `sandbox_provider` and should be the provider's own
    /// pool. Of all cards that would pay, `decline_percent` in a hundred are declined.
    #[must_use]
    pub const fn new(db: PgPool, decline_percent: u8) -> Self {
        Self { db, decline_percent }
    }

    async fn authorise_once(&self, charge: &Charge) -> Result<PaymentReference, ProviderError> {
        let payment = sqlx::query!(
            r#"
            insert into sandbox_provider.payments as known (
                idempotency_key, merchant_reference, amount, currency, token, state, decline_code
            )
            values (
                $1, $2, $3, $4, $5,
                case when $6::text is null then 'authorised' else 'declined' end, $6
            )
            -- Changes nothing, but answers with the payment, also one made at this moment.
            on conflict (idempotency_key) do update set token = known.token
            returning payment_id, decline_code
            "#,
            charge.key.to_string(),
            charge.key.order_id.to_string(),
            charge.amount.amount(),
            charge.amount.currency().code(),
            charge.payment_token.as_str(),
            self.decline_code(charge),
        )
        .fetch_one(&self.db)
        .await
        .map_err(no_answer)?;
        match payment.decline_code {
            Some(decline_code) => Err(ProviderError::Declined { decline_code }),
            None => Ok(reference(payment.payment_id)),
        }
    }

    fn decline_code(&self, charge: &Charge) -> Option<&'static str> {
        match charge.payment_token.as_str() {
            "tok_declined" => Some("insufficient_funds"),
            "tok_expired_card" => Some("expired_card"),
            _ if is_unlucky(charge.key, self.decline_percent) => Some("insufficient_funds"),
            _ => None,
        }
    }

    /// Takes the money, and says from which card and whether this call did.
    async fn capture_once(&self, charge: StepKey) -> Result<(String, bool), ProviderError> {
        let captured = sqlx::query_scalar!(
            r#"
            update sandbox_provider.payments set state = 'captured'
            where idempotency_key = $1 and state = 'authorised'
            returning token
            "#,
            charge.to_string(),
        )
        .fetch_optional(&self.db)
        .await
        .map_err(no_answer)?;
        if let Some(token) = captured {
            return Ok((token, true));
        }
        let known = self.payment(charge).await?;
        match known.state()? {
            PaymentState::Captured | PaymentState::Refunded => Ok((known.token, false)),
            PaymentState::Voided => Err(ProviderError::MovedOn),
            PaymentState::Authorised | PaymentState::Declined => {
                Err(nonsense("there is nothing to capture"))
            }
        }
    }

    async fn record_of(&self, charge: StepKey) -> Result<Option<Record>, ProviderError> {
        sqlx::query_as!(
            Record,
            r#"
            select
                payment_id, token, state,
                exists (
                    select from sandbox_provider.refunds
                    where refunds.payment_id = payments.payment_id
                ) as "is_refunded!"
            from sandbox_provider.payments
            where idempotency_key = $1
            "#,
            charge.to_string(),
        )
        .fetch_optional(&self.db)
        .await
        .map_err(no_answer)
    }

    async fn payment(&self, charge: StepKey) -> Result<Record, ProviderError> {
        self.record_of(charge).await?.ok_or_else(|| nonsense("there is no such payment"))
    }

    /// Pretends to be out of order for the first calls that concern a key.
    async fn out_of_order(&self, key: &str, calls: Option<i32>) -> Result<(), ProviderError> {
        let Some(calls) = calls else { return Ok(()) };
        let call = sqlx::query_scalar!(
            r#"
            insert into sandbox_provider.outages as known (idempotency_key, calls) values ($1, 1)
            on conflict (idempotency_key) do update set calls = known.calls + 1
            returning calls
            "#,
            key,
        )
        .fetch_one(&self.db)
        .await
        .map_err(no_answer)?;
        if call <= calls {
            let retry_after = Some(Duration::from_secs(1));
            let source = "503 Service Unavailable, Retry-After: 1".into();
            return Err(ProviderError::Unavailable { retry_after, source });
        }
        Ok(())
    }

    async fn is_repaired(&self, charge: StepKey) -> Result<bool, ProviderError> {
        sqlx::query_scalar!(
            r#"
            select exists (
                select from sandbox_provider.repairs where idempotency_key = $1
            ) as "is_repaired!"
            "#,
            charge.to_string(),
        )
        .fetch_one(&self.db)
        .await
        .map_err(no_answer)
    }
}

#[async_trait]
impl PaymentProvider for SandboxProvider {
    async fn authorise(&self, charge: &Charge) -> Result<PaymentReference, ProviderError> {
        let token = charge.payment_token.as_str();
        let outage = number_after(token, "tok_unavailable_");
        self.out_of_order(&charge.key.to_string(), outage).await?;
        let reference = self.authorise_once(charge).await?;
        if token == "tok_answer_twice" && self.authorise_once(charge).await? != reference {
            return Err(nonsense("one authorisation became two"));
        }
        take_time(token).await;
        Ok(reference)
    }

    async fn capture(&self, charge: StepKey) -> Result<(), ProviderError> {
        let (token, is_first) = self.capture_once(charge).await?;
        if token == "tok_charge_lost" && is_first {
            let source = "the connection was reset after the request was sent".into();
            return Err(ProviderError::Unavailable { retry_after: None, source });
        }
        if token == "tok_answer_twice" && self.capture_once(charge).await?.1 {
            return Err(nonsense("one capture became two"));
        }
        take_time(&token).await;
        Ok(())
    }

    async fn void(&self, charge: StepKey) -> Result<(), ProviderError> {
        let voided = sqlx::query!(
            r#"
            update sandbox_provider.payments set state = 'voided'
            where idempotency_key = $1 and state = 'authorised'
            "#,
            charge.to_string(),
        )
        .execute(&self.db)
        .await
        .map_err(no_answer)?;
        if voided.rows_affected() > 0 {
            return Ok(());
        }
        match self.payment(charge).await?.state()? {
            PaymentState::Voided => Ok(()),
            PaymentState::Captured | PaymentState::Refunded => Err(ProviderError::MovedOn),
            PaymentState::Authorised | PaymentState::Declined => {
                Err(nonsense("there is nothing to void"))
            }
        }
    }

    async fn refund(
        &self,
        charge: StepKey,
        refund_key: &str,
        amount: Money,
    ) -> Result<(), ProviderError> {
        let known = self.payment(charge).await?;
        let outage = number_after(&known.token, "tok_refund_unavailable_");
        self.out_of_order(refund_key, outage).await?;
        if known.token == "tok_refund_broken" && !self.is_repaired(charge).await? {
            return Err(nonsense("<html>It works!</html>"));
        }
        match known.state()? {
            PaymentState::Captured | PaymentState::Refunded => {}
            PaymentState::Voided => return Err(ProviderError::MovedOn),
            PaymentState::Authorised | PaymentState::Declined => {
                return Err(nonsense("there is nothing to refund"));
            }
        }
        sqlx::query!(
            r#"
            insert into sandbox_provider.refunds (idempotency_key, payment_id, amount)
            values ($1, $2, $3)
            on conflict (idempotency_key) do nothing
            "#,
            refund_key,
            known.payment_id,
            amount.amount(),
        )
        .execute(&self.db)
        .await
        .map_err(no_answer)?;
        Ok(())
    }

    async fn look_up(&self, charge: StepKey) -> Result<Option<Payment>, ProviderError> {
        let Some(record) = self.record_of(charge).await? else { return Ok(None) };
        let state = record.state()?;
        Ok(Some(Payment { reference: reference(record.payment_id), state }))
    }
}

impl Record {
    fn state(&self) -> Result<PaymentState, ProviderError> {
        Ok(match self.state.as_str() {
            "declined" => PaymentState::Declined,
            "authorised" => PaymentState::Authorised,
            "captured" if self.is_refunded => PaymentState::Refunded,
            "captured" => PaymentState::Captured,
            "voided" => PaymentState::Voided,
            _ => return Err(nonsense("a payment in no known state")),
        })
    }
}

fn reference(payment_id: i64) -> PaymentReference {
    PaymentReference { provider_reference: format!("sandbox-payment-{payment_id}") }
}

async fn take_time(token: &str) {
    let millis = match token {
        "tok_slow" => Some(2_000),
        _ => number_after(token, "tok_slow_"),
    };
    if let Some(millis) = millis {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
}

fn number_after<N: std::str::FromStr>(token: &str, prefix: &str) -> Option<N> {
    token.strip_prefix(prefix)?.parse().ok()
}

/// The key's hash decides, so that the same card is as unlucky the second time.
fn is_unlucky(key: StepKey, percent: u8) -> bool {
    let digest = Sha256::digest(key.to_string());
    let drawn = digest.iter().take(4).fold(0_u32, |drawn, byte| (drawn << 8) | u32::from(*byte));
    drawn % 100 < u32::from(percent)
}

fn no_answer(error: sqlx::Error) -> ProviderError {
    ProviderError::Unavailable { retry_after: None, source: error.into() }
}

fn nonsense(answer: &'static str) -> ProviderError {
    ProviderError::Broken(answer.into())
}
