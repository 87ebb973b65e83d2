//! The sandbox provider's records.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::CountryCode;
use domain::payment::PaymentState;
use domain::refund::AtProvider;
use domain::screening::RiskLevel;
use rust_decimal::Decimal;

use super::{Request, SandboxProvider, Told, ToldRefund};
use crate::party::line::Behaviour;

/// How long an authorisation lasts, as with most cards.
const A_WEEK: i32 = 7 * 24 * 60 * 60;

/// A payment's row.
struct Row {
    payment_id: i64,
    idempotency_key: String,
    token: String,
    state: String,
    decline_code: Option<String>,
    currency: String,
    captured: Decimal,
    expires_at: Option<DateTime<Utc>>,
    approvable_until: Option<DateTime<Utc>>,
    /// The refunded part of it.
    refunded: Decimal,
}

impl Row {
    fn told(self) -> Result<Told, sqlx::Error> {
        let state = self.state.parse::<PaymentState>();
        let state = state.map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        let is_refunded = state == PaymentState::Captured && self.captured <= self.refunded;
        let is_asking = state == PaymentState::AwaitingCustomer;
        let approval_url =
            is_asking.then(|| format!("https://sandbox.example/approve/{}", self.payment_id));
        Ok(Told {
            id: format!("sandbox-payment-{}", self.payment_id),
            state: if is_refunded { PaymentState::Refunded } else { state },
            currency: self.currency,
            captured: self.captured,
            refunded: self.refunded,
            decline_code: self.decline_code,
            expires_at: self.expires_at,
            approval_url,
            approvable_until: self.approvable_until,
            risk: risk_of(&self.token, state),
            method_country: self.token.strip_prefix("tok_from_").and_then(country_of),
            is_refund_pending: false,
        })
    }

    /// Whether it is the order's first payment: the key of a later one ends with its number.
    fn is_first(&self) -> bool {
        self.idempotency_key.split(':').count() == 3
    }
}

impl SandboxProvider {
    /// The fault of a request, if any: from the table, whose counter it decrements, or from the
    /// card's token.
    pub(super) async fn behaviour_of(
        &self,
        request: &Request,
    ) -> Result<Option<Behaviour>, sqlx::Error> {
        let (call, payment, key, order) = match request {
            Request::Open { key, order, .. } => {
                ("open", None, Some(key.as_str()), Some(order.as_str()))
            }
            Request::Authorise { payment } => ("authorise", Some(*payment), None, None),
            Request::Capture { payment, .. } => ("capture", Some(*payment), None, None),
            Request::Void { payment } => ("void", Some(*payment), None, None),
            Request::Refund { payment, .. } => ("refund", Some(*payment), None, None),
            Request::LookUp { payment }
            | Request::LookUpRefund { payment, .. }
            | Request::Find { payment } => ("look-up", Some(*payment), None, None),
            Request::ListPayments { .. }
            | Request::ListRefunds { .. }
            | Request::ListPayouts { .. }
            | Request::ListSettled { .. } => ("list", None, None, None),
        };
        let row = sqlx::query!(
            r#"
            with payment as materialized (
                select idempotency_key, merchant_reference, token
                from sandbox_provider.payments where payment_id = $2
            ), happens as (
                update sandbox_provider.behaviours set remaining = remaining - 1
                where behaviour_id = (
                    select behaviour_id from sandbox_provider.behaviours
                    where call in ($1, '*') and coalesce(remaining, 1) > 0 and whom in (
                        select '*'
                        union all select $3::text
                        union all select $4::text
                        union all select idempotency_key from payment
                        union all select merchant_reference from payment
                    )
                    order by behaviour_id limit 1
                    for update
                )
                returning behaviour, retry_after, seconds
            )
            select
                idempotency_key as "key?", token as "token?", behaviour as "behaviour?",
                retry_after as "retry_after?", seconds as "seconds?"
            from (values (true)) as always
            left join payment on true
            left join happens on true
            "#,
            call,
            payment,
            key,
            order,
        )
        .fetch_one(self.db.statements())
        .await?;
        if let Some(name) = row.behaviour {
            let (retry_after, seconds) = (row.retry_after, row.seconds);
            return Ok(Some(Behaviour { name, retry_after, seconds }));
        }
        let known = row.key.zip(row.token);
        let ((Request::Open { key, token, .. }, _) | (_, Some((key, token)))) = (request, &known)
        else {
            return Ok(None);
        };
        if let Some(behaviour) = of_first_call(call, token) {
            let is_first = self.is_among_the_first(&format!("{key}:{call}"), 1).await?;
            return Ok(is_first.then_some(behaviour));
        }
        self.behaviour_by_token(request, key, token).await
    }

