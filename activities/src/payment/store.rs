//! The shop's records of its customers' payments.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::event::{OrderEvent, PaymentMoved, Refused};
use domain::payment::PaymentState;
use domain::screening::RiskLevel;
use domain::{Charge, Money, Order, Rejection, StepKey, StepName};
use runtime::database::Db;
use serde_json::Value;

use super::port::{Payment, PaymentId};
use crate::ActivityFault;
use crate::idempotency::{self, Outcome, Recorded};
use crate::orders::{self, Begun};

/// The record of a payment, besides the step's idempotency record.
pub(super) struct Stored {
    pub(super) recorded: Recorded<Value>,
    pub(super) payment: Option<StoredPayment>,
    /// The deadline for replacing a payment of the order, if one was declined.
    pub(super) retry_until: Option<DateTime<Utc>>,
    /// When it was read, by the database's clock.
    pub(super) read_at: DateTime<Utc>,
}

pub(super) struct StoredPayment {
    pub(super) id: PaymentId,
    pub(super) attempt: u32,
    pub(super) state: PaymentState,
    pub(super) approvable_until: Option<DateTime<Utc>>,
    pub(super) replaceable_until: Option<DateTime<Utc>>,
    /// How long ago its id was stored.
    pub(super) age: Duration,
}

/// A wait for the customer, to be recorded.
pub(super) struct Wait<'a> {
    /// The payment's state.
    pub(super) state: PaymentState,
    /// The deadline.
    pub(super) until: DateTime<Utc>,
    /// The link for the customer's approval, if it has to be approved.
    pub(super) approval_url: Option<&'a str>,
    pub(super) event: OrderEvent,
}

/// The row of an order's payment.
struct Found {
    is_first_undone: bool,
    reference: Option<String>,
    attempt: Option<i32>,
    state: Option<String>,
    approvable_until: Option<DateTime<Utc>>,
    replaceable_until: Option<DateTime<Utc>>,
    recorded_at: Option<DateTime<Utc>>,
    retry_until: Option<DateTime<Utc>>,
    read_at: DateTime<Utc>,
}

/// Reads the order and its payment. An authorisation has its own payment; a capture, or its undo,
/// uses the order's newest one. Undoing the first authorisation attempt also undoes the later ones:
/// the undoing run need not know of them.
async fn find(db: Db<'_>, key: StepKey) -> Result<(orders::Row, Found), ActivityFault> {
    let own = (key.step == StepName::AuthorisePayment).then(|| key.to_string());
    Ok(orders::read_with!(
        db, key,
        columns: r#",
            $5::text is not null and exists (
                select from orders.step_keys as first
                where (first.order_id, first.step, first.version) = ($1, $6, $3)
                    and first.undone_at is not null
            ) as "is_first_undone!",
            newest.provider_reference as "provider_reference?", newest.attempt as "attempt?",
            newest.state as "state?", newest.approvable_until as "approvable_until?",
            newest.replaceable_until as "replaceable_until?",
            newest.recorded_at as "recorded_at?",
            (
                select min(declined.replaceable_until) from payments.charges as declined
                where declined.order_id = $1
            ) as "retry_until?",
            now() as "read_at!"
        "#,
        joins: r#"
            left join lateral (
                select
                    provider_reference, attempt, state, approvable_until, replaceable_until,
                    recorded_at
                from payments.charges
                where charges.order_id = $1 and ($5::text is null or charge_key = $5)
                order by attempt desc limit 1
            ) as newest on true
        "#,
        arguments: [own, StepName::AuthorisePayment.name()],
        |row| Found {
            is_first_undone: row.is_first_undone,
            reference: row.provider_reference,
            attempt: row.attempt,
            state: row.state,
            approvable_until: row.approvable_until,
            replaceable_until: row.replaceable_until,
            recorded_at: row.recorded_at,
            retry_until: row.retry_until,
            read_at: row.read_at,
        }
    ))
}

/// Reads what a step needs, as [`orders::begin`] does, together with its payment.
pub(super) async fn begin(db: Db<'_>, key: StepKey) -> Result<(Order, Stored), ActivityFault> {
    let (mut row, found) = find(db, key).await?;
    row.is_undone |= found.is_first_undone;
    let Begun { order, recorded } = row.begun(key)?;
    Ok((order, found.stored(recorded)?))
}

