//! The warehouse: reserves goods, releases them, and releases expired reservations.
//!
//! All articles of an order are locked in SKU order, in the statement that checks and takes them.
//! Two orders for the same articles therefore queue and cannot deadlock, and the check still holds
//! when the goods are taken.

mod queues;

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::event::{OrderEvent, StockLines};
use domain::{Order, StepKey, StockClaim};
use runtime::database::Db;
use serde_json::Value;
use sqlx::PgPool;

pub use self::queues::ArticleQueues;
use crate::ActivityFault;
use crate::idempotency::{self, Outcome, Recorded};
use crate::orders::{self, Begun};

/// Reserves the order's goods, all of them or none. Undone by [`release`].
///
/// The reservation lasts for all planned waits of the order (cancel window, the steps' patience,
/// the customer's time to pay, the time for reviews), and then for `ttl`.
///
/// **Errors.** Rejected as out of stock, with the first article that is short; an article unknown
/// to the warehouse has nothing available. Not open if the order is not on record or has ended.
/// **Repeats.** By key: a repeat returns the first answer and takes nothing.
pub async fn reserve<'a>(
    db: impl Into<Db<'a>>,
    articles: &ArticleQueues,
    ttl: Duration,
    key: StepKey,
) -> Result<(), ActivityFault> {
    let db = db.into();
    let Begun { order, recorded } = orders::begin(db, key).await?;
    if let Recorded::Answered(_) | Recorded::Undone = recorded {
        return recorded.into_answer(key);
    }
    let _turn = articles.turn(&order).await?;
    let recorded = take(db, expiry(&order, ttl), &order.stock_claim()).await?;
    idempotency::answer(db, key, recorded).await
}

/// When a new reservation expires: never during the order's planned waits.
struct Expiry {
    /// The time-to-live counts from this moment on.
    from: DateTime<Utc>,
    seconds: i64,
}

fn expiry(order: &Order, ttl: Duration) -> Expiry {
    let patience = order.terms.patience().unwrap_or_default();
    let people = order.terms.customer_time().saturating_add(order.terms.review_time());
    let waits = patience.saturating_add(people);
    let seconds = i64::try_from(ttl.saturating_add(waits).as_secs()).unwrap_or(i64::MAX);
    Expiry { from: order.cancellable_until(), seconds }
}

/// One statement, so that 541 lines cost one round trip: it locks the articles, looks for the first
/// that is short, records the outcome under the key, and takes the goods if the key is new and
/// nothing is short. A repeat locks nothing.
async fn take(
    db: Db<'_>,
    expiry: Expiry,
    claim: &StockClaim,
) -> Result<Option<Value>, ActivityFault> {
    let StockClaim { key, lines } = claim;
    let skus: Vec<String> = lines.iter().map(|line| line.sku.to_string()).collect();
    let quantities: Vec<i64> = lines.iter().map(|line| i64::from(line.quantity)).collect();
    let event = OrderEvent::StockReserved(StockLines { lines: lines.clone() });
    sqlx::query_scalar!(
        r#"
        with line as (
            select sku collate "C" as sku, quantity
            from unnest($5::text[], $6::bigint[]) as line (sku, quantity)
        ), locked as materialized (
            select sku, on_hand - reserved as available from inventory.stock
            where sku = any ($5) and not exists (
                select from orders.step_keys where (order_id, step, version) = ($1, $2, $3)
            )
            order by sku for update
        ), short as (
            select sku, quantity as wanted, coalesce(available, 0) as available
            from line left join locked using (sku)
            where quantity > coalesce(available, 0)
            order by sku limit 1
        ), refusal as (
            select jsonb_build_object('refused', jsonb_build_object(
                'code', 'out-of-stock', 'sku', sku, 'wanted', wanted, 'available', available
            )) as outcome from short
        ), taken as materialized (
            select orders.take_step($1, $2, $3, coalesce((select outcome from refusal), $4)) as outcome
        ), granted as (
            select $7::text as reservation_key from taken where outcome ? 'done'
        ), reserved as (
            update inventory.stock set reserved = stock.reserved + line.quantity
            from line, granted
            -- Found by its number, however small the planner thinks the warehouse is.
            where stock.sku = any ($5) and stock.sku = line.sku
        ), reservation as (
            insert into inventory.reservations (reservation_key, order_id, state, expires_at)
            select reservation_key, $1, 'held',
                greatest(now(), $8) + $9::bigint * interval '1 second'
            from granted
        ), reservation_line as (
            insert into inventory.reservation_lines (reservation_key, sku, quantity)
            select reservation_key, sku, quantity from granted, line
        ), movement as (
            insert into inventory.movements (sku, quantity, reason, reservation_key)
            select sku, quantity, 'reserved', reservation_key from granted, line
        )
        select outcome as "outcome!"
        from taken cross join lateral orders.record_outcome(
            $1, outcome, 'stock.reserved', $10, 'stock.refused'
        )
        where outcome is not null
        "#,
        key.order_id.uuid(),
        key.name_on_record(),
        idempotency::version(*key)?,
        Outcome::Done(()).into_json(),
        &skus,
        &quantities,
        key.to_string(),
        expiry.from,
        expiry.seconds,
        idempotency::data(&event)?,
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database("reserving stock", error))
}

