//! I15: every sale is invoiced once, for the amount charged; every refund is credited once, for the
//! amount refunded; and the numbers have no gaps.

use sqlx::PgConnection;

use super::{Finding, Scope, Seen};

const CHARGED: &str = "an invoice comes to its order's charge, to the coin";
const GIVEN_BACK: &str =
    "a credit note comes to what it gives back, and all to their invoice at most";
const NUMBERED: &str = "invoices and credit notes are numbered without a gap";
const INVOICED: &str =
    "every order that was sold has an invoice, is parked, or was sold within the hour";
const CREDITED: &str = "every refund has a credit note, is parked, or was made within the hour";

const NOT_ISSUED: &str = "no invoices are issued here";
const PAUSED: &str = "an operator has paused the sink that issues invoices";

pub(super) async fn look(
    db: &mut PgConnection,
    scope: &Scope,
) -> Result<Vec<Finding>, sqlx::Error> {
    let mut findings =
        vec![charged(db, scope).await?, given_back(db, scope).await?, numbered(db, scope).await?];
    let sink = sqlx::query_scalar!(
        r#"
        select paused_at is not null as "is_paused!" from outbox.sinks where sink = 'invoices'
        "#
    )
    .fetch_optional(&mut *db)
    .await?;
    match sink {
        None => findings.extend(not_shown(NOT_ISSUED)),
        Some(true) => findings.extend(not_shown(PAUSED)),
        Some(false) => {
            findings.extend([invoiced(db, scope).await?, credited(db, scope).await?]);
        }
    }
    Ok(findings)
}

fn not_shown(why: &'static str) -> [Finding; 2] {
    [INVOICED, CREDITED].map(|promise| Finding::not_shown("I15", promise, why))
}

async fn charged(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with checked as (
            select case when (invoice.total, invoice.tax, invoice.currency)
                    is distinct from (placed.total, placed.tax, placed.currency)
                or invoice.total is distinct from coalesce((
                    select sum(captured) from payments.charges
                    where charges.order_id = invoice.order_id
                ), 0)
            then format('%s of order %s comes to %s %s, and the order to %s %s', invoice.number,
                invoice.order_id, invoice.total, invoice.currency, placed.total, placed.currency)
            end as complaint
            from invoices.invoices as invoice
            left join orders.orders as placed using (order_id)
            where invoice.kind = 'invoice' and invoice.refund is null
                and ($1::uuid[] is null or invoice.order_id = any ($1))
        )
        select count(*) as "looked_at!", count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
        scope.orders(),
    )
    .fetch_one(db)
    .await?;
    Ok(Finding::of("I15", CHARGED, "invoices", seen))
}

/// A failed refund is invoiced again, and that amount is subtracted from the credit.
async fn given_back(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with checked as (
            select case
                when note.refund is not null and (note.net, note.tax) is distinct from
                    (asked.goods + asked.shipping, asked.goods_tax + asked.shipping_tax)
                then format('%s of order %s is not what refund %s consists of', note.number,
                    note.order_id, note.refund)
                when note.refund is null and (note.net, note.tax, note.currency)
                    is distinct from (corrected.net, corrected.tax, corrected.currency)
                then format('%s of order %s does not take all of %s back', note.number,
                    note.order_id, corrected.number)
                when (
                    select sum(case other.kind when 'invoice' then other.total else -other.total end)
                    from invoices.invoices as other where other.order_id = note.order_id
                ) < 0
                then format('order %s was credited more than it was invoiced', note.order_id)
            end as complaint
            from invoices.invoices as note
            join invoices.invoices as corrected on corrected.invoice_id = note.corrects
            left join payments.refund_requests as asked
                on asked.order_id = note.order_id and asked.number = note.refund
            where $1::uuid[] is null or note.order_id = any ($1)
        )
        select count(*) as "looked_at!", count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
        scope.orders(),
    )
    .fetch_one(db)
    .await?;
    Ok(Finding::of("I15", GIVEN_BACK, "credit notes", seen))
}

async fn numbered(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    if let Some(left_out) = scope.leaves_out("I15", NUMBERED) {
        return Ok(left_out);
    }
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with counted as (
            select prefix, next_number, count(serial) as documents, max(serial) as last
            from invoices.series left join invoices.invoices using (series_id)
            group by series_id
        ), checked as (
            select documents, case when next_number - 1 <> documents or last <> documents
                then format('of the series %s so many numbers were taken: %s, and so many '
                    || 'documents are there: %s', prefix, next_number - 1, documents)
            end as complaint
            from counted
        )
        select coalesce(sum(documents), 0)::bigint as "looked_at!",
            count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
    )
    .fetch_one(db)
    .await?;
    Ok(Finding::of("I15", NUMBERED, "documents", seen))
}

/// Orders sold before the sink existed are exempt.
async fn invoiced(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with sold as (
            select order_id, max(occurred_at) as sold_at
            from orders.orders join orders.order_events using (order_id)
            where status = 'completed' and type = 'order.completed'
                and ($1::uuid[] is null or order_id = any ($1))
            group by order_id
        ), checked as (
            select case when sold_at < now() - interval '1 hour'
                and not exists (
                    select from invoices.invoices
                    where invoices.order_id = sold.order_id and kind = 'invoice' and refund is null
                ) and not exists (
                    select from outbox.parked
                    where sink = 'invoices' and aggregateid = sold.order_id::text
                )
            then format('order %s was sold and has no invoice', order_id)
            end as complaint
            from sold join outbox.sinks on sink = 'invoices' and sold_at >= created_at
        )
        select count(*) as "looked_at!", count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
        scope.orders(),
    )
    .fetch_one(&mut *db)
    .await?;
    let parked = sqlx::query_scalar!(
        r#"
        select count(distinct aggregateid) as "parked!" from outbox.parked where sink = 'invoices'
        "#
    )
    .fetch_one(db)
    .await?;
    let remark = (parked > 0).then(|| format!("{parked} orders are parked"));
    Ok(Finding::of("I15", INVOICED, "orders", seen).with_remark(remark))
}

async fn credited(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with made as (
            select order_id, (data ->> 'number')::integer as number, max(occurred_at) as made_at
            from orders.order_events
            where type = 'order.refund-succeeded' and ($1::uuid[] is null or order_id = any ($1))
            group by order_id, data ->> 'number'
        ), checked as (
            select case when made_at < now() - interval '1 hour'
                and not exists (
                    select from invoices.invoices
                    where invoices.order_id = made.order_id and kind = 'credit-note'
                        and refund = made.number
                ) and not exists (
                    select from outbox.parked
                    where sink = 'invoices' and aggregateid = made.order_id::text
                )
            then format('refund %s of order %s has no credit note', number, order_id)
            end as complaint
            from made join outbox.sinks on sink = 'invoices' and made_at >= created_at
        )
        select count(*) as "looked_at!", count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
        scope.orders(),
    )
    .fetch_one(db)
    .await?;
    Ok(Finding::of("I15", CREDITED, "refunds", seen))
}
