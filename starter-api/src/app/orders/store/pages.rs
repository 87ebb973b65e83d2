//! Pages of orders.
//!
//! There is a query for each kind of filter, which reads the orders in the order of the list by the
//! index that is made for it, and stops when the page is full. One query with every filter left open
//! does not do: Postgres plans a statement that has been run a few times without its parameters, and
//! cannot use an index for a filter that may not be there.

use domain::{Attention, CustomerId, OrderLine, OrderStatus, Terms};
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;

use super::search::{self, Hits};
use super::{OrderRow, orders_where};
use crate::app::input::SearchText;
use crate::app::orders::filter::{
    FulfilmentStatuses, ListOrders, OrderCursor, PaymentStatuses, Statuses,
};
use crate::app::orders::{CustomerAction, OrderResource, StoredOrder};
use crate::error::{OrProblem, Problem};

/// How many orders a page of a search looks through that goes order by order.
const LOOKED_THROUGH: i64 = 5_000;

const DOING: &str = "listing orders";

/// A page of orders.
#[derive(Debug)]
pub(crate) struct Found {
    /// The orders of the page, and one more if there is a next page.
    pub(crate) orders: Vec<OrderResource>,
    /// The last order that was looked at, if there are more behind it that were not.
    pub(crate) looked_through: Option<OrderCursor>,
}

type Rows = sqlx::Result<Vec<OrderRow>>;

/// A page of the orders that the condition between the two texts selects: the filters of the listing,
/// and the text, if one is given. Further arguments begin at `$13`.
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

/// The page of the listing: of the customer's orders, or of all.
pub(crate) async fn page(
    database: &PgPool,
    customer: Option<&CustomerId>,
    listing: &ListOrders,
) -> Result<Found, Problem> {
    let rows = match (customer, &listing.text) {
        (Some(customer), text) => {
            of_customer(database, customer, listing, text.as_ref()).await.or_problem(DOING)?
        }
        (None, Some(text)) => return searched(database, listing, text).await,
        (None, None) => of_all(database, listing).await.or_problem(DOING)?,
    };
    Found::of(rows, None)
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

/// A customer's orders are few beside all orders, so no other filter needs an index of its own.
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

async fn of_all(database: &PgPool, listing: &ListOrders) -> Rows {
    let ListOrders { statuses, payment_statuses, fulfilment_statuses, .. } = listing;
    let is_by_standing =
        statuses.is_some() || payment_statuses.is_some() || fulfilment_statuses.is_some();
    // What few orders are in comes first: the other filters are applied to those.
    if listing.needs_attention == Some(true) {
        needing_attention(database, listing).await
    } else if listing.unwinding == Some(true) {
        unwinding(database, listing).await
    } else if is_by_standing {
        by_standing(database, listing).await
    } else {
        page_of!(
            database,
            listing,
            None::<&SearchText>,
            ["where "],
            [" order by placed_at desc, order_id limit $3"],
        )
    }
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

/// By the three statuses: a page of each combination of them that the filters allow, of which most do
/// not exist, and the page of these.
async fn by_standing(database: &PgPool, listing: &ListOrders) -> Rows {
    page_of!(
        database,
        listing,
        None::<&SearchText>,
        ["where order_id = any (array(
              select listed.order_id
              from unnest($13::text[]) as allowed (status),
                  unnest($14::text[]) as allowed_payment (status),
                  unnest($15::text[]) as allowed_fulfilment (status),
                  lateral (
                      select order_id, placed_at from orders.orders
                      where status = allowed.status
                          and payment_status = allowed_payment.status
                          and fulfilment_status = allowed_fulfilment.status
                          and "],
        ["            order by placed_at desc, order_id limit $3
                  ) as listed
              order by listed.placed_at desc, listed.order_id limit $3
          )) order by placed_at desc, order_id"],
        &Statuses::allowed_by(listing.statuses.as_ref()),
        &PaymentStatuses::allowed_by(listing.payment_statuses.as_ref()),
        &FulfilmentStatuses::allowed_by(listing.fulfilment_statuses.as_ref()),
    )
}

/// What a text finds among all orders. It is looked up first; only what is on many orders, or on
/// lines of orders, is looked for order by order, so many at a time.
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
        None => scanned(database, listing, text).await,
    }
}

/// The orders of all that was looked up. Each query answers a page, so the first of all of these are
/// the page.
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

async fn with_ids(database: &PgPool, listing: &ListOrders, ids: &[Uuid]) -> Rows {
    page_of!(
        database,
        listing,
        None::<&SearchText>,
        ["where order_id = any ($13) and "],
        [" order by placed_at desc, order_id limit $3"],
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

/// Looks for the text order by order, in the next so many of the list.
async fn scanned(
    database: &PgPool,
    listing: &ListOrders,
    text: &SearchText,
) -> Result<Found, Problem> {
    let rows = page_of!(
        database,
        listing,
        Some(text),
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
    )
    .or_problem(DOING)?;
    let is_full = usize::try_from(listing.size.to_read()).is_ok_and(|full| rows.len() >= full);
    let looked_through = if is_full { None } else { last_looked_at(database, listing).await? };
    Found::of(rows, looked_through)
}

/// Where the orders end that one page looks through; `None` if the list ends before.
async fn last_looked_at(
    database: &PgPool,
    listing: &ListOrders,
) -> Result<Option<OrderCursor>, Problem> {
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
    .fetch_optional(database)
    .await
    .or_problem(DOING)
}