/// Releases the order's goods.
///
/// **Errors.** Broken if the goods have left the warehouse: the shipment must be undone first.
/// **Repeats.** Reserved goods are released once. If there is nothing to release, only the
/// tombstone is left, and a late reservation is refused.
pub async fn release<'a>(
    db: impl Into<Db<'a>>,
    articles: &ArticleQueues,
    key: StepKey,
) -> Result<(), ActivityFault> {
    const DOING: &str = "releasing stock";
    let db = db.into();
    let order = orders::on_record(db, key).await?;
    idempotency::leave_tombstone(db, key).await?;
    let reservation_key = key.to_string();
    let event = OrderEvent::StockReleased(StockLines { lines: order.stock_claim().lines });
    let _turn = articles.turn(&order).await?;
    let released = sqlx::query_scalar!(
        r#"
        with released as (
            update inventory.reservations set state = 'released'
            where reservation_key = $1 and state = 'held'
            returning reservation_key, order_id
        ), held as materialized (
            select sku, quantity
            from released join inventory.reservation_lines using (reservation_key)
        ), locked as materialized (
            select sku from inventory.stock
            where sku = any (array(select sku from held))
            order by sku
            for update
        ), line as materialized (
            select sku, quantity from locked join held using (sku)
        ), given_back as (
            update inventory.stock set reserved = stock.reserved - line.quantity
            from line
            where stock.sku = any (array(select sku from line)) and stock.sku = line.sku
        ), movement as (
            insert into inventory.movements (sku, quantity, reason, reservation_key)
            select sku, quantity, 'released', $1 from line
        )
        select number as "number!"
        from released cross join lateral orders.record(order_id, 'stock.released', $2) as number
        "#,
        reservation_key,
        idempotency::data(&event)?,
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database(DOING, error))?;
    if released.is_none() && state_of(db, &reservation_key).await?.as_deref() == Some("sold") {
        return Err(ActivityFault::broken(DOING, format!("{reservation_key} is sold")));
    }
    Ok(())
}

async fn state_of(db: Db<'_>, reservation_key: &str) -> Result<Option<String>, ActivityFault> {
    sqlx::query_scalar!(
        "select state from inventory.reservations where reservation_key = $1",
        reservation_key,
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database("looking up a reservation", error))
}

/// Releases the expired reservations of orders that did not end in time; returns how many, at most
/// `limit`. If another transaction holds the order or one of its articles, that reservation is
/// skipped until the next round.
///
/// **Repeats.** Any number of copies may run: each reservation is expired by one of them. The order
/// itself learns of it when it tries to ship.
pub async fn release_expired(db: &PgPool, limit: i64) -> Result<usize, ActivityFault> {
    let numbers = sqlx::query_scalar!(
        r#"
        with overdue as materialized (
            select reservation_key from inventory.reservations
            -- One whose order is not on record is `prove`'s to report, and must not stop the rest.
            join orders.orders using (order_id)
            where state = 'held' and expires_at <= now()
            order by expires_at
            limit $1
        ), free as materialized (
            select sku from inventory.stock
            where sku in (
                select sku from overdue join inventory.reservation_lines using (reservation_key)
            )
            order by sku
            for update skip locked
        ), due as materialized (
            select reservation_key, order_id
            from overdue
            join inventory.reservations using (reservation_key)
            join orders.orders using (order_id)
            where state = 'held' and not exists (
                select from inventory.reservation_lines as line
                where line.reservation_key = overdue.reservation_key
                    and sku not in (select sku from free)
            )
            for update of reservations skip locked
            for no key update of orders skip locked
        ), expired as (
            update inventory.reservations set state = 'expired'
            from due where reservations.reservation_key = due.reservation_key
        ), line as (
            select due.reservation_key, line.sku, line.quantity
            from due join inventory.reservation_lines as line using (reservation_key)
        ), total as (
            select sku, sum(quantity)::bigint as quantity from line group by sku
        ), given_back as (
            update inventory.stock set reserved = stock.reserved - total.quantity
            from total where stock.sku = total.sku
        ), movement as (
            insert into inventory.movements (sku, quantity, reason, reservation_key)
            select sku, quantity, 'expired', reservation_key from line
        )
        select number as "number!"
        from due cross join lateral orders.record(
            order_id,
            'stock.reservation-expired',
            jsonb_build_object('reservation', reservation_key)
        ) as number
        "#,
        limit,
    )
    .fetch_all(db)
    .await
    .map_err(|error| ActivityFault::of_database("releasing expired reservations", error))?;
    Ok(numbers.len())
}
