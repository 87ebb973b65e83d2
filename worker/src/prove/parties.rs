//! I13 and I14: an order, its reservation, its parcel and its charge agree, and no party holds
//! anything for an order that has ended.

use domain::StepName;
use sqlx::PgConnection;

use super::{Finding, Scope, Seen, Skipped};

const PARCEL: &[StepName] = &[StepName::ShipOrder];
const CHARGE: &[StepName] = &[StepName::AuthorisePayment, StepName::CapturePayment];

pub(super) async fn look(
    db: &mut PgConnection,
    scope: &Scope,
    skipped: &Skipped,
) -> Result<Vec<Finding>, sqlx::Error> {
    let carrier = Finding::of(
        "I13",
        "the carrier has a parcel of each completed order, and of no other that is over",
        "orders",
        at_the_carrier(db, scope, skipped).await?,
    );
    let authorisations = Finding::of(
        "I13",
        "no authorisation is left for an order that is over",
        "payments",
        left_authorised(db, scope, skipped).await?,
    );
    Ok(vec![
        carrier.with_remark(skipped.remark(PARCEL)),
        authorisations.with_remark(skipped.remark(CHARGE)),
        Finding::of(
            "I14",
            "lines, reservation, parcel and charge of an order are the same",
            "orders",
            as_ordered(db, scope).await?,
        ),
        booked_movements(db, scope).await?,
        inventory_at_cost(db, scope).await?,
    ])
}

/// Checks the sandbox carrier's records. Another carrier's records are not in this database. The
/// sandbox has no index of orders, so a recent proof reads all of its records.
async fn at_the_carrier(
    db: &mut PgConnection,
    scope: &Scope,
    skipped: &Skipped,
) -> Result<Seen, sqlx::Error> {
    sqlx::query_as!(
        Seen,
        r#"
        with parcel as (
            select split_part(reference, ':', 1) as order_id,
                count(*) as standing,
                array_agg('sandbox-shipment-' || shipment_id) as ids
            from sandbox_carrier.shipments
            where state = 'purchased' and (
                $2::uuid[] is null or split_part(reference, ':', 1) = any ($2::uuid[]::text[])
            )
            group by 1
        ), checked as (
            select case
                when status = 'completed' and coalesce(standing, 0) <> 1
                then format('order %s is completed, and the carrier has %s parcels of it',
                    orders.order_id, coalesce(standing, 0))
                when status <> 'completed' and coalesce(standing, 0) > 0
                then format('order %s is %s, and the carrier has a parcel of it',
                    orders.order_id, status)
                -- One that was accepted without the carrier's answer goes under its reference.
                when status = 'completed' and not exists (
                    select from shipping.shipments
                    where shipments.order_id = orders.order_id and shipments.state = 'purchased'
                        and carrier_reference = any (parcel.ids || shipment_key)
                )
                then format('order %s is completed, and the carrier has another parcel of it',
                    orders.order_id)
            end as complaint
            from orders.orders left join parcel on parcel.order_id = orders.order_id::text
            where orders.is_terminal(status) and orders.order_id <> all ($1)
                and ($2 is null or orders.order_id = any ($2))
        )
        select
            count(*) as "looked_at!",
            count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
        &skipped.orders(PARCEL),
        scope.orders(),
    )
    .fetch_one(db)
    .await
}