/// Reads the record of a payment.
pub(super) async fn read(db: Db<'_>, key: StepKey) -> Result<Stored, ActivityFault> {
    let (row, found) = find(db, key).await?;
    let recorded = Recorded::of(row.outcome, row.is_undone || found.is_first_undone)?;
    found.stored(recorded)
}

impl Found {
    fn stored(self, recorded: Recorded<Value>) -> Result<Stored, ActivityFault> {
        const DOING: &str = "looking up a payment";
        let Self { approvable_until, replaceable_until, retry_until, read_at, .. } = self;
        let payment = self.reference.zip(self.attempt).zip(self.state);
        let payment = payment.map(|((reference, attempt), state)| {
            let attempt =
                u32::try_from(attempt).map_err(|error| ActivityFault::broken(DOING, error))?;
            let state = state.parse().map_err(|error| ActivityFault::broken(DOING, error))?;
            let age = self.recorded_at.map(|stored_at| read_at.signed_duration_since(stored_at));
            let age = age.and_then(|age| age.to_std().ok()).unwrap_or_default();
            let id = PaymentId(reference);
            Ok(StoredPayment { id, attempt, state, approvable_until, replaceable_until, age })
        });
        Ok(Stored { recorded, payment: payment.transpose()?, retry_until, read_at })
    }
}

/// The attempts after this one that have a payment, the last first.
pub(super) async fn later_attempts(db: Db<'_>, key: StepKey) -> Result<Vec<u32>, ActivityFault> {
    const DOING: &str = "looking up an order's payments";
    let attempt =
        i32::try_from(key.attempt).map_err(|error| ActivityFault::broken(DOING, error))?;
    let later = sqlx::query_scalar!(
        "select attempt from payments.charges where order_id = $1 and attempt > $2
         order by attempt desc",
        key.order_id.uuid(),
        attempt,
    )
    .fetch_all(db)
    .await
    .map_err(|error| ActivityFault::of_database(DOING, error))?;
    let numbers = later.into_iter().map(u32::try_from).collect::<Result<_, _>>();
    numbers.map_err(|error| ActivityFault::broken(DOING, error))
}

/// Stores the id of a newly opened payment, together with the beginning of its step's idempotency
/// record; returns whether it did. Neither is stored if the step already has a payment, an answer
/// or a tombstone; or if it is a later attempt and the first one has a tombstone, because that undo
/// closes all payments stored before it.
pub(super) async fn store(
    db: Db<'_>,
    charge: &Charge,
    PaymentId(reference): &PaymentId,
) -> Result<bool, ActivityFault> {
    let Charge { key, amount, .. } = charge;
    let attempt = i32::try_from(key.attempt)
        .map_err(|error| ActivityFault::broken("storing a payment", error))?;
    let stored = sqlx::query!(
        r#"
        with first as materialized (
            -- A tombstone waits for this, or this finds it.
            select order_id from orders.step_keys
            where (order_id, step, version) = ($1, $9, $3) and undone_at is null
            for share
        ), begun as (
            insert into orders.step_keys (order_id, step, version)
            select $1::uuid, $2::text, $3::integer
            where $2::text = $9 or exists (select from first)
            on conflict do nothing
            returning order_id
        )
        insert into payments.charges
            (charge_key, order_id, attempt, provider_reference, currency, amount, state)
        select $4, order_id, $5, $6, $7, $8, 'opened' from begun
        "#,
        key.order_id.uuid(),
        key.name_on_record(),
        idempotency::version(*key)?,
        key.to_string(),
        attempt,
        reference,
        amount.currency().code(),
        amount.amount(),
        StepName::AuthorisePayment.name(),
    )
    .execute(db)
    .await
    .map_err(|error| ActivityFault::of_database("storing a payment", error))?;
    Ok(stored.rows_affected() > 0)
}

/// Records that a payment waits for the customer, once per state in which it waits, and only while
/// the step is neither answered nor undone.
pub(super) async fn record_wait(
    db: Db<'_>,
    key: StepKey,
    charge: &Charge,
    wait: &Wait<'_>,
) -> Result<(), ActivityFault> {
    let Wait { state, until, approval_url, event } = wait;
    let is_declined = *state == PaymentState::Declined;
    sqlx::query!(
        r#"
        with open as materialized (
            select order_id from orders.step_keys
            where (order_id, step, version) = ($1, $2, $3)
                and outcome is null and undone_at is null
            for update
        ), waiting as (
            update payments.charges
            set state = $5, approval_url = $6,
                approvable_until = coalesce($7, approvable_until),
                replaceable_until = coalesce($8, replaceable_until)
            from open where charge_key = $4 and state <> $5
            returning charges.order_id
        )
        select orders.record(order_id, $9, $10) as number from waiting
        "#,
        key.order_id.uuid(),
        key.name_on_record(),
        idempotency::version(key)?,
        charge.key.to_string(),
        state.name(),
        *approval_url,
        (!is_declined).then_some(*until),
        is_declined.then_some(*until),
        event.event_type().name(),
        idempotency::data(event)?,
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database("recording a wait for the customer", error))?;
    Ok(())
}

