//! I4, I5 and I6: a customer has paid exactly once for each order that stands, and for no other.

use domain::StepName;
use sqlx::PgConnection;

use super::{Finding, Scope, Seen, Skipped, reconciled};

/// The step that moves the customer's money.
const CHARGE: &[StepName] = &[StepName::AuthorisePayment, StepName::CapturePayment];

pub(super) async fn look(
    db: &mut PgConnection,
    scope: &Scope,
    skipped: &Skipped,
) -> Result<Vec<Finding>, sqlx::Error> {
    let mut findings = vec![paid_for_what_stands(db, scope, skipped).await?];
    findings.extend(as_the_provider_says(db, scope, skipped).await?);
    findings.push(refunds(db, scope).await?);
    findings.push(claims(db, scope).await?);
    Ok(findings)
}

/// Holds at every moment: a capture and the resulting payment status are one transaction.
async fn paid_for_what_stands(
    db: &mut PgConnection,
    scope: &Scope,
    skipped: &Skipped,
) -> Result<Finding, sqlx::Error> {
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with placed as (
            select order_id, currency, total, status, payment_status from orders.orders
            where $2::uuid[] is null or order_id = any ($2)
        ), net as (
            select order_id, sum(captured - refunded) as paid, count(distinct currency) as currencies,
                min(currency) as currency
            from payments.charges where $2 is null or order_id = any ($2)
            group by order_id
        ), refund as (
            -- Of the completed order; what an unwound one gives back is no refund of this kind.
            select order_id, sum(amount) as given from payments.refund_requests
            where state = 'succeeded' and ($2 is null or order_id = any ($2))
            group by order_id
        ), lost as (
            -- What customers keep by a dispute: the shop does not have it, and has not refunded it.
            select order_id, sum(lost) as amount from payments.dispute_totals
            where $2 is null or order_id = any ($2)
            group by order_id having sum(lost) > 0
        ), checked as (
            select case
                when placed.order_id is null
                then format('%s was taken for order %s, which is not on record', paid, order_id)
                when (payment_status in ('paid', 'partially-refunded') or status = 'completed')
                        and coalesce(paid, 0) + coalesce(given, 0) <> total
                    or (payment_status not in ('paid', 'partially-refunded', 'disputed')
                            or status in ('cancelled', 'rejected', 'failed'))
                        and coalesce(paid, 0) <> 0 and lost.amount is null
                then format(
                    'order %s is %s and %s; its total is %s, %s is captured and not refunded, and '
                        || '%s was given back later',
                    order_id, status, payment_status, total, coalesce(paid, 0), coalesce(given, 0)
                )
                when given > 0 and payment_status in ('paid', 'partially-refunded', 'refunded')
                    and lost.amount is null and payment_status
                        <> case when paid = 0 then 'refunded' else 'partially-refunded' end
                then format(
                    'order %s is %s, and %s of %s was given back',
                    order_id, payment_status, given, total
                )
                when paid is not null and (currencies <> 1 or net.currency <> placed.currency)
                then format('order %s was not paid in %s', order_id, placed.currency)
            end as complaint
            from placed full join net using (order_id) left join refund using (order_id)
                left join lost using (order_id)
            where order_id <> all ($1)
        )
        select
            count(*) as "looked_at!",
            count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
        &skipped.orders(CHARGE),
        scope.orders(),
    )
    .fetch_one(db)
    .await?;
    Ok(Finding::of("I4", "an order is paid exactly if it stands", "orders", seen)
        .with_remark(skipped.remark(CHARGE)))
}

/// Where the provider's records of the shop's payments are.
struct Kept {
    /// The sandbox has records.
    in_sandbox: bool,
    /// The bank's statements, which are in this database, have records.
    at_bank: bool,
    /// An external provider has records.
    elsewhere: bool,
}

