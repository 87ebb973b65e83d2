//! Pages of the order list.
//!
//! Each kind of filter has its own query, which reads the orders from the newest by a suitable
//! index and stops when the page is full. A single query with optional filters would be slow: after
//! a few executions Postgres plans a statement without its parameters, and an index for a filter
//! that may be null is then not used.
//!
//! A filter without an index scans a bounded number of orders per page. Indexes on `payment_status`
//! and `fulfilment_status` would be expensive: these columns change at each step of an order, and
//! an update of an indexed column adds an entry to every index of the table (it is not HOT).

use domain::{Attention, CustomerId, OrderLine, OrderStatus, Terms};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::search::{self, Hits};
use super::{OrderRow, orders_where};
use crate::app::input::SearchText;
use crate::app::orders::filter::{
    FulfilmentStatuses, ListOrders, OrderCursor, PaymentStatuses, Statuses,
};
use crate::app::orders::{CustomerAction, OrderResource, StoredOrder};
use crate::error::{OrProblem, Problem};

/// The maximum number of orders that are scanned for one page, if no index fits the filter.
const LOOKED_THROUGH: i64 = 5_000;

const DOING: &str = "listing orders";

/// A page of orders.
#[derive(Debug)]
pub(crate) struct Found {
    /// The orders of the page, and one more if there is a next page.
    pub(crate) orders: Vec<OrderResource>,
    /// The last order that was scanned, if the scan stopped before the page was full.
    pub(crate) looked_through: Option<OrderCursor>,
}

type Rows = sqlx::Result<Vec<OrderRow>>;

/// Selects a page of orders. The condition between the two literals applies all filters of the
/// listing, and the text if there is one. Additional arguments start at `$13`.
macro_rules! page_of {
    (
        $database:expr, $listing:expr, $text:expr,
        [$($before:literal)+], [$($after:literal)+] $(, $argument:expr)* $(,)?
    ) => {
        orders_where!(
            $($before)+
            "placed_at <= coalesce($1, 'infinity'::timestamptz)
             and (placed_at < coalesce($1, 'infinity'::timestamptz) or order_id > $2)
             and placed_at >= coalesce($4, '-infinity'::timestamptz)
             and placed_at < coalesce($5, 'infinity'::timestamptz)
             and ($6::text[] is null or status = any($6))
             and ($7::text[] is null or payment_status = any($7))
             and ($8::text[] is null or fulfilment_status = any($8))
             and ($9::boolean is null or (attention is not null) = $9)
             and ($10::boolean is null or (ending is not null) = $10)
             and ($11::text is null
                  or starts_with(order_id::text, $12)
                  or starts_with(lower(customer_id), lower($11))
                  or lower(discount_code) = lower($11)
                  or lower(tracking) = lower($11)
                  or exists (select from jsonb_array_elements(lines) as line
                             where lower(line ->> 'sku') = lower($11)))"
            $($after)+,
            $listing.after.map(|after| after.placed_at),
            $listing.after.map(|after| after.order_id),
            $listing.size.to_read(),
            $listing.placed_from,
            $listing.placed_before,
            $listing.statuses.as_ref().map(Statuses::as_slice),
            $listing.payment_statuses.as_ref().map(PaymentStatuses::as_slice),
            $listing.fulfilment_statuses.as_ref().map(FulfilmentStatuses::as_slice),
            $listing.needs_attention,
            $listing.unwinding,
            $text.map(SearchText::as_str),
            $text.map(search::beginning_of_id),
            $($argument,)*
        )
        .fetch_all($database)
        .await
    };
}

/// A page of the listing: the orders of one customer, or of all.
pub(crate) async fn page(
    database: &PgPool,
    customer: Option<&CustomerId>,
    listing: &ListOrders,
) -> Result<Found, Problem> {
    match (customer, &listing.text) {
        (Some(customer), text) => {
            let rows = of_customer(database, customer, listing, text.as_ref()).await;
            Found::of(rows.or_problem(DOING)?, None)
        }
        (None, Some(text)) => searched(database, listing, text).await,
        (None, None) => of_all(database, listing).await,
    }
}

impl Found {
    fn of(rows: Vec<OrderRow>, looked_through: Option<OrderCursor>) -> Result<Self, Problem> {
        let orders = rows
            .into_iter()
            .map(|row| StoredOrder::try_from(row).map(|stored| stored.resource))
            .collect::<Result<_, _>>()?;
        Ok(Self { orders, looked_through })
    }
}

