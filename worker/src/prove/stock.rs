//! I3 and I10: stock is conserved, and none is reserved for an order that has ended.

use domain::StepName;
use sqlx::PgConnection;

use super::{Finding, Scope, Seen, Skipped};

/// The steps that move an order's goods.
const GOODS: &[StepName] = &[StepName::ReserveStock, StepName::ShipOrder];

pub(super) async fn look(
    db: &mut PgConnection,
    scope: &Scope,
) -> Result<Vec<Finding>, sqlx::Error> {
    Ok(vec![conserved(db).await?, told_anew(db, scope).await?])
}

/// A recent proof checks all articles, too: there are as many of them as the shop sells.
async fn conserved(db: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with checked as (
            select case
                when least(on_hand - reserved, reserved, sold, received) < 0
                    or (on_hand - reserved) + reserved + sold <> received
                then format(
                    '%s: available %s + reserved %s + sold %s, received %s',
                    sku, on_hand - reserved, reserved, sold, received
                )
            end as complaint
            from inventory.stock
        )
        select
            count(*) as "looked_at!",
            count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
    )
    .fetch_one(db)
    .await?;
    Ok(Finding::of(
        "I3",
        "available + reserved + sold = received, none below zero",
        "articles",
        seen,
    ))
}

/// The stock is a running total; here it is recomputed twice, from the reservations and from the
/// movements.
async fn told_anew(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    const SAID: &str = "stock = what reservations and movements add up to";
    if let Some(left_out) = scope.leaves_out("I3", SAID) {
        return Ok(left_out);
    }
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with claimed as (
            select sku,
                coalesce(sum(quantity) filter (where state = 'held'), 0) as reserved,
                coalesce(sum(quantity) filter (where state = 'sold'), 0) as sold
            from inventory.reservation_lines join inventory.reservations using (reservation_key)
            group by sku
        ), moved as (
            select sku,
                sum(case
                    when reason in ('received', 'found') then quantity
                    when reason = 'written-off' then -quantity
                    else 0
                end) as received,
                sum(case
                    when reason in ('reserved', 'returned') then quantity
                    when reason in ('released', 'expired', 'sold') then -quantity
                    else 0
                end) as reserved,
                sum(case reason when 'sold' then quantity when 'returned' then -quantity else 0 end)
                    as sold
            from inventory.movements
            group by sku
        ), kept as (
            select sku, received::numeric, reserved::numeric, sold::numeric from inventory.stock
        ), checked as (
            select case
                when (coalesce(kept.reserved, 0), coalesce(kept.sold, 0))
                    <> (coalesce(claimed.reserved, 0), coalesce(claimed.sold, 0))
                then format(
                    '%s: reserved %s and sold %s, by its reservations %s and %s',
                    sku, kept.reserved, kept.sold,
                    coalesce(claimed.reserved, 0), coalesce(claimed.sold, 0)
                )
                when (coalesce(kept.received, 0), coalesce(kept.reserved, 0), coalesce(kept.sold, 0))
                    <> (coalesce(moved.received, 0), coalesce(moved.reserved, 0), coalesce(moved.sold, 0))
                then format(
                    '%s: received %s, reserved %s and sold %s, by its movements %s, %s and %s',
                    sku, kept.received, kept.reserved, kept.sold,
                    coalesce(moved.received, 0), coalesce(moved.reserved, 0), coalesce(moved.sold, 0)
                )
            end as complaint
            from kept full join claimed using (sku) full join moved using (sku)
        )
        select
            count(*) as "looked_at!",
            count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
    )
    .fetch_one(db)
    .await?;
    Ok(Finding::of("I3", SAID, "articles", seen))
}

pub(super) async fn look_at_finished_orders(
    db: &mut PgConnection,
    scope: &Scope,
    skipped: &Skipped,
) -> Result<Vec<Finding>, sqlx::Error> {
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with reservation as (
            select order_id,
                count(*) filter (where state = 'held') as held,
                count(*) filter (where state = 'sold') as sold
            from inventory.reservations
            where $3::text[] is null or reservation_key = any ($3)
            group by order_id
        ), checked as (
            select case
                when coalesce(held, 0) > 0
                then format('order %s is %s and still holds goods', order_id, status)
                when status = 'completed' and coalesce(sold, 0) <> 1
                then format('order %s is completed, and its goods are not sold', order_id)
                when status <> 'completed' and coalesce(sold, 0) > 0
                then format('order %s is %s, and its goods are sold', order_id, status)
            end as complaint
            from orders.orders left join reservation using (order_id)
            where orders.is_terminal(status) and order_id <> all ($1)
                and ($2::uuid[] is null or order_id = any ($2))
        )
        select
            count(*) as "looked_at!",
            count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
        &skipped.orders(GOODS),
        scope.orders(),
        scope.reservations(),
    )
    .fetch_one(db)
    .await?;
    Ok(vec![
        Finding::of("I10", "no goods are held for an order that is over", "orders", seen)
            .with_remark(skipped.remark(GOODS)),
    ])
}