/// Checks against the sandbox's records and the bank's statements as they are now, and for an
/// external provider against the last reconciliation. A shop that has changed providers has
/// payments at several.
///
/// A recent proof compares the payments of its orders, so it shows an external provider's records
/// only if one of these orders was paid there.
async fn as_the_provider_says(
    db: &mut PgConnection,
    scope: &Scope,
    skipped: &Skipped,
) -> Result<Vec<Finding>, sqlx::Error> {
    const ONCE: &str = "one capture, each refund once and no more than was taken, by the provider's \
                        own records";
    const SAME: &str = "the provider's records and the shop's say the same, at rest";
    let Kept { in_sandbox, at_bank, elsewhere } = kept(db, scope).await?;
    let has_real_provider = at_bank || elsewhere;
    let mut findings = Vec::new();
    if in_sandbox || !has_real_provider {
        findings.push(Finding::of("I5", ONCE, "payments", once(db, scope).await?));
    }
    if in_sandbox || at_bank || !has_real_provider {
        let same = Finding::of("I5", SAME, "payments", same(db, scope, skipped).await?);
        findings.push(same.with_remark(skipped.remark(CHARGE)));
    }
    if has_real_provider {
        findings.extend(reconciled::look(db, scope).await?);
    }
    Ok(findings)
}

/// The prefix of a payment's name identifies its provider; [`same`] compares the same names.
async fn kept(db: &mut PgConnection, scope: &Scope) -> Result<Kept, sqlx::Error> {
    sqlx::query_as!(
        Kept,
        r#"
        select exists (select from sandbox_provider.payments) as "in_sandbox!",
            exists (select from bank.payments) as "at_bank!",
            exists (
                select from payments.charges
                where provider_reference !~ '^(sandbox-payment-|RF[0-9]{20}$)'
                    and ($1::uuid[] is null or order_id = any ($1))
            ) as "elsewhere!"
        "#,
        scope.orders(),
    )
    .fetch_one(db)
    .await
}