/// Reads all orders of one customer if necessary: they are few, so other filters need no index.
async fn of_customer(
    database: &PgPool,
    customer: &CustomerId,
    listing: &ListOrders,
    text: Option<&SearchText>,
) -> Rows {
    page_of!(
        database,
        listing,
        text,
        ["where customer_id = $13 and "],
        [" order by placed_at desc, order_id limit $3"],
        customer.as_str(),
    )
}

async fn of_all(database: &PgPool, listing: &ListOrders) -> Result<Found, Problem> {
    let not_completed = listing.statuses.as_ref().and_then(Statuses::without_completed);
    // The most selective filter chooses the index; the other filters are applied to what it reads.
    let rows = if listing.needs_attention == Some(true) {
        needing_attention(database, listing).await
    } else if listing.unwinding == Some(true) {
        unwinding(database, listing).await
    } else if let Some(statuses) = not_completed {
        by_status(database, listing, &statuses).await
    } else if listing.payment_statuses.is_some() || listing.fulfilment_statuses.is_some() {
        return scanned(database, listing, None).await;
    } else {
        newest(database, listing).await
    };
    Found::of(rows.or_problem(DOING)?, None)
}

/// Reads the list in its order: most orders meet each of the filters that remain here.
async fn newest(database: &PgPool, listing: &ListOrders) -> Rows {
    page_of!(
        database,
        listing,
        None::<&SearchText>,
        ["where "],
        [" order by placed_at desc, order_id limit $3"],
    )
}

async fn needing_attention(database: &PgPool, listing: &ListOrders) -> Rows {
    page_of!(
        database,
        listing,
        None::<&SearchText>,
        ["where attention is not null and "],
        [" order by placed_at desc, order_id limit $3"],
    )
}

async fn unwinding(database: &PgPool, listing: &ListOrders) -> Rows {
    page_of!(
        database,
        listing,
        None::<&SearchText>,
        ["where ending is not null and "],
        [" order by placed_at desc, order_id limit $3"],
    )
}

/// Reads a page of each status by the index of orders that are not completed, and selects the first
/// of all these.
async fn by_status(database: &PgPool, listing: &ListOrders, statuses: &[String]) -> Rows {
    page_of!(
        database,
        listing,
        None::<&SearchText>,
        ["where order_id = any (array(
              select listed.order_id
              from unnest($13::text[]) as allowed (status), lateral (
                  select order_id, placed_at from orders.orders
                  where status = allowed.status and status <> 'completed' and "],
        ["        order by placed_at desc, order_id limit $3
              ) as listed
              order by listed.placed_at desc, listed.order_id limit $3
          )) order by placed_at desc, order_id"],
        statuses,
    )
}

/// Searches all orders. What the text can be is looked up by index first. Only a SKU, and the start
/// of very many ids, is searched for in the orders themselves, a bounded number per page.
async fn searched(
    database: &PgPool,
    listing: &ListOrders,
    text: &SearchText,
) -> Result<Found, Problem> {
    match search::look_up(database, text).await? {
        Some(hits) => {
            let rows = of_hits(database, listing, text, &hits).await;
            Found::of(rows.or_problem(DOING)?, None)
        }
        None => scanned(database, listing, Some(text)).await,
    }
}

/// The orders that the lookup has found. Each query returns a page of its own; the first orders of
/// all of them are the page.
async fn of_hits(database: &PgPool, listing: &ListOrders, text: &SearchText, hits: &Hits) -> Rows {
    let mut rows = Vec::new();
    if !hits.orders.is_empty() {
        rows.extend(with_ids(database, listing, &hits.orders).await?);
    }
    if !hits.customers.is_empty() {
        rows.extend(of_customers(database, listing, &hits.customers).await?);
    }
    if hits.is_discount_code {
        rows.extend(with_discount_code(database, listing, text).await?);
    }
    rows.sort_unstable_by(|one, other| {
        other.placed_at.cmp(&one.placed_at).then(one.order_id.cmp(&other.order_id))
    });
    rows.dedup_by_key(|row| row.order_id);
    rows.truncate(usize::try_from(listing.size.to_read()).unwrap_or(usize::MAX));
    Ok(rows)
}

