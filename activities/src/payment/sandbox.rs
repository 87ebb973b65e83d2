//! A simulated payment provider for trying things out. It stands for an HTTP service: it keeps its
//! own records, on its own connections, reads nothing of the shop's, and answers in JSON that is
//! decoded like any party's answer. The card's token decides the outcome:
//!
//! | token | what happens |
//! |---|---|
//! | `tok_visa`, and any other | paid |
//! | `tok_declined` | declined: `insufficient_funds` |
//! | `tok_expired_card` | declined: `expired_card` |
//! | `tok_slow`, `tok_slow_<ms>` | paid, but the bank takes 2 s, or so many milliseconds, to authorise and to capture |
//! | `tok_unavailable_<n>` | the first n authorisations of a payment are answered 503, `Retry-After: 1` |
//! | `tok_charge_lost` | the payment is captured, and the answer to the first capture is lost |
//! | `tok_answer_twice` | authorisation and capture reach the provider twice |
//! | `tok_expires_<s>` | an authorisation lasts for so many seconds; the next one of the order for a week |
//! | `tok_needs_customer`, `tok_needs_customer_<s>` | awaits the customer, simulated by `sandbox_provider.answer_as_customer`; for at most so many seconds |
//! | `tok_risk_elevated` | paid, with an elevated risk level |
//! | `tok_risk_highest` | declined: `fraudulent`, with the highest risk level |
//! | `tok_from_<CC>` | paid, with a payment method from that country, such as `tok_from_US` |
//! | `tok_forgetful` | idempotency keys are forgotten at once |
//! | `tok_lags_<n>` | the first n lookups of a payment are answered 404 |
//! | `tok_refund_unavailable_<n>` | paid; the first n refunds are answered 503, `Retry-After: 1` |
//! | `tok_first_<call>_<behaviour>`, `tok_first_<call>_<behaviour>_<n>` | the fault of the first such call of a payment, with the calls and behaviours below; n is its `Retry-After`, or its seconds |
//! | `tok_refund_broken` | paid; refunds get invalid answers until the payment's key is entered into `sandbox_provider.repairs` |
//!
//! In addition, a share of all cards may be declined. The key decides which ones, so a repeat is
//! declined again.
//!
//! Other faults are configured in `sandbox_provider.behaviours`, by the schemas' owner, and take
//! precedence over the token: for a `call` (`open`, `authorise`, `capture`, `void`, `refund`,
//! `look-up`, `list`, or `*`), for `whom` (a payment's key, an order's id, or `*`), for the next
//! `remaining` calls (null: until the row is deleted). The first matching row applies:
//!
//! | behaviour | what happens |
//! |---|---|
//! | `unavailable` | 503, with `retry_after` as its `Retry-After`, verbatim; nothing is done |
//! | `html` | 200 with a proxy's page; nothing is done |
//! | `not-found` | 404, as of an index that lags; nothing is done |
//! | `lost` | it is done, and the connection is reset |
//! | `truncated` | it is done, and the answer is truncated |
//! | `too-large` | it is done, and the answer is longer than the limit |
//! | `hangs` | it is done and answered, after `seconds` (a day, if that is null) |
//! | `late` | the connection is reset, and it is done on a call of [`land_late_requests`](SandboxProvider::land_late_requests) |
//! | `forgets` | of `open`: keys older than `seconds` (0, if null) are forgotten |
//! | `pending` | of `refund`: it is made, and is decided by setting its `state` in `sandbox_provider.refunds` to `succeeded` or `failed` |
//!
//! `select sandbox_provider.pay_out()` pays out everything captured and not yet paid out, less a
//! fee.
//!
//! To end an authorisation early, set its `expires_at` in `sandbox_provider.payments` back.
//!
//! ```sql
//! insert into sandbox_provider.behaviours (call, whom, behaviour, retry_after, remaining)
//! values ('capture', '*', 'unavailable', 'Fri, 31 Dec 2027 23:59:59 GMT', 3);
//! ```

