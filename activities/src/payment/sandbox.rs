//! A payment provider to try things with. It keeps its own records, on its own connections, and
//! reads nothing of the shop's. What a card does is told by its token:
//!
//! | token | what happens |
//! |---|---|
//! | `tok_visa`, and any other | paid |
//! | `tok_declined` | declined: `insufficient_funds` |
//! | `tok_expired_card` | declined: `expired_card` |
//! | `tok_slow`, `tok_slow_<ms>` | paid, but the bank takes 2 s, or so many milliseconds, to authorise and to capture |
//! | `tok_unavailable_<n>` | the first n authorisations of a payment are answered 503, `Retry-After: 1` |
//! | `tok_charge_lost` | the money is taken, and the answer to the first capture is lost |
//! | `tok_answer_twice` | authorisation and capture reach the provider twice |
//! | `tok_expires_<s>` | an authorisation lasts for so many seconds; the next one of the order for a week |
//! | `tok_needs_customer`, `tok_needs_customer_<s>` | awaits the customer, whom `sandbox_provider.answer_as_customer` plays; for so many seconds at most |
//! | `tok_forgetful` | idempotency keys are forgotten at once |
//! | `tok_lags_<n>` | the first n questions about a payment are answered 404 |
//! | `tok_refund_unavailable_<n>` | paid; the first n refunds are answered 503, `Retry-After: 1` |
//! | `tok_refund_broken` | paid; refunds are answered with nonsense until the payment's key is entered into `sandbox_provider.repairs` |
//!
//! Beyond that a share of all cards may be declined, as in the world outside: which ones is
//! decided by their keys, so a repeat is declined again.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::payment::PaymentState;
use domain::{Charge, Currency, Money};
use rust_decimal::Decimal;
use sha2::{Digest, Sha256};
use sqlx::PgPool;

use super::port::{Approval, Capabilities, Payment, PaymentId, PaymentProvider, ProviderError};

/// How long an authorisation lasts, as with most cards.
const A_WEEK: i32 = 7 * 24 * 60 * 60;

/// The sandbox's payment provider.
pub struct SandboxProvider {
    db: PgPool,
    decline_percent: u8,
}

/// A payment as the sandbox keeps it.
struct Record {
    payment_id: i64,
    idempotency_key: String,
    token: String,
    state: String,
    decline_code: Option<String>,
    currency: String,
    captured: Decimal,
    expires_at: Option<DateTime<Utc>>,
    approvable_until: Option<DateTime<Utc>>,
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