/// Reads each order by the primary key. With a plain `order_id = any ($13)`, Postgres chooses the
/// index by time, which needs no sort, and reads all of it.
async fn with_ids(database: &PgPool, listing: &ListOrders, ids: &[Uuid]) -> Rows {
    page_of!(
        database,
        listing,
        None::<&SearchText>,
        ["where order_id = any (array(
              select listed.order_id
              from unnest($13::uuid[]) as hit (order_id), lateral (
                  select order_id, placed_at from orders.orders
                  where order_id = hit.order_id and "],
        ["        limit 1
              ) as listed
              order by listed.placed_at desc, listed.order_id limit $3
          )) order by placed_at desc, order_id"],
        ids,
    )
}

async fn of_customers(database: &PgPool, listing: &ListOrders, customers: &[String]) -> Rows {
    page_of!(
        database,
        listing,
        None::<&SearchText>,
        ["where order_id = any (array(
              select listed.order_id
              from unnest($13::text[]) as customer (customer_id), lateral (
                  select order_id, placed_at from orders.orders
                  where customer_id = customer.customer_id and "],
        ["        order by placed_at desc, order_id limit $3
              ) as listed
              order by listed.placed_at desc, listed.order_id limit $3
          )) order by placed_at desc, order_id"],
        customers,
    )
}

async fn with_discount_code(database: &PgPool, listing: &ListOrders, code: &SearchText) -> Rows {
    page_of!(
        database,
        listing,
        None::<&SearchText>,
        ["where discount_code is not null and lower(discount_code) = lower($13) and "],
        [" order by placed_at desc, order_id limit $3"],
        code.as_str(),
    )
}

/// Scans the next [`LOOKED_THROUGH`] orders of the list, without an index for the filters. The page
/// may be short, or empty, although the list goes on.
async fn scanned(
    database: &PgPool,
    listing: &ListOrders,
    text: Option<&SearchText>,
) -> Result<Found, Problem> {
    let (rows, looked_through) = scan(database, listing, text).await.or_problem(DOING)?;
    Found::of(rows, looked_through)
}

async fn scan(
    database: &PgPool,
    listing: &ListOrders,
    text: Option<&SearchText>,
) -> sqlx::Result<(Vec<OrderRow>, Option<OrderCursor>)> {
    // Both queries share one snapshot: an order placed in between would move the end of the scan,
    // and the next page would repeat orders.
    let mut moment = database.begin_with("begin isolation level repeatable read read only").await?;
    let rows = page_of!(
        &mut *moment,
        listing,
        text,
        ["where order_id = any (array(
              select order_id from (
                  select * from orders.orders
                  where placed_at <= coalesce($1, 'infinity'::timestamptz)
                      and (placed_at < coalesce($1, 'infinity'::timestamptz) or order_id > $2)
                      and placed_at >= coalesce($4, '-infinity'::timestamptz)
                      and placed_at < coalesce($5, 'infinity'::timestamptz)
                  order by placed_at desc, order_id limit $13
              ) as next
              where "],
        ["    order by placed_at desc, order_id limit $3
          )) order by placed_at desc, order_id"],
        LOOKED_THROUGH,
    )?;
    let is_full = usize::try_from(listing.size.to_read()).is_ok_and(|full| rows.len() >= full);
    let looked_through = if is_full { None } else { last_looked_at(&mut moment, listing).await? };
    moment.commit().await?;
    Ok((rows, looked_through))
}

/// The last order that is scanned for this page; `None` if the list ends before.
async fn last_looked_at(
    connection: &mut PgConnection,
    listing: &ListOrders,
) -> sqlx::Result<Option<OrderCursor>> {
    sqlx::query_as!(
        OrderCursor,
        "select placed_at, order_id from orders.orders
         where placed_at <= coalesce($1, 'infinity'::timestamptz)
             and (placed_at < coalesce($1, 'infinity'::timestamptz) or order_id > $2)
             and placed_at >= coalesce($3, '-infinity'::timestamptz)
             and placed_at < coalesce($4, 'infinity'::timestamptz)
         order by placed_at desc, order_id offset $5 limit 1",
        listing.after.map(|after| after.placed_at),
        listing.after.map(|after| after.order_id),
        listing.placed_from,
        listing.placed_before,
        LOOKED_THROUGH.saturating_sub(1),
    )
    .fetch_optional(connection)
    .await
}
