//! I7 and I11: every turn has its event, every event its message, and the order's row is what
//! its events come to.

use std::collections::HashMap;

use domain::OrderStatus;
use futures::TryStreamExt as _;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Finding, Seen};

pub(super) async fn look(db: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    Ok(vec![
        gapless(db).await?,
        messages(db).await?,
        told_anew(db).await?,
        delivered(db).await?,
        placed_once(db).await?,
    ])
}

async fn gapless(db: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with numbered as (
            select order_id, count(*) as events, min(sequence) as first, max(sequence) as last
            from orders.order_events
            group by order_id
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
            from numbered full join orders.orders using (order_id)
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
    Ok(Finding::of("I7", "an order's events are numbered without a gap", "orders", seen))
}

/// Sent in the order of their ids, an order's messages must be its events one by one.
async fn messages(db: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with message as (
            select order_id, sequence, type, data, message_id,
                row_number() over (partition by order_id order by message_id) as place
            from outbox.messages
        ), checked as (
            select case
                when message_id is null then format('event %s of order %s has no message', sequence, order_id)
                when event_id is null
                then format('message %s of order %s tells of no event', message_id, order_id)
                when place <> sequence
                then format('message %s of order %s is its %s. and tells of event %s',
                    message_id, order_id, place, sequence)
                when (event.type, event.data) <> (message.type, message.data)
                then format('message %s of order %s differs from its event', message_id, order_id)
            end as complaint
            from orders.order_events as event full join message using (order_id, sequence)
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
    Ok(Finding::of("I7", "each event has one message, in the order's own order", "events", seen))
}

/// What an order's events come to.
#[derive(Default)]
struct Told {
    status: Option<OrderStatus>,
    tracking: Option<String>,
}

impl Told {
    /// A turn that the order's life does not have is an event, and no turn.
    fn takes(&mut self, kind: &str, status: Option<Value>) -> Result<(), serde_json::Error> {
        let Some(next) = status.map(serde_json::from_value::<OrderStatus>).transpose()? else {
            return Ok(());
        };
        if let OrderStatus::Shipped { tracking } = &next {
            self.tracking = Some(tracking.clone());
        }
        let turned = match self.status.clone() {
            // The first course of an order, or a new one of an order that came to nothing.
            None => Some(next),
            Some(known) if kind == "order.placed" && known.is_terminal() => Some(next),
            Some(known) => known.becomes(next).ok(),
        };
        self.status = turned.or_else(|| self.status.take());
        Ok(())
    }
}

/// Told by the program's own table of turns, which is another one than the database's.
async fn told_anew(db: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let mut told = HashMap::<Uuid, Told>::new();
    let mut complaints = Vec::new();
    let mut events = sqlx::query!(
        r#"
        select order_id, type as kind, data -> 'status' as status from orders.order_events
        order by order_id, sequence
        "#,
    )
    .fetch(&mut *db);
    while let Some(event) = events.try_next().await? {
        let order = told.entry(event.order_id).or_default();
        if let Err(error) = order.takes(&event.kind, event.status) {
            complaints.push(format!(
                "order {}: {} tells of no status: {error}",
                event.order_id, event.kind
            ));
        }
    }
    drop(events);
    let mut looked_at: i64 = 0;
    let mut orders =
        sqlx::query!("select order_id, status_data, tracking from orders.orders").fetch(&mut *db);
    while let Some(order) = orders.try_next().await? {
        looked_at = looked_at.saturating_add(1);
        let Told { status, tracking } = told.remove(&order.order_id).unwrap_or_default();
        let status = status.map(serde_json::to_value).and_then(Result::ok).unwrap_or_default();
        if status != order.status_data || tracking != order.tracking {
            let (row, order_id) = (order.status_data, order.order_id);
            complaints.push(format!("order {order_id} is {row}; its events come to {status}"));
        }
    }
    let seen = Seen::of(looked_at, complaints);
    Ok(Finding::of("I7", "an order's row is what its events come to", "orders", seen))
}

/// Delivery is a relay's work. Where none has run, there is nothing to judge yet.
async fn delivered(db: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    const PROMISE: &str = "messages are delivered, within an order in order";
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with message as (
            select order_id, sequence, delivered_at,
                bool_and(delivered_at is not null)
                    over (partition by order_id order by message_id) as all_so_far
            from outbox.messages
        ), checked as (
            select case when not all_so_far
                then format('event %s of order %s was delivered before an earlier one', sequence, order_id)
            end as complaint
            from message where delivered_at is not null
        )
        select
            count(*) as "looked_at!",
            count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
    )
    .fetch_one(&mut *db)
    .await?;
    let waiting = sqlx::query_scalar!(
        r#"select count(*) as "waiting!" from outbox.messages where delivered_at is null"#
    )
    .fetch_one(db)
    .await?;
    if seen.looked_at == 0 && waiting > 0 {
        return Ok(Finding::not_shown("I7", PROMISE, "nothing has been delivered yet"));
    }
    let remark = (waiting > 0).then(|| format!("{waiting} messages wait"));
    Ok(Finding::of("I7", PROMISE, "delivered messages", seen).with_remark(remark))
}

/// The same request is one order: what was placed first under an order's id is what its row
/// says, and what was placed under it later is the same request again.
async fn placed_once(db: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with placed as (
            select order_id, sequence, data,
                (data ->> 'generation')::integer as generation,
                row_number() over (partition by order_id order by sequence) as place
            from orders.order_events where type = 'order.placed'
        ), checked as (
            select case
                when placed.order_id is null then format('order %s was never placed', orders.order_id)
                when orders.order_id is null
                then format('order %s was placed and has no row', placed.order_id)
                when data ->> 'request_hash' <> request_hash
                then format('order %s was placed by two different requests', orders.order_id)
                when place = 1 and (
                    data ->> 'customer_id', data #>> '{totals,total,currency}',
                    (data #>> '{totals,total,amount}')::numeric, data -> 'lines'
                ) <> (customer_id, currency, total, lines)
                then format('order %s is not what was placed', orders.order_id)
                when place <> placed.generation
                then format('order %s was placed %s times as course %s',
                    orders.order_id, place, placed.generation)
            end as complaint
            from placed full join orders.orders using (order_id)
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
    Ok(Finding::of("I11", "one request is one order, as it was placed", "placements", seen))
}
