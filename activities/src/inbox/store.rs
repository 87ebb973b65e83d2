//! The stored events, and the records that they are about.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::event::OrderEvent;
use domain::ledger::JournalEntry;
use domain::payment::PaymentState;
use domain::refund::{Parts, RefundId, RefundLine, RefundState};
use domain::{Currency, Money, OrderId, OrderStatus, ProviderEvent, StepKey};
use rust_decimal::Decimal;
use sqlx::PgPool;
use sqlx::postgres::types::PgInterval;
use sqlx::types::Json;
use strum::EnumString;

use super::Taken;
use crate::ActivityFault;
use crate::idempotency;
use crate::ledger::Columns;
use crate::payment::port::PaymentId;

/// The lease on an event. A call to the provider takes at most 20 s, and an event needs three.
const TAKEN_FOR: PgInterval = PgInterval { months: 0, days: 0, microseconds: 120_000_000 };

pub(super) async fn take(db: &PgPool, most: i64) -> Result<Vec<Taken>, ActivityFault> {
    sqlx::query_as!(
        Taken,
        r#"
        with due as (
            select event_id from inbox.events
            where state = 'open' and next_try_at <= now()
            order by next_try_at limit $1 for update skip locked
        )
        update inbox.events as event
        set attempts = event.attempts + 1, next_try_at = now() + $2
        from due where event.event_id = due.event_id
        returning event.event_id, type as event_type, object_kind, object_id, attempts
        "#,
        most,
        TAKEN_FOR,
    )
    .fetch_all(db)
    .await
    .map_err(|error| ActivityFault::of_database("taking events of the provider", error))
}

/// Closes the event.
pub(super) async fn settle(
    db: &PgPool,
    event: &Taken,
    state: &'static str,
) -> Result<(), ActivityFault> {
    sqlx::query!(
        "update inbox.events set state = $2, done_at = now(), last_error = null
         where event_id = $1 and state = 'open'",
        event.event_id,
        state,
    )
    .execute(db)
    .await
    .map(|_settled| ())
    .map_err(|error| ActivityFault::of_database("settling an event of the provider", error))
}

/// Keeps the event open for this reason, and schedules the next attempt; unless another worker has
/// taken it meanwhile.
pub(super) async fn postpone(
    db: &PgPool,
    event: &Taken,
    why: &str,
    pause: Duration,
) -> Result<(), ActivityFault> {
    sqlx::query!(
        "update inbox.events set next_try_at = now() + $3, last_error = $4
         where event_id = $1 and attempts = $2 and state = 'open'",
        event.event_id,
        event.attempts,
        interval(pause),
        why,
    )
    .execute(db)
    .await
    .map(|_postponed| ())
    .map_err(|error| ActivityFault::of_database("postponing an event of the provider", error))
}

/// Records new events; returns how many were new.
pub(super) async fn insert(db: &PgPool, events: &[ProviderEvent]) -> Result<u64, ActivityFault> {
    let column = |of: fn(&ProviderEvent) -> String| events.iter().map(of).collect::<Vec<_>>();
    let (ids, types) = (column(|event| event.id.clone()), column(|event| event.event_type.clone()));
    let kinds = column(|event| event.object_kind.clone());
    // An object's id is never empty, so an empty text stands for none.
    let objects = column(|event| event.object_id.clone().unwrap_or_default());
    let moments: Vec<_> = events.iter().map(|event| event.happened_at).collect();
    let inserted = sqlx::query!(
        r#"
        insert into inbox.events (event_id, type, object_kind, object_id, happened_at)
        select id, type, kind, nullif(object, ''), moment
        from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
            as event (id, type, kind, object, moment)
        on conflict do nothing
        "#,
        &ids,
        &types,
        &kinds,
        &objects,
        &moments,
    )
    .execute(db)
    .await
    .map_err(|error| ActivityFault::of_database("keeping events of the provider", error))?;
    Ok(inserted.rows_affected())
}