async fn once(db: &mut PgConnection, scope: &Scope) -> Result<Seen, sqlx::Error> {
    sqlx::query_as!(
        Seen,
        r#"
        with asked as (
            select payment_id, refunds.idempotency_key, count(*) as times,
                sum(refunds.amount) as amount
            from sandbox_provider.refunds join sandbox_provider.payments using (payment_id)
            where refunds.state = 'succeeded' and (
                $1::uuid[] is null or merchant_reference = any ($1::uuid[]::text[])
            )
            group by payment_id, refunds.idempotency_key
        ), refund as (
            select payment_id, max(times) as times, sum(amount) as refunded
            from asked group by payment_id
        ), payment as (
            select *,
                count(*) filter (where state = 'captured' and coalesce(refunded, 0) < captured)
                    over (partition by merchant_reference) as standing,
                count(*) filter (where state = 'captured')
                    over (partition by idempotency_key) as captures
            from sandbox_provider.payments left join refund using (payment_id)
            where $1 is null or merchant_reference = any ($1::uuid[]::text[])
        ), checked as (
            select case
                when captures > 1 then format('%s was captured %s times', idempotency_key, captures)
                when standing > 1
                then format('order %s has %s payments that stand', merchant_reference, standing)
                when times > 1 then format('%s was refunded %s times', idempotency_key, times)
                when refunded > 0 and (state <> 'captured' or refunded > captured)
                then format('%s of %s, %s, was refunded as %s', idempotency_key, captured, state, refunded)
            end as complaint
            from payment
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

async fn same(
    db: &mut PgConnection,
    scope: &Scope,
    skipped: &Skipped,
) -> Result<Seen, sqlx::Error> {
    sqlx::query_as!(
        Seen,
        r#"
        with theirs as (
            select 'sandbox-payment-' || payment_id as key, merchant_reference as order_id,
                currency, captured,
                coalesce((
                    select sum(refunds.amount) from sandbox_provider.refunds
                    where refunds.payment_id = payments.payment_id
                        and refunds.state = 'succeeded'
                ), 0) as refunded
            from sandbox_provider.payments
            where $2::uuid[] is null or merchant_reference = any ($2::uuid[]::text[])
            union all
            select reference, order_id::text, currency, captured, coalesce((
                    select sum(lines.amount)
                    from bank.lines join bank.entries using (entry_id)
                    where entries.reference = payments.reference and refund_key is not null
                ), 0)
            from bank.payments where $2 is null or order_id = any ($2)
        ), ours as (
            select provider_reference as key, order_id::text, currency, captured, refunded
            from payments.charges
            -- Others are another provider's, and are in none of these records.
            where provider_reference ~ '^(sandbox-payment-|RF[0-9]{20}$)'
                and ($2 is null or order_id = any ($2))
        ), placed as (
            select order_id, status from orders.orders where $2 is null or order_id = any ($2)
        ), checked as (
            select case
                when (coalesce(theirs.captured, 0), coalesce(theirs.refunded, 0))
                    <> (coalesce(ours.captured, 0), coalesce(ours.refunded, 0))
                    or theirs.currency <> ours.currency
                then format(
                    '%s: the provider captured %s and refunded %s, the shop knows of %s and %s',
                    key, coalesce(theirs.captured, 0), coalesce(theirs.refunded, 0),
                    coalesce(ours.captured, 0), coalesce(ours.refunded, 0)
                )
            end as complaint
            from theirs full join ours using (key)
            left join placed on placed.order_id::text = coalesce(theirs.order_id, ours.order_id)
            where status is null
                or orders.is_terminal(status) and placed.order_id <> all ($1)
                    and not exists (
                        select from payments.refund_requests as asked
                        where asked.order_id = placed.order_id
                            and asked.state in ('requested', 'pending')
                    )
        )
        select
            count(*) as "looked_at!",
            count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
        &skipped.orders(CHARGE),
        scope.orders(),
    )
    .fetch_one(db)
    .await
}

async fn refunds(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with given_back as (
            select charge_key, sum(refunds.amount) as amount, min(refunds.currency) as currency
            from payments.refunds join payments.charges using (charge_key)
            where returned_at is null and ($1::uuid[] is null or order_id = any ($1))
            group by charge_key
        ), checked as (
            select case
                when coalesce(given_back.amount, 0) > captured or refunded > captured
                then format(
                    '%s: %s captured, %s refunded',
                    charge_key, captured, greatest(coalesce(given_back.amount, 0), refunded)
                )
                when coalesce(given_back.amount, 0) <> refunded
                    or given_back.currency <> charges.currency
                then format(
                    '%s: %s %s refunded, by its refunds %s %s', charge_key,
                    refunded, charges.currency, coalesce(given_back.amount, 0), given_back.currency
                )
            end as complaint
            from payments.charges left join given_back using (charge_key)
            where $1 is null or order_id = any ($1)
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
    .await?;
    Ok(Finding::of("I6", "no more is refunded than was captured", "charges", seen))
}

/// Holds at every moment: an amount is claimed in the transaction that begins a refund, and freed
/// in the one that ends it.
async fn claims(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with claim as (
            select charge_key,
                sum(amount) filter (where state not in ('failed', 'cancelled')) as claimed,
                sum(amount) filter (where state = 'succeeded') as given
            from payments.refund_requests where $1::uuid[] is null or order_id = any ($1)
            group by charge_key
        ), checked as (
            select case
                when coalesce(claimed, 0) <> refund_claimed
                then format(
                    '%s: %s is claimed, by its refunds %s',
                    charge_key, refund_claimed, coalesce(claimed, 0)
                )
                when given > refunded
                then format('%s: %s is refunded, by its refunds %s', charge_key, refunded, given)
            end as complaint
            from payments.charges left join claim using (charge_key)
            where $1 is null or order_id = any ($1)
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
    .await?;
    Ok(Finding::of("I6", "a payment knows what its refunds claim of it", "charges", seen))
}