/// Records the step's answer with the payment's result; returns whether it did, or an answer was
/// already there. Without an event, what happened is already on record.
pub(super) async fn answer(
    db: Db<'_>,
    key: StepKey,
    outcome: &Value,
    event: Option<&OrderEvent>,
    charge: &Charge,
    payment: Option<&Payment>,
) -> Result<bool, ActivityFault> {
    let answered = sqlx::query!(
        r#"
        with taken as materialized (
            select orders.take_step($1, $2, $3, $4) as outcome
        ), kept as (
            update payments.charges
            set state = coalesce($6, state), captured = coalesce($7, captured),
                expires_at = coalesce($8, expires_at), approval_url = null,
                risk_level = coalesce($11, risk_level),
                method_country = coalesce($12, method_country)
            from taken where charge_key = $5 and outcome is not null
        )
        select case when $9::text is not null then orders.record($1, $9, $10) end as number
        from taken where outcome is not null
        "#,
        key.order_id.uuid(),
        key.name_on_record(),
        idempotency::version(key)?,
        outcome,
        charge.key.to_string(),
        payment.map(|payment| payment.state.name()),
        payment.map(|payment| payment.captured.amount()),
        payment.and_then(|payment| payment.expires_at),
        event.map(|event| event.event_type().name()),
        event.map(idempotency::data).transpose()?,
        payment.and_then(|payment| payment.risk).map(RiskLevel::name),
        payment.and_then(|payment| payment.method_country).map(|country| country.to_string()),
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database("recording a payment", error))?;
    Ok(answered.is_some())
}

/// Records that a payment was voided or refunded, once. `event` is given if it had held money.
pub(super) async fn record_return(
    db: Db<'_>,
    charge: &Charge,
    PaymentId(reference): &PaymentId,
    payment: &Payment,
    refund_key: &str,
    event: Option<&OrderEvent>,
) -> Result<(), ActivityFault> {
    sqlx::query!(
        r#"
        with returned as (
            update payments.charges
            set state = $2, captured = $3, refunded = $3, approval_url = null
            where charge_key = $1 and state <> $2
            returning charge_key, order_id, captured
        ), refund as (
            insert into payments.refunds
                (refund_key, charge_key, provider_reference, currency, amount)
            select $4, charge_key, $5, $6, captured from returned where captured > 0
        )
        select case when $7::text is not null then orders.record(order_id, $7, $8) end as number
        from returned
        "#,
        charge.key.to_string(),
        payment.state.name(),
        payment.captured.amount(),
        refund_key,
        reference,
        charge.amount.currency().code(),
        event.map(|event| event.event_type().name()),
        event.map(idempotency::data).transpose()?,
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database("recording what was given back", error))?;
    Ok(())
}

/// Records that a payment was voided because another replaced it: no event, because the order is
/// still to be paid.
pub(super) async fn record_replaced(db: Db<'_>, charge: &Charge) -> Result<(), ActivityFault> {
    sqlx::query!(
        "update payments.charges set state = 'voided', approval_url = null
         where charge_key = $1
            and state in ('opened', 'awaiting-customer', 'declined', 'authorised')",
        charge.key.to_string(),
    )
    .execute(db)
    .await
    .map_err(|error| ActivityFault::of_database("recording a payment", error))?;
    Ok(())
}

pub(super) fn moved(amount: Money, PaymentId(reference): &PaymentId) -> PaymentMoved {
    PaymentMoved { amount, provider_reference: reference.clone() }
}

/// A refusal in the form of the idempotency record, and as an event.
pub(super) fn refusal(
    rejection: Rejection,
    event: impl FnOnce(Refused) -> OrderEvent,
) -> (Value, OrderEvent) {
    let event = event(Refused { rejection: rejection.clone() });
    (Outcome::<()>::Refused(rejection).into_json(), event)
}