    fn decline_code(&self, record: &Record) -> Option<&'static str> {
        match record.token.as_str() {
            "tok_declined" => Some("insufficient_funds"),
            "tok_expired_card" => Some("expired_card"),
            _ if is_unlucky(&record.idempotency_key, self.decline_percent) => {
                Some("insufficient_funds")
            }
            _ => None,
        }
    }

    /// Asks the bank. None: the payment is past that.
    async fn authorise_once(&self, record: &Record) -> Result<Option<Record>, ProviderError> {
        let lasts = number_after(&record.token, "tok_expires_").filter(|_| is_first(record));
        let needs_customer = record.token.starts_with("tok_needs_customer");
        let approvable = number_after::<i32>(&record.token, "tok_needs_customer_");
        sqlx::query_as!(
            Record,
            r#"
            update sandbox_provider.payments
            set state = case
                    when $2::text is not null then 'declined'
                    when $4::boolean then 'awaiting-customer'
                    else 'authorised'
                end,
                decline_code = $2,
                expires_at = case when $2::text is null and not $4
                    then now() + make_interval(secs => $3) end,
                approvable_until = case when $4 then now() + make_interval(secs => $5) end
            where payment_id = $1 and state in ('opened', 'declined')
            returning
                payment_id, idempotency_key, token, decline_code, currency, captured, expires_at,
                approvable_until, state, false as "is_refunded!"
            "#,
            record.payment_id,
            self.decline_code(record),
            f64::from(lasts.unwrap_or(A_WEEK)),
            needs_customer,
            approvable.map(f64::from),
        )
        .fetch_optional(&self.db)
        .await
        .map_err(no_answer)
    }

    /// Takes the money. None: this call did not.
    async fn capture_once(
        &self,
        payment_id: i64,
        amount: Money,
    ) -> Result<Option<Record>, ProviderError> {
        sqlx::query_as!(
            Record,
            r#"
            update sandbox_provider.payments set state = 'captured', captured = $2
            where payment_id = $1 and state = 'authorised' and expires_at > now()
            returning
                payment_id, idempotency_key, token, decline_code, currency, captured, expires_at,
                approvable_until, state, false as "is_refunded!"
            "#,
            payment_id,
            amount.amount(),
        )
        .fetch_optional(&self.db)
        .await
        .map_err(no_answer)
    }

    /// The payment as it is now: what has expired is voided.
    async fn record_of(&self, id: &PaymentId) -> Result<Record, ProviderError> {
        sqlx::query_as!(
            Record,
            r#"
            select
                payment_id, idempotency_key, token, decline_code, currency, captured, expires_at,
                approvable_until,
                case
                    when state = 'authorised' and expires_at <= now() then 'voided'
                    when state = 'awaiting-customer' and approvable_until <= now() then 'voided'
                    else state
                end as "state!",
                exists (
                    select from sandbox_provider.refunds
                    where refunds.payment_id = payments.payment_id
                ) as "is_refunded!"
            from sandbox_provider.payments
            where payment_id = $1
            "#,
            number_of(id)?,
        )
        .fetch_optional(&self.db)
        .await
        .map_err(no_answer)?
        .ok_or_else(|| nonsense("404 Not Found"))
    }

    /// The payment as a request has just made it, or as others have.
    async fn now(&self, id: &PaymentId, made: Option<Record>) -> Result<Payment, ProviderError> {
        match made {
            Some(record) => record.payment(),
            None => self.record_of(id).await?.payment(),
        }
    }

    /// Whether this is one of the first calls of its kind, which get another answer.
    async fn is_among_the_first(
        &self,
        call: &str,
        calls: Option<i32>,
    ) -> Result<bool, ProviderError> {
        let Some(calls) = calls else { return Ok(false) };
        let number = sqlx::query_scalar!(
            r#"
            insert into sandbox_provider.outages as known (idempotency_key, calls) values ($1, 1)
            on conflict (idempotency_key) do update set calls = known.calls + 1
            returning calls
            "#,
            call,
        )
        .fetch_one(&self.db)
        .await
        .map_err(no_answer)?;
        Ok(number <= calls)
    }

    /// Pretends to be out of order for the first calls of this kind.
    async fn out_of_order(&self, call: &str, calls: Option<i32>) -> Result<(), ProviderError> {
        if self.is_among_the_first(call, calls).await? {
            let retry_after = Some(Duration::from_secs(1));
            let source = "503 Service Unavailable, Retry-After: 1".into();
            return Err(ProviderError::Unavailable { retry_after, source });
        }
        Ok(())
    }

    async fn is_repaired(&self, record: &Record) -> Result<bool, ProviderError> {
        sqlx::query_scalar!(
            r#"
            select exists (
                select from sandbox_provider.repairs where idempotency_key = $1
            ) as "is_repaired!"
            "#,
            record.idempotency_key,
        )
        .fetch_one(&self.db)
        .await
        .map_err(no_answer)
    }
}