mod lists;
mod records;

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::payment::PaymentState;
use domain::refund::AtProvider;
use domain::screening::RiskLevel;
use domain::{Charge, CountryCode, Currency, Money};
use runtime::database::Database;
use rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::lists::ProviderLists;
use super::port::{
    Approval, Capabilities, Payment, PaymentId, PaymentProvider, ProviderError, Refund,
};
use crate::party::answer::{Answer, Said};
use crate::party::line::{self, Behaviour, NOT_FOUND, NoAnswer, Refused};

/// The sandbox's payment provider.
pub struct SandboxProvider {
    db: Database,
    decline_percent: u8,
}

/// A request to the provider, as it is sent.
#[derive(Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "kebab-case")]
enum Request {
    Open { key: String, order: String, token: String, amount: Decimal, currency: String },
    Authorise { payment: i64 },
    Capture { payment: i64, amount: Decimal },
    Void { payment: i64 },
    Refund { payment: i64, key: String, amount: Decimal },
    LookUp { payment: i64 },
    LookUpRefund { payment: i64, key: String },
    ListPayments { from: DateTime<Utc>, to: DateTime<Utc>, after: i64 },
    ListRefunds { from: DateTime<Utc>, to: DateTime<Utc>, after: i64 },
    ListPayouts { from: DateTime<Utc>, to: DateTime<Utc>, after: i64 },
    ListSettled { payout: i64, after: i64 },
    Find { payment: i64 },
}

/// A payment in the provider's answer.
#[derive(Serialize, Deserialize)]
pub(crate) struct Told {
    id: String,
    state: PaymentState,
    currency: String,
    captured: Decimal,
    #[serde(default)]
    refunded: Decimal,
    decline_code: Option<String>,
    expires_at: Option<DateTime<Utc>>,
    /// The link for the customer's approval, if it is awaited.
    approval_url: Option<String>,
    approvable_until: Option<DateTime<Utc>>,
    risk: Option<RiskLevel>,
    method_country: Option<CountryCode>,
    /// In an answer to a refund: whether its outcome is still open.
    is_refund_pending: bool,
}

/// The newest refund under a key, if any, in the provider's answer.
#[derive(Serialize, Deserialize)]
struct ToldOfRefund {
    newest: Option<ToldRefund>,
}

#[derive(Serialize, Deserialize)]
struct ToldRefund {
    id: String,
    state: AtProvider,
    amount: Decimal,
    currency: String,
    failure: Option<String>,
}

impl SandboxProvider {
    /// Creates the provider.
    ///
    /// **Shape.** `db` holds the schema `sandbox_provider` and should be the provider's own.
    /// Of all cards that would pay, `decline_percent` in a hundred are declined.
    #[must_use]
    pub const fn new(db: Database, decline_percent: u8) -> Self {
        Self { db, decline_percent }
    }

    /// Executes all delayed requests, in the order in which they were sent; returns how many. Their
    /// answers are dropped.
    ///
    /// **Errors.** The provider's database failed.
    pub async fn land_late_requests(&self) -> Result<u64, sqlx::Error> {
        let mut landed = 0_u64;
        while let Some(request) = self.next_late_request().await? {
            self.handle(&request, None).await?;
            landed = landed.saturating_add(1);
        }
        Ok(landed)
    }

    async fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, ProviderError> {
        let answer = self.send(request).await.map_err(no_answer)?;
        match answer.read::<T, Refused>(SystemTime::now())? {
            Said::Yes(told) => Ok(told),
            Said::No { why: Refused { code, .. }, .. } => Err(match code.as_str() {
                "moved-on" => ProviderError::MovedOn,
                NOT_FOUND => ProviderError::NotFound,
                _ => ProviderError::InvalidAnswer(code.into()),
            }),
        }
    }

    async fn ask_about(&self, request: &Request) -> Result<Payment, ProviderError> {
        self.ask::<Told>(request).await?.payment()
    }

    async fn send(&self, request: &Request) -> Result<Answer, NoAnswer> {
        let behaviour = self.behaviour_of(request).await?;
        if behaviour.as_ref().is_some_and(|behaviour| behaviour.is("late")) {
            self.hold_up(request).await?;
            return Err(NoAnswer::Reset);
        }
        let behaviour = behaviour.as_ref();
        line::send(behaviour, Box::pin(self.handle(request, behaviour))).await
    }

