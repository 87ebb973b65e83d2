//! Disputes on record.

use domain::dispute::{Change, Claim, DisputeFacts, Movement, Recorded};
use domain::event::OrderEvent;
use domain::{Currency, Money, OrderId};
use runtime::database::Db;
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use crate::ActivityFault;
use crate::idempotency;
use crate::ledger::Columns;

const DOING: &str = "recording a dispute";

/// The payment that a dispute is about.
pub(super) struct Payment {
    pub(super) order_id: OrderId,
    charge_key: String,
    pub(super) captured: Money,
    pub(super) refunded: Money,
}

/// The record of a dispute and of the other disputes about the same payment.
pub(super) struct Known {
    /// Counts the order's disputes, from 1.
    pub(super) number: u32,
    pub(super) recorded: Option<Recorded>,
    /// Whether the dispute was lost before.
    pub(super) was_lost: bool,
    pub(super) others: Vec<Claim>,
}

fn fault(error: sqlx::Error) -> ActivityFault {
    ActivityFault::of_database(DOING, error)
}

fn unusable(what: &'static str) -> ActivityFault {
    ActivityFault::broken(DOING, format!("{what} is not usable as the database has it"))
}

fn money(amount: Decimal, currency: &str) -> Result<Money, ActivityFault> {
    let currency = Currency::from_code(currency).ok_or_else(|| unusable("a currency"))?;
    Money::new(amount, currency).map_err(|_wrong| unusable("an amount"))
}

pub(super) async fn begin(db: &PgPool) -> Result<Transaction<'static, Postgres>, ActivityFault> {
    db.begin().await.map_err(fault)
}

pub(super) async fn commit(
    transaction: Transaction<'static, Postgres>,
) -> Result<(), ActivityFault> {
    transaction.commit().await.map_err(fault)
}

/// Locks the order of the payment with this provider id, and reads the payment. The order is locked
/// first, as everywhere, to prevent deadlocks.
pub(super) async fn payment(
    db: &mut PgConnection,
    reference: &str,
) -> Result<Option<Payment>, ActivityFault> {
    let order_id = sqlx::query_scalar!(
        "select order_id from orders.orders where order_id = (
             select order_id from payments.charges where provider_reference = $1 limit 1
         ) for no key update",
        reference,
    )
    .fetch_optional(&mut *db)
    .await
    .map_err(fault)?;
    let Some(order_id) = order_id else { return Ok(None) };
    // A separate statement, so that it sees what was committed while the lock was awaited.
    let row = sqlx::query!(
        "select charge_key, currency, captured, refunded from payments.charges
         where provider_reference = $1 and order_id = $2 order by attempt desc limit 1",
        reference,
        order_id,
    )
    .fetch_optional(db)
    .await
    .map_err(fault)?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Payment {
        order_id: OrderId::of(order_id),
        charge_key: row.charge_key,
        captured: money(row.captured, &row.currency)?,
        refunded: money(row.refunded, &row.currency)?,
    }))
}

/// The record of the dispute; a new one gets the next number of its order.
pub(super) async fn known(
    db: &mut PgConnection,
    payment: &Payment,
    dispute_id: &str,
) -> Result<Known, ActivityFault> {
    let rows = sqlx::query!(
        "select dispute_id, number, charge_key, status, is_lost, evidence_due
         from payments.disputes where order_id = $1 order by number",
        payment.order_id.uuid(),
    )
    .fetch_all(&mut *db)
    .await
    .map_err(fault)?;
    let mut number = u32::try_from(rows.len()).unwrap_or(u32::MAX).saturating_add(1);
    let (mut recorded, mut was_lost, mut others) = (None, false, Vec::new());
    for row in rows {
        let status = row.status.parse().map_err(|_unknown| unusable("a status"))?;
        if row.dispute_id == dispute_id {
            number = u32::try_from(row.number).map_err(|_wrong| unusable("a number"))?;
            let movements = movements(db, dispute_id).await?;
            was_lost = row.is_lost;
            recorded = Some(Recorded { status, evidence_due: row.evidence_due, movements });
        } else if row.charge_key == payment.charge_key {
            others.push(Claim { status, is_lost: row.is_lost });
        }
    }
    Ok(Known { number, recorded, was_lost, others })
}

async fn movements(
    db: &mut PgConnection,
    dispute_id: &str,
) -> Result<Vec<Movement>, ActivityFault> {
    let rows = sqlx::query!(
        "select reference, kind, currency, amount from payments.dispute_movements
         where dispute_id = $1",
        dispute_id,
    )
    .fetch_all(db)
    .await
    .map_err(fault)?;
    let movements = rows.into_iter().map(|row| {
        Ok(Movement {
            kind: row.kind.parse().map_err(|_unknown| unusable("a movement"))?,
            amount: money(row.amount, &row.currency)?,
            reference: row.reference,
        })
    });
    movements.collect()
}