    async fn behaviour_by_token(
        &self,
        request: &Request,
        key: &str,
        token: &str,
    ) -> Result<Option<Behaviour>, sqlx::Error> {
        let (of_the_first, calls) = match request {
            Request::Authorise { .. } => {
                (Behaviour::unavailable("1"), number_after(token, "tok_unavailable_"))
            }
            Request::Capture { .. } => {
                (Behaviour::called("lost"), (token == "tok_charge_lost").then_some(1))
            }
            Request::Refund { .. } if token == "tok_refund_broken" => {
                let is_repaired = self.is_repaired(key).await?;
                return Ok((!is_repaired).then(|| Behaviour::called("html")));
            }
            Request::Refund { .. } => {
                (Behaviour::unavailable("1"), number_after(token, "tok_refund_unavailable_"))
            }
            Request::LookUp { .. } => {
                (Behaviour::called("not-found"), number_after(token, "tok_lags_"))
            }
            Request::Open { .. }
            | Request::Void { .. }
            | Request::LookUpRefund { .. }
            | Request::ListPayments { .. }
            | Request::ListRefunds { .. }
            | Request::ListPayouts { .. }
            | Request::ListSettled { .. }
            | Request::Find { .. } => return Ok(None),
        };
        let Some(calls) = calls else { return Ok(None) };
        let call = format!("{key}:{}", of_the_first.name);
        Ok(self.is_among_the_first(&call, calls).await?.then_some(of_the_first))
    }

    /// Whether this is one of the first calls of its kind, which get another answer.
    async fn is_among_the_first(&self, call: &str, calls: i32) -> Result<bool, sqlx::Error> {
        let number = sqlx::query_scalar!(
            r#"
            insert into sandbox_provider.outages as known (idempotency_key, calls) values ($1, 1)
            on conflict (idempotency_key) do update set calls = known.calls + 1
            returning calls
            "#,
            call,
        );
        Ok(number.fetch_one(self.db.statements()).await? <= calls)
    }