    /// Executes a request that has arrived, and returns the answer.
    async fn handle(
        &self,
        request: &Request,
        behaviour: Option<&Behaviour>,
    ) -> Result<Answer, sqlx::Error> {
        use PaymentState as S;
        match request {
            Request::Open { key, .. } => {
                if let Some(Behaviour { seconds, .. }) = behaviour.filter(|one| one.is("forgets")) {
                    self.forget(key, seconds.unwrap_or_default()).await?;
                }
                Ok(Answer::json(201, &self.open_once(request).await?))
            }
            Request::Authorise { payment } => {
                let told = self.authorise_once(*payment).await?;
                Ok(told_if(told, &[S::Authorised, S::AwaitingCustomer, S::Declined]))
            }
            Request::Capture { payment, amount } => {
                let told = self.capture_once(*payment, *amount).await?;
                Ok(told_if(told, &[S::Captured]))
            }
            Request::Void { payment } => {
                let told = self.void_once(*payment).await?;
                Ok(told_if(told, &[S::Voided]))
            }
            Request::Refund { payment, key, amount } => {
                let is_decided = !behaviour.is_some_and(|one| one.is("pending"));
                self.refund_once(*payment, key, *amount, is_decided).await?;
                self.told_of_refund(*payment, key).await
            }
            Request::LookUp { payment } => Ok(told_if(self.payment(*payment).await?, &ANY)),
            Request::LookUpRefund { payment, key } => {
                let newest = self.newest_refund(*payment, key).await?;
                Ok(Answer::json(200, &ToldOfRefund { newest }))
            }
            Request::ListPayments { .. }
            | Request::ListRefunds { .. }
            | Request::ListPayouts { .. }
            | Request::ListSettled { .. }
            | Request::Find { .. } => self.list(request).await,
        }
    }

    /// The payment after a refund request: a refusal, if the refund was not made.
    async fn told_of_refund(&self, payment: i64, key: &str) -> Result<Answer, sqlx::Error> {
        let made = self.newest_refund(payment, key).await?.map(|refund| refund.state);
        let told = self.payment(payment).await?.map(|told| {
            let is_refund_pending = made == Some(AtProvider::Pending);
            Told { is_refund_pending, ..told }
        });
        let states: &[PaymentState] = match made {
            Some(AtProvider::Pending | AtProvider::Succeeded) => {
                &[PaymentState::Captured, PaymentState::Refunded]
            }
            Some(AtProvider::Failed) | None => &[],
        };
        Ok(told_if(told, states))
    }

    fn decline_code(&self, key: &str, token: &str) -> Option<&'static str> {
        match token {
            "tok_declined" => Some("insufficient_funds"),
            "tok_expired_card" => Some("expired_card"),
            "tok_risk_highest" => Some("fraudulent"),
            _ if is_unlucky(key, self.decline_percent) => Some("insufficient_funds"),
            _ => None,
        }
    }
}

const ANY: [PaymentState; 7] = [
    PaymentState::Opened,
    PaymentState::AwaitingCustomer,
    PaymentState::Declined,
    PaymentState::Authorised,
    PaymentState::Captured,
    PaymentState::Voided,
    PaymentState::Refunded,
];

/// The payment, if it is in a state that allows the request.
fn told_if(told: Option<Told>, states: &[PaymentState]) -> Answer {
    match told {
        Some(told) if states.contains(&told.state) => Answer::json(200, &told),
        Some(told) => line::refused(409, "moved-on", told.state.name()),
        None => line::refused(404, NOT_FOUND, "there is no such payment"),
    }
}

#[async_trait]
impl PaymentProvider for SandboxProvider {
    fn capabilities(&self) -> Capabilities {
        Capabilities { may_lag: Duration::from_secs(5), keys_last: None, cannot: &[] }
    }

    async fn open(&self, charge: &Charge) -> Result<PaymentId, ProviderError> {
        let Told { id, .. } = self
            .ask(&Request::Open {
                key: charge.key.to_string(),
                order: charge.key.order_id.to_string(),
                token: charge.payment_token.as_str().to_owned(),
                amount: charge.amount.amount(),
                currency: charge.amount.currency().code().to_owned(),
            })
            .await?;
        Ok(PaymentId(id))
    }