/// Stores a snapshot that is newer than the record. An operator is asked while the dispute waits
/// for an answer, and asked again if it returns to that status.
pub(super) async fn keep(
    db: &mut PgConnection,
    payment: &Payment,
    number: u32,
    facts: &DisputeFacts,
    change: &Change,
) -> Result<(), ActivityFault> {
    let DisputeFacts { dispute_id, amount, reason, evidence_due, .. } = facts;
    let number = i32::try_from(number).map_err(|error| ActivityFault::broken(DOING, error))?;
    sqlx::query!(
        r#"
        insert into payments.disputes as known (
            dispute_id, order_id, number, charge_key, currency, amount, status, is_lost, reason,
            evidence_due, asked_at
        ) values (
            $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, case when $11 then clock_timestamp() end
        )
        on conflict (dispute_id) do update set
            currency = excluded.currency, amount = excluded.amount, status = excluded.status,
            is_lost = excluded.is_lost, reason = excluded.reason,
            evidence_due = excluded.evidence_due,
            asked_at = case
                when known.status = excluded.status then known.asked_at else excluded.asked_at end,
            released_at = case
                when known.status = excluded.status or not $11 then known.released_at end,
            released_by = case
                when known.status = excluded.status or not $11 then known.released_by end,
            released_why = case
                when known.status = excluded.status or not $11 then known.released_why end,
            updated_at = clock_timestamp()
        "#,
        dispute_id,
        payment.order_id.uuid(),
        number,
        payment.charge_key,
        amount.currency().code(),
        amount.amount(),
        change.status.name(),
        change.is_lost,
        reason,
        *evidence_due,
        change.status.needs_answer(),
    )
    .execute(db)
    .await
    .map(|_kept| ())
    .map_err(fault)
}

/// Appends an event to the order's record.
pub(super) async fn tell(
    db: &mut PgConnection,
    order_id: OrderId,
    event: &OrderEvent,
) -> Result<(), ActivityFault> {
    sqlx::query_scalar!(
        "select orders.record($1, $2, $3)",
        order_id.uuid(),
        event.event_type().name(),
        idempotency::data(event)?,
    )
    .fetch_one(db)
    .await
    .map(|_number| ())
    .map_err(fault)
}

/// Records a movement and posts it to the ledger, both under the same key.
pub(super) async fn book(
    db: &mut PgConnection,
    order_id: OrderId,
    dispute_id: &str,
    movement: &Movement,
    posted: &OrderEvent,
) -> Result<(), ActivityFault> {
    let columns = Columns::of(&movement.entries());
    let Movement { reference, kind, amount } = movement;
    sqlx::query_scalar!(
        r#"
        with moved as (
            insert into payments.dispute_movements
                (dispute_id, reference, kind, currency, amount)
            values ($1, $2, $3, $4, $5)
            returning dispute_id
        ), booked as (
            insert into ledger.transactions (key, order_id) select $6, $7::uuid from moved
            returning transaction_id
        ), entry as (
            insert into ledger.entries (transaction_id, line, account, side, amount, currency)
            select transaction_id, line, account, side, amount, currency
            from booked, unnest($8::text[], $9::text[], $10::numeric[], $11::text[])
                with ordinality as entry (account, side, amount, currency, line)
        )
        select orders.record($7, $12, $13) as number from booked
        "#,
        dispute_id,
        reference,
        kind.name(),
        amount.currency().code(),
        amount.amount(),
        movement.key(dispute_id),
        order_id.uuid(),
        &columns.accounts,
        &columns.sides,
        &columns.amounts,
        &columns.currencies,
        posted.event_type().name(),
        idempotency::data(posted)?,
    )
    .fetch_one(db)
    .await
    .map(|_number| ())
    .map_err(fault)
}

/// The disputes about a payment.
pub(super) async fn claims(db: Db<'_>, charge_key: &str) -> Result<Vec<Claim>, ActivityFault> {
    let rows = sqlx::query!(
        "select status, is_lost from payments.disputes where charge_key = $1 order by number",
        charge_key,
    )
    .fetch_all(db)
    .await
    .map_err(fault)?;
    let claims = rows.into_iter().map(|row| {
        let status = row.status.parse().map_err(|_unknown| unusable("a status"))?;
        Ok(Claim { status, is_lost: row.is_lost })
    });
    claims.collect()
}

/// The lost dispute that gave the customer the whole unrefunded amount, and that amount; under the
/// order's lock.
pub(super) async fn given_by_bank(
    db: &mut PgConnection,
    order_id: OrderId,
    charge_key: &str,
) -> Result<Option<(String, Money)>, ActivityFault> {
    sqlx::query_scalar!(
        "select order_id from orders.orders where order_id = $1 for no key update",
        order_id.uuid(),
    )
    .fetch_optional(&mut *db)
    .await
    .map_err(fault)?;
    let row = sqlx::query!(
        r#"
        select dispute_id, charges.currency, captured - refunded as "paid!"
        from payments.disputes join payments.charges using (charge_key)
        where charge_key = $1 and is_lost and captured > refunded
            and (
                select sum(case kind when 'lost' then moved.amount else -moved.amount end)
                from payments.dispute_movements as moved
                where moved.dispute_id = disputes.dispute_id
                    and moved.currency = charges.currency and kind in ('lost', 'recovered')
            ) >= captured - refunded
        order by number limit 1
        "#,
        charge_key,
    )
    .fetch_optional(db)
    .await
    .map_err(fault)?;
    let found = row.map(|row| Ok((row.dispute_id, money(row.paid, &row.currency)?)));
    found.transpose()
}

/// Whether a movement is on record.
pub(super) async fn is_booked(
    db: &mut PgConnection,
    dispute_id: &str,
    movement: &Movement,
) -> Result<bool, ActivityFault> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select from payments.dispute_movements
            where dispute_id = $1 and reference = $2 and kind = $3
        ) as "is_booked!"
        "#,
        dispute_id,
        movement.reference,
        movement.kind.name(),
    )
    .fetch_one(db)
    .await
    .map_err(fault)
}
