//! The sandbox provider's lists, the oldest item first.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::payment::PaymentState;
use domain::refund::AtProvider;
use domain::{Currency, Money, OrderId};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{Request, SandboxProvider, nonsense, number_of};
use crate::party::answer::Answer;
use crate::party::line::{self, NOT_FOUND};
use crate::payment::lists::{
    ListedPayment, ListedRefund, Page, Payout, PayoutState, ProviderLists, Range, Settled,
    SettledKind, Standing,
};
use crate::payment::port::{PaymentId, ProviderError};

/// The number of items per page.
const PAGE_SIZE: i64 = 100;

/// A page in the provider's answer.
#[derive(Serialize, Deserialize)]
struct ToldPage<T> {
    items: Vec<T>,
    /// The cursor of the next page; `None` on the last one.
    next: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct ToldPayment {
    number: i64,
    order: String,
    opened_at: DateTime<Utc>,
    state: String,
    currency: String,
    amount: Decimal,
    captured: Decimal,
    refunded: Decimal,
}

#[derive(Serialize, Deserialize)]
struct ToldRefund {
    number: i64,
    payment: i64,
    key: String,
    state: String,
}

#[derive(Serialize, Deserialize)]
struct ToldPayout {
    number: i64,
    state: String,
    currency: String,
    amount: Decimal,
    is_itemised: bool,
}

#[derive(Serialize, Deserialize)]
struct ToldSettled {
    number: i64,
    kind: String,
    payment: Option<i64>,
    currency: String,
    amount: Decimal,
    fee: Decimal,
}

impl SandboxProvider {
    /// Answers a list request.
    pub(super) async fn list(&self, request: &Request) -> Result<Answer, sqlx::Error> {
        match request {
            Request::ListPayments { from, to, after } => {
                Ok(told(self.payments_of(*from, *to, *after, None).await?, |row| row.number))
            }
            Request::ListRefunds { from, to, after } => {
                Ok(told(self.refunds_of(*from, *to, *after).await?, |row| row.number))
            }
            Request::ListPayouts { from, to, after } => {
                Ok(told(self.payouts_of(*from, *to, *after).await?, |row| row.number))
            }
            Request::ListSettled { payout, after } => {
                Ok(told(self.settled_by(*payout, *after).await?, |row| row.number))
            }
            Request::Find { payment } => {
                let (from, to) = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH);
                let found = self.payments_of(from, to, 0, Some(*payment)).await?;
                Ok(found.first().map_or_else(not_found, |found| Answer::json(200, found)))
            }
            Request::Open { .. }
            | Request::Authorise { .. }
            | Request::Capture { .. }
            | Request::Void { .. }
            | Request::Refund { .. }
            | Request::LookUp { .. }
            | Request::LookUpRefund { .. } => Ok(not_found()),
        }
    }

    /// Payments in their current state: expired authorisations are voided.
    async fn payments_of(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        after: i64,
        only: Option<i64>,
    ) -> Result<Vec<ToldPayment>, sqlx::Error> {
        sqlx::query_as!(
            ToldPayment,
            r#"
            select
                payment_id as "number!", merchant_reference as "order!",
                created_at as "opened_at!", currency as "currency!", amount as "amount!",
                captured as "captured!",
                case
                    when state = 'authorised' and expires_at <= now() then 'voided'
                    when state = 'awaiting-customer' and approvable_until <= now() then 'voided'
                    else state
                end as "state!",
                coalesce((
                    select sum(refunds.amount) from sandbox_provider.refunds
                    where refunds.payment_id = payments.payment_id
                        and refunds.state = 'succeeded'
                ), 0) as "refunded!"
            from sandbox_provider.payments
            where payment_id > $3 and ($4::bigint is null and created_at >= $1 and created_at < $2
                or payment_id = $4)
            order by payment_id limit $5
            "#,
            from,
            to,
            after,
            only,
            PAGE_SIZE,
        )
        .fetch_all(self.db.statements())
        .await
    }

    async fn refunds_of(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        after: i64,
    ) -> Result<Vec<ToldRefund>, sqlx::Error> {
        sqlx::query_as!(
            ToldRefund,
            r#"
            select refund_id as "number!", payment_id as "payment!", idempotency_key as "key!",
                state as "state!"
            from sandbox_provider.refunds
            where created_at >= $1 and created_at < $2 and refund_id > $3
            order by refund_id limit $4
            "#,
            from,
            to,
            after,
            PAGE_SIZE,
        )
        .fetch_all(self.db.statements())
        .await
    }

    async fn payouts_of(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        after: i64,
    ) -> Result<Vec<ToldPayout>, sqlx::Error> {
        sqlx::query_as!(
            ToldPayout,
            r#"
            select payout_id as "number!", state as "state!", currency as "currency!",
                amount as "amount!", is_itemised as "is_itemised!"
            from sandbox_provider.payouts
            where created_at >= $1 and created_at < $2 and payout_id > $3
            order by payout_id limit $4
            "#,
            from,
            to,
            after,
            PAGE_SIZE,
        )
        .fetch_all(self.db.statements())
        .await
    }

    async fn settled_by(&self, payout: i64, after: i64) -> Result<Vec<ToldSettled>, sqlx::Error> {
        sqlx::query_as!(
            ToldSettled,
            r#"
            select transaction_id as "number!", kind as "kind!", payment_id as payment,
                currency as "currency!", amount as "amount!", fee as "fee!"
            from sandbox_provider.balance_transactions
            where payout_id = $1 and transaction_id > $2
            order by transaction_id limit $3
            "#,
            payout,
            after,
            PAGE_SIZE,
        )
        .fetch_all(self.db.statements())
        .await
    }
}