    async fn is_repaired(&self, key: &str) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar!(
            r#"
            select exists (
                select from sandbox_provider.repairs where idempotency_key = $1
            ) as "is_repaired!"
            "#,
            key,
        )
        .fetch_one(self.db.statements())
        .await
    }

    /// Stores a request to be executed later.
    pub(super) async fn hold_up(&self, request: &Request) -> Result<(), sqlx::Error> {
        let request = serde_json::to_value(request);
        let request = request.map_err(|error| sqlx::Error::Encode(error.into()))?;
        sqlx::query!("insert into sandbox_provider.late_requests (request) values ($1)", request)
            .execute(self.db.statements())
            .await
            .map(drop)
    }

    /// Takes the oldest delayed request, which thereby arrives.
    pub(super) async fn next_late_request(&self) -> Result<Option<Request>, sqlx::Error> {
        let request = sqlx::query_scalar!(
            r#"
            update sandbox_provider.late_requests set landed_at = now()
            where request_id = (
                select min(request_id) from sandbox_provider.late_requests where landed_at is null
            )
            returning request
            "#
        );
        let request =
            request.fetch_optional(self.db.statements()).await?.map(serde_json::from_value);
        request.transpose().map_err(|error| sqlx::Error::Decode(error.into()))
    }

    /// Forgets a key that is older than this.
    pub(super) async fn forget(&self, key: &str, seconds: i32) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "update sandbox_provider.payments set is_remembered = false
             where idempotency_key = $1 and created_at <= now() - make_interval(secs => $2)",
            key,
            f64::from(seconds),
        )
        .execute(self.db.statements())
        .await
        .map(drop)
    }

    /// Opens a payment, or finds the one under this key. `None`: the request is of another kind.
    pub(super) async fn open_once(&self, request: &Request) -> Result<Option<Told>, sqlx::Error> {
        let Request::Open { key, order, token, amount, currency } = request else {
            return Ok(None);
        };
        let opened = sqlx::query_as!(
            Row,
            r#"
            insert into sandbox_provider.payments as known (
                idempotency_key, merchant_reference, amount, currency, token, state, is_remembered
            )
            values ($1, $2, $3, $4, $5, 'opened', $5 <> 'tok_forgetful')
            -- Changes nothing, but answers with the payment, also one made at this moment.
            on conflict (idempotency_key) where is_remembered do update set token = known.token
            returning
                payment_id, idempotency_key, token, decline_code, currency, captured, expires_at,
                approvable_until, state, 0::numeric as "refunded!"
            "#,
            key,
            order,
            *amount,
            currency,
            token,
        );
        opened.fetch_optional(self.db.statements()).await?.map(Row::told).transpose()
    }

    /// Asks the bank, once. `None`: the payment is unknown.
    pub(super) async fn authorise_once(
        &self,
        payment_id: i64,
    ) -> Result<Option<Told>, sqlx::Error> {
        let Some(row) = self.row(payment_id).await? else { return Ok(None) };
        let authorised = self.ask_the_bank(&row).await?;
        if authorised.is_some() && row.token == "tok_answer_twice" {
            self.ask_the_bank(&row).await?;
        }
        take_time(&row.token).await;
        match authorised {
            Some(authorised) => authorised.told().map(Some),
            None => self.payment(payment_id).await,
        }
    }

    /// `None`: the payment's state no longer allows it.
    async fn ask_the_bank(&self, row: &Row) -> Result<Option<Row>, sqlx::Error> {
        let lasts = number_after(&row.token, "tok_expires_").filter(|_| row.is_first());
        let needs_customer = row.token.starts_with("tok_needs_customer");
        let approvable = number_after::<i32>(&row.token, "tok_needs_customer_");
        sqlx::query_as!(
            Row,
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
                approvable_until, state, 0::numeric as "refunded!"
            "#,
            row.payment_id,
            self.decline_code(&row.idempotency_key, &row.token),
            f64::from(lasts.unwrap_or(A_WEEK)),
            needs_customer,
            approvable.map(f64::from),
        )
        .fetch_optional(self.db.statements())
        .await
    }

    /// Captures the payment, once. `None`: the payment is unknown.
    pub(super) async fn capture_once(
        &self,
        payment_id: i64,
        amount: Decimal,
    ) -> Result<Option<Told>, sqlx::Error> {
        let captured = self.take(payment_id, amount).await?;
        let Some(captured) = captured else { return self.payment(payment_id).await };
        if captured.token == "tok_answer_twice" {
            self.take(payment_id, amount).await?;
        }
        take_time(&captured.token).await;
        captured.told().map(Some)
    }

    /// `None`: this call did not capture it.
    async fn take(&self, payment_id: i64, amount: Decimal) -> Result<Option<Row>, sqlx::Error> {
        sqlx::query_as!(
            Row,
            r#"
            update sandbox_provider.payments set state = 'captured', captured = $2
            where payment_id = $1 and state = 'authorised' and expires_at > now()
            returning
                payment_id, idempotency_key, token, decline_code, currency, captured, expires_at,
                approvable_until, state, 0::numeric as "refunded!"
            "#,
            payment_id,
            amount,
        )
        .fetch_optional(self.db.statements())
        .await
    }

    /// Voids what is not captured. `None`: the payment is unknown.
    pub(super) async fn void_once(&self, payment_id: i64) -> Result<Option<Told>, sqlx::Error> {
        sqlx::query!(
            "update sandbox_provider.payments set state = 'voided', decline_code = null
             where payment_id = $1
                and state in ('opened', 'awaiting-customer', 'declined', 'authorised')",
            payment_id,
        )
        .execute(self.db.statements())
        .await?;
        self.payment(payment_id).await
    }

    /// Refunds the payment, once per key, and never more than was captured; or leaves the refund
    /// pending. A failed one is made again.
    pub(super) async fn refund_once(
        &self,
        payment_id: i64,
        key: &str,
        amount: Decimal,
        is_decided: bool,
    ) -> Result<(), sqlx::Error> {
        let mut transaction = self.db.transactions().begin().await?;
        // The lock serialises refunds, so that each sees the earlier ones.
        sqlx::query!(
            "select payment_id from sandbox_provider.payments where payment_id = $1 for update",
            payment_id,
        )
        .fetch_optional(&mut *transaction)
        .await?;
        sqlx::query!(
            r#"
            insert into sandbox_provider.refunds (idempotency_key, payment_id, amount, state)
            select $1, payment_id, $3, case when $4 then 'succeeded' else 'pending' end
            from sandbox_provider.payments
            where payment_id = $2 and state = 'captured' and $3 <= captured - (
                select coalesce(sum(made.amount), 0) from sandbox_provider.refunds as made
                where made.payment_id = $2 and made.state <> 'failed'
                    and made.idempotency_key <> $1
            )
            on conflict (idempotency_key) where state <> 'failed' do nothing
            "#,
            key,
            payment_id,
            amount,
            is_decided,
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await
    }

    /// The newest refund of a payment under this key.
    pub(super) async fn newest_refund(
        &self,
        payment_id: i64,
        key: &str,
    ) -> Result<Option<ToldRefund>, sqlx::Error> {
        let refund = sqlx::query!(
            r#"
            select refund_id, refunds.amount, currency, refunds.state
            from sandbox_provider.refunds join sandbox_provider.payments using (payment_id)
            where payment_id = $1 and refunds.idempotency_key = $2
            order by refund_id desc limit 1
            "#,
            payment_id,
            key,
        );
        let Some(refund) = refund.fetch_optional(self.db.statements()).await? else {
            return Ok(None);
        };
        let state = refund.state.parse::<AtProvider>();
        let state = state.map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        let failure = (state == AtProvider::Failed).then(|| "the bank does not take it".to_owned());
        Ok(Some(ToldRefund {
            id: format!("sandbox-refund-{}", refund.refund_id),
            state,
            amount: refund.amount,
            currency: refund.currency,
            failure,
        }))
    }

    pub(super) async fn payment(&self, payment_id: i64) -> Result<Option<Told>, sqlx::Error> {
        self.row(payment_id).await?.map(Row::told).transpose()
    }

    /// The payment in its current state: an expired authorisation is voided.
    async fn row(&self, payment_id: i64) -> Result<Option<Row>, sqlx::Error> {
        sqlx::query_as!(
            Row,
            r#"
            select
                payment_id, idempotency_key, token, decline_code, currency, captured, expires_at,
                approvable_until,
                case
                    when state = 'authorised' and expires_at <= now() then 'voided'
                    when state = 'awaiting-customer' and approvable_until <= now() then 'voided'
                    else state
                end as "state!",
                (
                    select coalesce(sum(refunds.amount), 0) from sandbox_provider.refunds
                    where refunds.payment_id = payments.payment_id and refunds.state = 'succeeded'
                ) as "refunded!"
            from sandbox_provider.payments
            where payment_id = $1
            "#,
            payment_id,
        )
        .fetch_optional(self.db.statements())
        .await
    }
}

/// The risk level of the payment; `None` before the bank was asked.
fn risk_of(token: &str, state: PaymentState) -> Option<RiskLevel> {
    match (token, state) {
        (_, PaymentState::Opened) => None,
        ("tok_risk_elevated", _) => Some(RiskLevel::Elevated),
        ("tok_risk_highest", _) => Some(RiskLevel::Highest),
        _ => Some(RiskLevel::Normal),
    }
}

fn country_of(code: &str) -> Option<CountryCode> {
    CountryCode::parse(code).ok()
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

/// The fault that the token sets for the first call of this kind, such as
/// `tok_first_capture_unavailable_30`.
fn of_first_call(call: &str, token: &str) -> Option<Behaviour> {
    let ordered = token.strip_prefix("tok_first_")?.strip_prefix(call)?.strip_prefix('_')?;
    let (name, value) = ordered.split_once('_').unzip();
    let (retry_after, seconds) = (value.map(str::to_owned), value.and_then(|it| it.parse().ok()));
    Some(Behaviour { name: name.unwrap_or(ordered).to_owned(), retry_after, seconds })
}

fn number_after<N: std::str::FromStr>(token: &str, prefix: &str) -> Option<N> {
    token.strip_prefix(prefix)?.parse().ok()
}
