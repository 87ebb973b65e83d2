//! I7 and I11: every transition has its event, every event its message, and the order's row is the
//! fold of its events.

use std::collections::HashMap;

use domain::OrderState;
use domain::event::OrderEvent;
use futures::TryStreamExt as _;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Finding, Scope, Seen};

pub(super) async fn look(
    db: &mut PgConnection,
    scope: &Scope,
) -> Result<Vec<Finding>, sqlx::Error> {
    Ok(vec![
        gapless(db, scope).await?,
        messages(db, scope).await?,
        told_anew(db, scope).await?,
        placed_once(db, scope).await?,
    ])
}

async fn gapless(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with numbered as (
            select order_id, count(*) as events, min(sequence) as first, max(sequence) as last
            from orders.order_events where $1::uuid[] is null or order_id = any ($1)
            group by order_id
        ), placed as (
            select order_id, version from orders.orders where $1 is null or order_id = any ($1)
        ), checked as (
            select case
                when version is null then format('order %s has events and no row', order_id)
                when events is null then format('order %s has no events', order_id)
                when first <> 1 or last <> events or last <> version
                then format(
                    'order %s is at version %s; its %s events are numbered %s to %s',
                    order_id, version, events, first, last
                )
            end as complaint
            from numbered full join placed using (order_id)
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
    Ok(Finding::of("I7", "an order's events are numbered without a gap", "orders", seen))
}

/// Sorted by position, an order's messages must be its events one by one. A recent proof compares
/// the last messages of each order, as if the earlier ones had been removed.
async fn messages(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with message as (
            select aggregateid::uuid as order_id, sequence, type, payload, position, id,
                row_number() over (partition by aggregateid order by position) as place
            from outbox.messages
            where aggregatetype = 'order' and (
                $1::uuid[] is null or position >= $2 and aggregateid = any ($1::uuid[]::text[])
            )
        ), told as (
            select * from orders.order_events where $1 is null or order_id = any ($1)
        ), kept as (
            select order_id, min(sequence) as first from message group by order_id
        ), checked as (
            select case
                -- A message that every sink has had is removed after a time, the oldest first.
                when position is null and sequence > coalesce(first, sequence)
                then format('event %s of order %s has no message', sequence, order_id)
                when event_id is null then format('message %s tells of no event', id)
                when place - 1 <> sequence - first
                then format('message %s is the %s. of its order', id, place)
                when message.type <> 'ordersaga.' || event.type || '.v' || event.version
                    or event.data <> payload
                then format('message %s differs from its event', id)
            end as complaint
            from told as event full join message using (order_id, sequence)
            left join kept using (order_id)
        )
        select
            count(*) as "looked_at!",
            count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
        scope.orders(),
        scope.first_message(),
    )
    .fetch_one(db)
    .await?;
    Ok(Finding::of("I7", "each event has one message, in the order's own order", "events", seen))
}

/// Derived by the program's own state machines, which are independent of the database's.
async fn told_anew(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    let mut states = HashMap::<Uuid, OrderState>::new();
    let mut complaints = Vec::new();
    let mut events = sqlx::query!(
        r#"
        select order_id, type as kind, version, data, occurred_at from orders.order_events
        where $1::uuid[] is null or order_id = any ($1)
        order by order_id, sequence
        "#,
        scope.orders(),
    )
    .fetch(&mut *db);
    while let Some(event) = events.try_next().await? {
        let state = states.remove(&event.order_id).unwrap_or_else(OrderState::placed);
        let state = match OrderEvent::read(&event.kind, event.version, &event.data) {
            Ok(known) => state.apply(&known, event.occurred_at),
            Err(error) => {
                complaints.push(format!("order {}: {error}", event.order_id));
                state
            }
        };
        states.insert(event.order_id, state);
    }
    drop(events);
    let mut looked_at: i64 = 0;
    let mut orders = sqlx::query!(
        r#"
        select order_id, jsonb_strip_nulls(status_data || jsonb_build_object(
            'payment_status', payment_status, 'fulfilment_status', fulfilment_status,
            'unwinding', ending is not null, 'needs_attention', attention, 'tracking', tracking
        )) as "row!"
        from orders.orders where $1::uuid[] is null or order_id = any ($1)
        "#,
        scope.orders(),
    )
    .fetch(&mut *db);
    while let Some(order) = orders.try_next().await? {
        looked_at = looked_at.saturating_add(1);
        let row = serde_json::from_value::<OrderState>(order.row.clone()).ok();
        let derived = states.remove(&order.order_id);
        if row.is_none() || row != derived {
            let derived =
                derived.and_then(|state| serde_json::to_value(state).ok()).unwrap_or_default();
            let (row, order_id) = (order.row, order.order_id);
            complaints.push(format!("order {order_id} is {row}; its events come to {derived}"));
        }
    }
    let seen = Seen::of(looked_at, complaints);
    Ok(Finding::of("I7", "an order's row is what its events come to", "orders", seen))
}

/// The same request creates one order, and the order's row matches the placed event.
async fn placed_once(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with placed as (
            select order_id, sequence, data from orders.order_events
            where type = 'order.placed' and ($1::uuid[] is null or order_id = any ($1))
        ), kept as (
            select order_id, customer_id, currency, total, lines, record_version from orders.orders
            where $1 is null or order_id = any ($1)
        ), checked as (
            select case
                when placed.order_id is null then format('order %s was never placed', kept.order_id)
                when kept.order_id is null
                then format('order %s was placed and has no row', placed.order_id)
                when sequence <> 1 then format('order %s was placed twice', kept.order_id)
                when (
                    data ->> 'customer_id', data #>> '{totals,total,currency}',
                    (data #>> '{totals,total,amount}')::numeric, data -> 'lines',
                    (data ->> 'record_version')::integer
                ) <> (customer_id, currency, total, lines, record_version)
                then format('order %s is not what was placed', kept.order_id)
            end as complaint
            from placed full join kept using (order_id)
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
    Ok(Finding::of("I11", "one request is one order, as it was placed", "placements", seen))
}