/// A page of the rows. A full page may be followed by another.
fn told<T: Serialize>(items: Vec<T>, number: impl Fn(&T) -> i64) -> Answer {
    let is_full = i64::try_from(items.len()).is_ok_and(|rows| rows >= PAGE_SIZE);
    let next = items.last().filter(|_last| is_full).map(number);
    Answer::json(200, &ToldPage { items, next })
}

fn not_found() -> Answer {
    line::refused(404, NOT_FOUND, "there is no such payment")
}

/// Decodes a page: its items, and the cursor of the next page.
fn page<T, U>(
    told: ToldPage<T>,
    item: impl Fn(T) -> Result<U, ProviderError>,
) -> Result<Page<U>, ProviderError> {
    let items = told.items.into_iter().map(item).collect::<Result<_, _>>()?;
    Ok(Page { items, next: told.next.map(|next| next.to_string()) })
}

fn number_after(after: Option<&str>) -> Result<i64, ProviderError> {
    let number = after.map_or(Ok(0), str::parse);
    number.map_err(|_wrong| nonsense("a page that is none"))
}

fn payment_called(number: i64) -> PaymentId {
    PaymentId(format!("sandbox-payment-{number}"))
}

fn currency_of(code: &str) -> Result<Currency, ProviderError> {
    Currency::from_code(code).ok_or_else(|| nonsense("a currency that is none"))
}

impl ToldPayment {
    fn listed(self) -> ListedPayment {
        ListedPayment {
            id: payment_called(self.number),
            order_id: self.order.parse().ok().map(OrderId::of),
            opened_at: self.opened_at,
            standing: self.standing().unwrap_or(Standing::Unreadable),
        }
    }

    fn standing(&self) -> Option<Standing> {
        let currency = Currency::from_code(&self.currency)?;
        let money = |amount| Money::new(amount, currency).ok();
        let state: PaymentState = self.state.parse().ok()?;
        let is_refunded = state == PaymentState::Captured && self.refunded >= self.captured;
        Some(Standing::Known {
            state: if is_refunded { PaymentState::Refunded } else { state },
            amount: money(self.amount)?,
            captured: money(self.captured)?,
            refunded: money(self.refunded)?,
        })
    }
}

impl ToldRefund {
    fn listed(self) -> Result<ListedRefund, ProviderError> {
        let state = self.state.parse::<AtProvider>();
        Ok(ListedRefund {
            id: format!("sandbox-refund-{}", self.number),
            payment: payment_called(self.payment),
            key: Some(self.key),
            state: state.map_err(|_unknown| nonsense("a refund in an unknown state"))?,
        })
    }
}

impl ToldPayout {
    fn listed(self) -> Result<Payout, ProviderError> {
        let id = format!("sandbox-payout-{}", self.number);
        let state = match self.state.as_str() {
            "paid" => PayoutState::Paid,
            "failed" => PayoutState::Failed { returned_by: Some(format!("{id}-returned")) },
            _ => PayoutState::Pending,
        };
        Ok(Payout {
            transaction: Some(format!("{id}-paid")),
            id,
            state,
            amount: self.amount,
            currency: currency_of(&self.currency)?,
            is_itemised: self.is_itemised,
        })
    }
}

impl ToldSettled {
    fn listed(self) -> Result<Settled, ProviderError> {
        Ok(Settled {
            id: format!("sandbox-balance-{}", self.number),
            kind: match self.kind.as_str() {
                "charge" => SettledKind::Charge,
                "refund" => SettledKind::Refund,
                "fee" => SettledKind::Fee,
                _ => SettledKind::Other,
            },
            payment: self.payment.map(payment_called),
            amount: self.amount,
            fee: self.fee,
            currency: currency_of(&self.currency)?,
        })
    }
}

#[async_trait]
impl ProviderLists for SandboxProvider {
    async fn list_payments(
        &self,
        Range { from, to }: Range,
        after: Option<&str>,
    ) -> Result<Page<ListedPayment>, ProviderError> {
        let after = number_after(after)?;
        let told = self.ask(&Request::ListPayments { from, to, after }).await?;
        page(told, |one: ToldPayment| Ok(one.listed()))
    }

    async fn list_refunds(
        &self,
        Range { from, to }: Range,
        after: Option<&str>,
    ) -> Result<Page<ListedRefund>, ProviderError> {
        let after = number_after(after)?;
        let told = self.ask(&Request::ListRefunds { from, to, after }).await?;
        page(told, ToldRefund::listed)
    }

    async fn list_payouts(
        &self,
        Range { from, to }: Range,
        after: Option<&str>,
    ) -> Result<Page<Payout>, ProviderError> {
        let after = number_after(after)?;
        let told = self.ask(&Request::ListPayouts { from, to, after }).await?;
        page(told, ToldPayout::listed)
    }

    async fn list_settled(
        &self,
        payout: &str,
        after: Option<&str>,
    ) -> Result<Page<Settled>, ProviderError> {
        let number = payout.strip_prefix("sandbox-payout-").and_then(|id| id.parse().ok());
        let (payout, after) = (number.ok_or(ProviderError::NotFound)?, number_after(after)?);
        let told = self.ask(&Request::ListSettled { payout, after }).await?;
        page(told, ToldSettled::listed)
    }

    async fn find(&self, payment: &PaymentId) -> Result<ListedPayment, ProviderError> {
        let payment = number_of(payment).map_err(|_other| ProviderError::NotFound)?;
        Ok(self.ask::<ToldPayment>(&Request::Find { payment }).await?.listed())
    }
}