async fn left_authorised(
    db: &mut PgConnection,
    scope: &Scope,
    skipped: &Skipped,
) -> Result<Seen, sqlx::Error> {
    sqlx::query_as!(
        Seen,
        r#"
        with checked as (
            select case
                when state = 'authorised'
                then format('%s is still authorised, and order %s is %s',
                    idempotency_key, order_id, status)
                when state = 'awaiting-customer' and coalesce(approvable_until > now(), true)
                then format('%s can still be approved, and order %s is %s',
                    idempotency_key, order_id, status)
            end as complaint
            from sandbox_provider.payments
            join orders.orders on orders.order_id::text = merchant_reference
            where orders.is_terminal(status) and order_id <> all ($1) and (
                $2::uuid[] is null
                or order_id = any ($2) and merchant_reference = any ($2::uuid[]::text[])
            )
            union all
            select case when payments.state in ('awaiting', 'received')
                then format('transfers for %s are still kept, and order %s is %s',
                    reference, order_id, status)
            end
            from bank.payments join orders.orders using (order_id)
            where orders.is_terminal(status) and order_id <> all ($1)
                and ($2 is null or order_id = any ($2))
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

async fn as_ordered(db: &mut PgConnection, scope: &Scope) -> Result<Seen, sqlx::Error> {
    sqlx::query_as!(
        Seen,
        r#"
        with ordered as (
            select order_id, line ->> 'sku' as sku, sum((line ->> 'quantity')::bigint) as quantity
            from orders.orders, jsonb_array_elements(lines) as line
            where $1::uuid[] is null or order_id = any ($1)
            group by order_id, line ->> 'sku'
        ), reserved as (
            select order_id, sku, sum(quantity) as quantity
            from inventory.reservation_lines join inventory.reservations using (reservation_key)
            where $2::text[] is null or reservation_key = any ($2)
            group by order_id, sku
        ), short as (
            select distinct coalesce(ordered.order_id, reserved.order_id) as order_id
            from ordered full join reserved on ordered.order_id = reserved.order_id
                and ordered.sku = reserved.sku
            where ordered.quantity is distinct from reserved.quantity
                and coalesce(ordered.order_id, reserved.order_id)
                    in (
                        select order_id from inventory.reservations
                        where $2 is null or reservation_key = any ($2)
                    )
        ), summed as (
            select order_id, sum((line #>> '{line_total,amount}')::numeric) as subtotal,
                sum((line ->> 'quantity')::bigint) as pieces
            from orders.orders, jsonb_array_elements(lines) as line
            where $1 is null or order_id = any ($1)
            group by order_id
        ), checked as (
            select case
                when summed.subtotal <> orders.subtotal
                    or orders.subtotal - discount + shipping + tax <> total
                then format('order %s: its lines come to %s, its total is %s',
                    order_id, summed.subtotal, total)
                when short.order_id is not null
                then format('order %s: what was set aside is not what was ordered', order_id)
                when exists (
                    select from shipping.shipments
                    where shipments.order_id = orders.order_id and shipments.pieces <> summed.pieces
                )
                then format('order %s: its parcel does not hold its %s pieces', order_id, summed.pieces)
                when exists (
                    select from payments.charges
                    where charges.order_id = orders.order_id and amount <> total
                )
                then format('order %s: what was charged is not its total of %s', order_id, total)
            end as complaint
            from orders.orders join summed using (order_id) left join short using (order_id)
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
        scope.reservations(),
    )
    .fetch_one(db)
    .await
}

async fn booked_movements(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    const SAID: &str = "what the warehouse moved is booked";
    if let Some(left_out) = scope.leaves_out("I14", SAID) {
        return Ok(left_out);
    }
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with checked as (
            select case when transaction_id is null
                then format('movement %s of %s (%s %s) is not booked', movement_id, sku, quantity, reason)
            end as complaint
            from inventory.movements
            join catalog.products using (sku)
            left join ledger.transactions on key = 'stock-movement:' || movement_id
            where reference is not null and unit_cost > 0
                and reason in ('received', 'found', 'written-off')
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
    Ok(Finding::of("I14", SAID, "movements", seen))
}

/// Booking a sale subtracts the order's cost from the account. The rest must equal the goods on
/// hand at their articles' costs, plus the cost of orders that have shipped and are not booked yet.
async fn inventory_at_cost(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    const SAID: &str = "the inventory account is what the goods in the house cost";
    if let Some(left_out) = scope.leaves_out("I14", SAID) {
        return Ok(left_out);
    }
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with worth as (
            select product.currency, on_hand * unit_cost as goods, 0 as booked
            from inventory.stock join catalog.products as product using (sku)
            union all
            select currency, cost_of_goods, 0
            from inventory.reservations join orders.orders using (order_id) where state = 'sold'
            union all
            select currency, 0, case side when 'debit' then amount else -amount end
            from ledger.entries join ledger.transactions using (transaction_id)
            where account = 'inventory' and order_id is null
        ), summed as (
            select currency, sum(goods) as goods, sum(booked) as booked from worth group by currency
        ), checked as (
            select case when goods <> booked then format(
                'goods for %s %s, and %s in the books, before what was sold',
                goods, currency, booked
            ) end as complaint
            from summed
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
    Ok(Finding::of("I14", SAID, "currencies", seen))
}
