//! I2, I4 and I9 for disputes: every movement by a customer's bank is booked once and as what it
//! is, the order shows the dispute, and an operator is asked.

use sqlx::PgConnection;

use super::{Finding, Scope, Seen};

pub(super) async fn look(
    db: &mut PgConnection,
    scope: &Scope,
) -> Result<Vec<Finding>, sqlx::Error> {
    Ok(vec![
        Finding::of(
            "I2",
            "each movement of a dispute is booked once, as what it is",
            "movements",
            booked(db, scope).await?,
        ),
        Finding::of(
            "I2",
            "what a dispute has lost is what was not reinstated",
            "disputes",
            lost(db, scope).await?,
        ),
        Finding::of(
            "I4",
            "an order is disputed as long as a bank has its payment",
            "orders",
            disputed(db, scope).await?,
        ),
        Finding::of(
            "I9",
            "no dispute waits for an answer without asking an operator",
            "disputes",
            asked(db, scope).await?,
        ),
    ])
}

/// Holds at every moment: a movement and its booking are written in one transaction, under one
/// name.
async fn booked(db: &mut PgConnection, scope: &Scope) -> Result<Seen, sqlx::Error> {
    sqlx::query_as!(
        Seen,
        r#"
        with moved as (
            select concat_ws(':', 'dispute', dispute_id, reference, kind) as key, order_id,
                moved.currency, moved.amount,
                case
                    when kind in ('withdrawn', 'recovered') then 'disputed-payments'
                    when kind = 'fee' then 'dispute-fees'
                    when kind = 'lost' then 'dispute-losses'
                    else 'payment-clearing'
                end as debit,
                case
                    when kind in ('withdrawn', 'fee') then 'payment-clearing'
                    when kind in ('reinstated', 'lost') then 'disputed-payments'
                    when kind = 'fee-returned' then 'dispute-fees'
                    else 'dispute-losses'
                end as credit
            from payments.disputes join payments.dispute_movements as moved using (dispute_id)
            where $1::uuid[] is null or order_id = any ($1)
        ), booked as (
            select key, order_id, count(*) as entries, min(amount) as smallest, max(amount) as largest,
                min(currency) as currency,
                min(account) filter (where side = 'debit') as debit,
                min(account) filter (where side = 'credit') as credit
            from ledger.transactions join ledger.entries using (transaction_id)
            where key like 'dispute:%' and reverses is null and (
                $1 is null or order_id = any ($1) or order_id is null and transaction_id > $2
            )
            group by key, order_id
        ), checked as (
            select case
                when moved.key is null then format('%s is booked, and was not moved', booked.key)
                when booked.key is null
                then format('%s of %s %s is not booked', moved.key, moved.amount, moved.currency)
                when entries <> 2 or smallest <> moved.amount or largest <> moved.amount
                    or booked.currency <> moved.currency
                    or booked.order_id is distinct from moved.order_id
                    or booked.debit is distinct from moved.debit
                    or booked.credit is distinct from moved.credit
                then format('%s of %s %s is booked as %s %s, from %s to %s', moved.key,
                    moved.amount, moved.currency, largest, booked.currency, booked.credit,
                    booked.debit)
            end as complaint
            from moved full join booked using (key)
        )
        select
            count(*) as "looked_at!",
            count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
        scope.orders(),
        scope.closed_through(),
    )
    .fetch_one(db)
    .await
}

/// As in `domain::dispute`: an open dispute has lost nothing yet, and the money of a won one may
/// not have been returned yet.
async fn lost(db: &mut PgConnection, scope: &Scope) -> Result<Seen, sqlx::Error> {
    sqlx::query_as!(
        Seen,
        r#"
        with summed as (
            select dispute_id, status, is_open,
                coalesce(sum(moved.amount) filter (where kind = 'withdrawn'), 0) as withdrawn,
                coalesce(sum(moved.amount) filter (where kind = 'reinstated'), 0) as reinstated,
                coalesce(sum(moved.amount) filter (where kind = 'lost'), 0)
                    - coalesce(sum(moved.amount) filter (where kind = 'recovered'), 0) as lost
            from payments.disputes
            left join payments.dispute_movements as moved using (dispute_id)
            where $1::uuid[] is null or order_id = any ($1)
            group by dispute_id, status, is_open
        ), checked as (
            select case
                when lost <> case
                    when is_open or status in ('won', 'warning-closed') and reinstated = 0 then 0
                    else greatest(withdrawn - reinstated, 0)
                end
                then format('dispute %s, %s: of %s, %s was reinstated and %s is lost',
                    dispute_id, status, withdrawn, reinstated, lost)
            end as complaint
            from summed
        )
        select
            count(*) as "looked_at!",
            count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
        scope.orders(),
    )
    .fetch_one(db)
    .await
}

async fn disputed(db: &mut PgConnection, scope: &Scope) -> Result<Seen, sqlx::Error> {
    sqlx::query_as!(
        Seen,
        r#"
        with dispute as (
            select order_id, bool_or(has_payment) as has_payment from payments.disputes
            where $1::uuid[] is null or order_id = any ($1)
            group by order_id
        ), checked as (
            select case
                when coalesce(has_payment, false)
                    and payment_status in ('paid', 'partially-refunded')
                then format('order %s is %s, and a bank has its payment', order_id, payment_status)
                when payment_status = 'disputed' and not coalesce(has_payment, false)
                then format('order %s is disputed, and no bank has its payment', order_id)
            end as complaint
            from orders.orders left join dispute using (order_id)
            where (payment_status = 'disputed' or dispute.order_id is not null)
                and ($1 is null or order_id = any ($1))
        )
        select
            count(*) as "looked_at!",
            count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
        scope.orders(),
    )
    .fetch_one(db)
    .await
}

/// A recent proof checks all open disputes: a dispute is open for weeks, and few are.
async fn asked(db: &mut PgConnection, scope: &Scope) -> Result<Seen, sqlx::Error> {
    sqlx::query_as!(
        Seen,
        r#"
        with checked as (
            select case
                when status in ('needs-response', 'warning-needs-response')
                    and asked_at is null and released_at is null
                then format('dispute %s of order %s waits for an answer until %s, and nobody is asked',
                    dispute_id, order_id, coalesce(evidence_due::text, 'whenever'))
                when status not in ('needs-response', 'warning-needs-response')
                    and asked_at is not null
                then format('dispute %s of order %s is %s, and somebody is asked to answer it',
                    dispute_id, order_id, status)
            end as complaint
            from payments.disputes
            where $1::uuid[] is null or order_id = any ($1) or is_open or asked_at is not null
        )
        select
            count(*) as "looked_at!",
            count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
        scope.orders(),
    )
    .fetch_one(db)
    .await
}