#[async_trait]
impl PaymentProvider for SandboxProvider {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            keys_last: Duration::from_hours(24),
            may_lag: Duration::from_secs(5),
            captures_in_part: true,
        }
    }

    async fn open(&self, charge: &Charge) -> Result<PaymentId, ProviderError> {
        let payment_id = sqlx::query_scalar!(
            r#"
            insert into sandbox_provider.payments as known (
                idempotency_key, merchant_reference, amount, currency, token, state, is_remembered
            )
            values ($1, $2, $3, $4, $5, 'opened', $5 <> 'tok_forgetful')
            -- Changes nothing, but answers with the payment, also one made at this moment.
            on conflict (idempotency_key) where is_remembered do update set token = known.token
            returning payment_id
            "#,
            charge.key.to_string(),
            charge.key.order_id.to_string(),
            charge.amount.amount(),
            charge.amount.currency().code(),
            charge.payment_token.as_str(),
        )
        .fetch_one(&self.db)
        .await
        .map_err(no_answer)?;
        Ok(PaymentId(format!("sandbox-payment-{payment_id}")))
    }

    async fn authorise(&self, id: &PaymentId) -> Result<Payment, ProviderError> {
        let record = self.record_of(id).await?;
        let outage = number_after(&record.token, "tok_unavailable_");
        self.out_of_order(&record.idempotency_key, outage).await?;
        let authorised = self.authorise_once(&record).await?;
        let repeats = authorised.is_some() && record.token == "tok_answer_twice";
        if repeats && self.authorise_once(&record).await?.is_some() {
            return Err(nonsense("one authorisation became two"));
        }
        take_time(&record.token).await;
        let payment = self.now(id, authorised).await?;
        match payment.state {
            PaymentState::Authorised | PaymentState::AwaitingCustomer | PaymentState::Declined => {
                Ok(payment)
            }
            PaymentState::Opened
            | PaymentState::Captured
            | PaymentState::Voided
            | PaymentState::Refunded => Err(ProviderError::MovedOn),
        }
    }

    async fn capture(&self, id: &PaymentId, amount: Money) -> Result<Payment, ProviderError> {
        let payment_id = number_of(id)?;
        let captured = self.capture_once(payment_id, amount).await?;
        let token = captured.as_ref().map(|record| record.token.clone()).unwrap_or_default();
        if token == "tok_charge_lost" {
            let source = "the connection was reset after the request was sent".into();
            return Err(ProviderError::Unavailable { retry_after: None, source });
        }
        if token == "tok_answer_twice" && self.capture_once(payment_id, amount).await?.is_some() {
            return Err(nonsense("one capture became two"));
        }
        take_time(&token).await;
        let payment = self.now(id, captured).await?;
        match payment.state {
            PaymentState::Captured => Ok(payment),
            PaymentState::Opened
            | PaymentState::AwaitingCustomer
            | PaymentState::Declined
            | PaymentState::Authorised
            | PaymentState::Voided
            | PaymentState::Refunded => Err(ProviderError::MovedOn),
        }
    }

    async fn void(&self, id: &PaymentId) -> Result<Payment, ProviderError> {
        let voided = sqlx::query_as!(
            Record,
            r#"
            update sandbox_provider.payments set state = 'voided', decline_code = null
            where payment_id = $1
                and state in ('opened', 'awaiting-customer', 'declined', 'authorised')
            returning
                payment_id, idempotency_key, token, decline_code, currency, captured, expires_at,
                approvable_until, state, false as "is_refunded!"
            "#,
            number_of(id)?,
        )
        .fetch_optional(&self.db)
        .await
        .map_err(no_answer)?;
        let payment = self.now(id, voided).await?;
        if payment.state == PaymentState::Voided {
            Ok(payment)
        } else {
            Err(ProviderError::MovedOn)
        }
    }

    async fn refund(
        &self,
        id: &PaymentId,
        refund_key: &str,
        amount: Money,
    ) -> Result<Payment, ProviderError> {
        let record = self.record_of(id).await?;
        self.out_of_order(refund_key, number_after(&record.token, "tok_refund_unavailable_"))
            .await?;
        if record.token == "tok_refund_broken" && !self.is_repaired(&record).await? {
            return Err(nonsense("<html>It works!</html>"));
        }
        if record.state != "captured" {
            return Err(ProviderError::MovedOn);
        }
        sqlx::query!(
            r#"
            insert into sandbox_provider.refunds (idempotency_key, payment_id, amount)
            values ($1, $2, $3)
            on conflict (idempotency_key) do nothing
            "#,
            refund_key,
            record.payment_id,
            amount.amount(),
        )
        .execute(&self.db)
        .await
        .map_err(no_answer)?;
        self.now(id, None).await
    }

    async fn look_up(&self, id: &PaymentId) -> Result<Payment, ProviderError> {
        let record = self.record_of(id).await?;
        let lag = number_after(&record.token, "tok_lags_");
        if self.is_among_the_first(&format!("{}:look-up", record.payment_id), lag).await? {
            let source = "404 Not Found, a moment after it was opened".into();
            return Err(ProviderError::Unavailable { retry_after: None, source });
        }
        record.payment()
    }
}

impl Record {
    fn payment(self) -> Result<Payment, ProviderError> {
        let state = match self.state.parse() {
            Ok(PaymentState::Captured) if self.is_refunded => PaymentState::Refunded,
            Ok(state) => state,
            Err(_unknown) => return Err(nonsense("a payment in no known state")),
        };
        let currency = Currency::from_code(&self.currency);
        let captured = currency.and_then(|currency| Money::new(self.captured, currency).ok());
        let captured = captured.ok_or_else(|| nonsense("an amount that is none"))?;
        let expires_at = self.expires_at.filter(|_| state == PaymentState::Authorised);
        let approval = (state == PaymentState::AwaitingCustomer).then(|| Approval {
            url: format!("https://sandbox.example/approve/{}", self.payment_id),
            until: self.approvable_until,
        });
        Ok(Payment { state, captured, decline_code: self.decline_code, expires_at, approval })
    }
}

fn number_of(PaymentId(id): &PaymentId) -> Result<i64, ProviderError> {
    let number = id.strip_prefix("sandbox-payment-").and_then(|id| id.parse().ok());
    number.ok_or_else(|| nonsense("404 Not Found"))
}

/// Whether it is the order's first payment: a later one's key ends with its number.
fn is_first(record: &Record) -> bool {
    record.idempotency_key.split(':').count() == 3
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
fn is_unlucky(key: &str, percent: u8) -> bool {
    let digest = Sha256::digest(key);
    let drawn = digest.iter().take(4).fold(0_u32, |drawn, byte| (drawn << 8) | u32::from(*byte));
    drawn % 100 < u32::from(percent)
}

fn no_answer(error: sqlx::Error) -> ProviderError {
    ProviderError::Unavailable { retry_after: None, source: error.into() }
}

fn nonsense(answer: &'static str) -> ProviderError {
    ProviderError::InvalidAnswer(answer.into())
}