pub(super) async fn sweep(db: &PgPool, kept_days: u16, at_most: i32) -> Result<i64, ActivityFault> {
    let kept_for = PgInterval { months: 0, days: kept_days.into(), microseconds: 0 };
    sqlx::query_scalar!(r#"select inbox.sweep($1, $2) as "removed!""#, kept_for, at_most)
        .fetch_one(db)
        .await
        .map_err(|error| ActivityFault::of_database("removing events of the provider", error))
}

fn interval(duration: Duration) -> PgInterval {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}

/// A payment on record, and its order.
pub(super) struct Charge {
    pub(super) key: String,
    pub(super) order_id: OrderId,
    pub(super) state: PaymentState,
    /// The status of its order.
    pub(super) status: OrderStatus,
    record_version: u32,
}

impl Charge {
    /// Whether this is the key of a refund that the shop has requested.
    pub(super) fn is_key_of(&self, known: &Known, key: &str) -> bool {
        known.id(self).key(self.record_version).to_string() == key
    }

    /// Whether this is the key of the refund made by the order's undo.
    pub(super) fn is_key_of_its_undo(&self, key: &str) -> bool {
        key.strip_suffix(":refund").is_some_and(|charge| charge == self.key)
    }

    /// The key of the order's next refund.
    pub(super) fn next_key(&self, known: &[Known]) -> Result<StepKey, ActivityFault> {
        let last = known.iter().map(|one| one.number).max().unwrap_or_default();
        let number = last.checked_add(1);
        let number =
            number.ok_or_else(|| ActivityFault::broken("naming a refund", "too many refunds"))?;
        Ok(RefundId { order_id: self.order_id, number }.key(self.record_version))
    }
}

/// The payment with this provider id; `None` if it is not on record, or not yet.
pub(super) async fn charge(
    db: &PgPool,
    PaymentId(reference): &PaymentId,
) -> Result<Option<Charge>, ActivityFault> {
    const DOING: &str = "looking for a payment";
    let row = sqlx::query!(
        r#"
        select charge_key, order_id, charges.state, status_data, record_version
        from payments.charges join orders.orders using (order_id)
        where charges.provider_reference = $1
        "#,
        reference,
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database(DOING, error))?;
    let Some(row) = row else { return Ok(None) };
    let state = row.state.parse::<PaymentState>();
    let status = serde_json::from_value(row.status_data);
    Ok(Some(Charge {
        key: row.charge_key,
        order_id: OrderId::of(row.order_id),
        state: state.map_err(|error| ActivityFault::broken(DOING, error))?,
        status: status.map_err(|error| ActivityFault::broken(DOING, error))?,
        record_version: u32::try_from(row.record_version)
            .map_err(|error| ActivityFault::broken(DOING, error))?,
    }))
}

/// A refund on record.
pub(super) struct Known {
    number: u32,
    pub(super) state: RefundState,
    pub(super) amount: Money,
    pub(super) parts: Parts,
    pub(super) lines: Vec<RefundLine>,
    /// Whether somebody made it at the provider.
    pub(super) is_from_outside: bool,
    provider_reference: Option<String>,
    /// The provider's id of the refund that failed last and that a person was told of.
    failed_reference: Option<String>,
}

impl Known {
    pub(super) const fn id(&self, charge: &Charge) -> RefundId {
        RefundId { order_id: charge.order_id, number: self.number }
    }

    /// Whether this is the provider's id of a refund made for it.
    pub(super) fn is_named(&self, reference: &str) -> bool {
        self.provider_reference.as_deref() == Some(reference)
    }

    /// Whether a person was told that the refund with this provider id has failed.
    pub(super) fn has_failed_as(&self, reference: &str) -> bool {
        self.failed_reference.as_deref() == Some(reference)
    }

    /// Whether it gives money back, or may.
    pub(super) const fn gives_back(&self) -> bool {
        match self.state {
            RefundState::Requested | RefundState::Pending | RefundState::Succeeded => true,
            RefundState::Failed | RefundState::Cancelled => false,
        }
    }
}

/// The refunds of a payment's order, in order.
pub(super) async fn refunds(db: &PgPool, charge: &Charge) -> Result<Vec<Known>, ActivityFault> {
    const DOING: &str = "reading an order's refunds";
    let rows = sqlx::query!(
        r#"
        select number, state, currency, amount, goods, goods_tax, shipping, shipping_tax,
            lines as "lines: Json<Vec<RefundLine>>", is_from_outside, provider_reference,
            failed_reference
        from payments.refund_requests where order_id = $1 order by number
        "#,
        charge.order_id.uuid(),
    )
    .fetch_all(db)
    .await
    .map_err(|error| ActivityFault::of_database(DOING, error))?;
    let unusable = |what: &'static str| ActivityFault::broken(DOING, what);
    let refunds = rows.into_iter().map(|row| {
        let currency =
            Currency::from_code(&row.currency).ok_or_else(|| unusable("its currency"))?;
        let money =
            |amount: Decimal| Money::new(amount, currency).map_err(|_wrong| unusable("an amount"));
        Ok(Known {
            number: u32::try_from(row.number).map_err(|_negative| unusable("its number"))?,
            state: row.state.parse().map_err(|_unknown| unusable("its state"))?,
            amount: money(row.amount)?,
            parts: Parts {
                goods: money(row.goods)?,
                goods_tax: money(row.goods_tax)?,
                shipping: money(row.shipping)?,
                shipping_tax: money(row.shipping_tax)?,
            },
            lines: row.lines.0,
            is_from_outside: row.is_from_outside,
            provider_reference: row.provider_reference,
            failed_reference: row.failed_reference,
        })
    });
    refunds.collect()
}

/// The result of reversing a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString)]
#[strum(serialize_all = "kebab-case")]
pub(super) enum Reversing {
    /// It was reversed.
    Reversed,
    /// Its record has changed meanwhile.
    Changed,
    /// Another refund of the order is in progress.
    UnderWay,
}

/// Reverses a refund whose money came back; fills in the amount still given back in `event`.
pub(super) async fn reverse(
    db: &PgPool,
    RefundId { order_id, number }: RefundId,
    reference: &str,
    why: &str,
    event: &OrderEvent,
) -> Result<Reversing, ActivityFault> {
    const DOING: &str = "taking back a refund";
    let outcome = sqlx::query_scalar!(
        r#"select payments.reverse_refund($1, $2, $3, $4, $5) as "outcome!""#,
        order_id.uuid(),
        i32::try_from(number).map_err(|error| ActivityFault::broken(DOING, error))?,
        reference,
        why,
        idempotency::data(event)?,
    )
    .fetch_one(db)
    .await
    .map_err(|error| ActivityFault::of_database(DOING, error))?;
    outcome.parse().map_err(|error| ActivityFault::broken(DOING, error))
}

/// A refund that somebody made at the provider, with its computed parts.
pub(super) struct FromOutside<'a> {
    pub(super) charge: &'a Charge,
    /// The sum that earlier refunds claim.
    pub(super) claimed: Money,
    pub(super) parts: Parts,
    pub(super) entry: &'a JournalEntry,
    pub(super) reference: &'a str,
    /// The events: requested, succeeded, posted. The second gets the amount left of the payment.
    pub(super) events: [&'a OrderEvent; 3],
}

/// The result of recording it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString)]
#[strum(serialize_all = "kebab-case")]
pub(super) enum Recording {
    /// It was recorded and posted.
    Recorded,
    /// It was already recorded.
    Repeated,
    /// Another refund came or ended meanwhile.
    Changed,
    /// The order has not ended as completed.
    NotCompleted,
    /// It is more than is left.
    TooMuch,
}

/// Records and posts a refund that somebody made at the provider, if nothing has changed since its
/// parts were computed.
pub(super) async fn record(
    db: &PgPool,
    refund: &FromOutside<'_>,
) -> Result<Recording, ActivityFault> {
    const DOING: &str = "recording a refund of the provider's";
    let FromOutside { charge, claimed, parts, entry, reference, events } = refund;
    let Parts { goods, goods_tax, shipping, shipping_tax } = *parts;
    let amounts = [goods, goods_tax, shipping, shipping_tax].map(Money::amount).to_vec();
    let RefundId { number, .. } = RefundId::of_key(entry.key());
    let columns = Columns::of(entry.entries());
    let [requested, succeeded, posted] = *events;
    let outcome = sqlx::query_scalar!(
        r#"
        select payments.record_outside_refund(
            $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12
        ) as "outcome!"
        "#,
        charge.key,
        i32::try_from(number).map_err(|error| ActivityFault::broken(DOING, error))?,
        claimed.amount(),
        *reference,
        entry.key().to_string(),
        &amounts,
        &columns.accounts,
        &columns.sides,
        &columns.amounts,
        idempotency::data(requested)?,
        idempotency::data(succeeded)?,
        idempotency::data(posted)?,
    )
    .fetch_one(db)
    .await
    .map_err(|error| ActivityFault::of_database(DOING, error))?;
    outcome.parse().map_err(|error| ActivityFault::broken(DOING, error))
}

/// Takes the lease on the provider's list of events, if it is due and not leased; returns the
/// cursor. At first it starts three days back, which is as long as webhooks are repeated.
pub(super) async fn take_feed(
    db: &PgPool,
    provider: &str,
    taken_for: Duration,
) -> Result<Option<DateTime<Utc>>, ActivityFault> {
    sqlx::query_scalar!(
        r#"
        insert into inbox.feeds as feed (provider, read_until, due_at)
        values ($1, now() - interval '3 days', now() + $2)
        on conflict (provider) do update set due_at = excluded.due_at where feed.due_at <= now()
        returning read_until
        "#,
        provider,
        interval(taken_for),
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database("taking the provider's list of events", error))
}

/// Advances the cursor to this moment, never backwards, and schedules the next read.
pub(super) async fn leave_feed(
    db: &PgPool,
    provider: &str,
    read_until: Option<DateTime<Utc>>,
    pause: Duration,
) -> Result<(), ActivityFault> {
    sqlx::query!(
        "update inbox.feeds
         set read_until = greatest(read_until, $2), due_at = now() + $3
         where provider = $1",
        provider,
        read_until,
        interval(pause),
    )
    .execute(db)
    .await
    .map(|_left| ())
    .map_err(|error| ActivityFault::of_database("leaving the provider's list of events", error))
}