    async fn authorise(&self, payment: &PaymentId) -> Result<Payment, ProviderError> {
        self.ask_about(&Request::Authorise { payment: number_of(payment)? }).await
    }

    async fn capture(&self, payment: &PaymentId, amount: Money) -> Result<Payment, ProviderError> {
        let amount = amount.amount();
        self.ask_about(&Request::Capture { payment: number_of(payment)?, amount }).await
    }

    async fn void(&self, payment: &PaymentId) -> Result<Payment, ProviderError> {
        self.ask_about(&Request::Void { payment: number_of(payment)? }).await
    }

    async fn refund(
        &self,
        payment: &PaymentId,
        refund_key: &str,
        amount: Money,
    ) -> Result<Payment, ProviderError> {
        let (payment, amount) = (number_of(payment)?, amount.amount());
        let request = Request::Refund { payment, key: refund_key.to_owned(), amount };
        let told: Told = self.ask(&request).await?;
        if told.is_refund_pending {
            let source = "the refund is pending".into();
            return Err(ProviderError::Unavailable { retry_after: None, source });
        }
        told.payment()
    }

    async fn look_up(&self, payment: &PaymentId) -> Result<Payment, ProviderError> {
        self.ask_about(&Request::LookUp { payment: number_of(payment)? }).await
    }

    async fn look_up_refund(
        &self,
        payment: &PaymentId,
        refund_key: &str,
    ) -> Result<Option<Refund>, ProviderError> {
        let (payment, key) = (number_of(payment)?, refund_key.to_owned());
        let ToldOfRefund { newest } = self.ask(&Request::LookUpRefund { payment, key }).await?;
        newest.map(ToldRefund::refund).transpose()
    }

    fn lists(&self) -> &dyn ProviderLists {
        self
    }
}

impl ToldRefund {
    fn refund(self) -> Result<Refund, ProviderError> {
        let Self { id, state, failure, .. } = self;
        let currency = Currency::from_code(&self.currency);
        let amount = currency.and_then(|currency| Money::new(self.amount, currency).ok());
        let amount = amount.ok_or_else(|| nonsense("an amount that is none"))?;
        Ok(Refund { reference: id, state, amount, failure })
    }
}

impl Told {
    pub(crate) fn payment(self) -> Result<Payment, ProviderError> {
        let Self { state, decline_code, expires_at, approval_url, approvable_until, .. } = self;
        let (risk, method_country) = (self.risk, self.method_country);
        let currency = Currency::from_code(&self.currency);
        let money = |amount| currency.and_then(|currency| Money::new(amount, currency).ok());
        let amounts = money(self.captured).zip(money(self.refunded));
        let (captured, refunded) = amounts.ok_or_else(|| nonsense("an amount that is none"))?;
        let expires_at = expires_at.filter(|_| state == PaymentState::Authorised);
        let approval = approval_url.map(|url| Approval { url, until: approvable_until });
        Ok(Payment {
            state,
            captured,
            refunded,
            decline_code,
            expires_at,
            approval,
            risk,
            method_country,
        })
    }
}

fn number_of(PaymentId(id): &PaymentId) -> Result<i64, ProviderError> {
    let number = id.strip_prefix("sandbox-payment-").and_then(|id| id.parse().ok());
    number.ok_or_else(|| nonsense("there is no such payment"))
}

/// The key's hash decides, so that a repeat has the same outcome.
fn is_unlucky(key: &str, percent: u8) -> bool {
    let digest = Sha256::digest(key);
    let drawn = digest.iter().take(4).fold(0_u32, |drawn, byte| (drawn << 8) | u32::from(*byte));
    drawn % 100 < u32::from(percent)
}

fn no_answer(error: NoAnswer) -> ProviderError {
    ProviderError::Unavailable { retry_after: None, source: error.into() }
}

fn nonsense(answer: &'static str) -> ProviderError {
    ProviderError::InvalidAnswer(answer.into())
}
