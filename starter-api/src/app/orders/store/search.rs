//! The first part of a search: looks up by index what the text can be, before orders are read.

use domain::OrderId;
use sqlx::PgPool;
use uuid::Uuid;

use crate::app::input::SearchText;
use crate::error::{OrProblem, Problem};

/// The maximum number of orders with the same start of the id. The first eight digits of an id that
/// the starter generates (a `UUIDv7`) cover about a minute of orders.
const ORDERS_MAX: usize = 10_000;

/// The maximum number of customers with the same start of the id.
const CUSTOMERS_MAX: usize = 50;

/// What a lookup has found.
#[derive(Debug)]
pub(super) struct Hits {
    /// Orders whose id starts with the text, or whose tracking number is the text.
    pub(super) orders: Vec<Uuid>,
    /// Customers whose id starts with the text.
    pub(super) customers: Vec<String>,
    /// Whether an order has the text as its discount code.
    pub(super) is_discount_code: bool,
}

/// Looks the text up; `None` if it is the SKU of an article, or has too many hits. Then the orders
/// have to be scanned.
pub(super) async fn look_up(database: &PgPool, text: &SearchText) -> Result<Option<Hits>, Problem> {
    let (first, last) = ids_beginning_with(&beginning_of_id(text)).unzip();
    let row = sqlx::query!(
        r#"
        with recursive customer (lowered, customer_id) as (
            (
                select lower(data ->> 'customer_id') collate "C", (data ->> 'customer_id') collate "C"
                from orders.order_events
                where type = 'order.placed'
                    and lower(data ->> 'customer_id') collate "C" >= lower($1) collate "C"
                order by 1, 2 limit 1
            )
            union all
            select next.lowered, next.customer_id
            from customer, lateral (
                select lower(data ->> 'customer_id') collate "C" as lowered,
                    (data ->> 'customer_id') collate "C" as customer_id
                from orders.order_events
                where type = 'order.placed'
                    and (lower(data ->> 'customer_id') collate "C",
                         (data ->> 'customer_id') collate "C")
                        > (customer.lowered, customer.customer_id)
                order by 1, 2 limit 1
            ) as next
            where starts_with(customer.lowered, lower($1))
        )
        select
            array(
                select order_id from orders.orders
                where order_id between $2 and $3 order by order_id limit $4
            ) as "orders!",
            array(
                select order_id from orders.order_events
                where type = 'order.shipped' and lower(data ->> 'tracking') = lower($1) limit $4
            ) as "tracked!",
            array(
                select customer_id from customer where starts_with(lowered, lower($1)) limit $5
            ) as "customers!",
            exists (
                select from orders.orders
                where discount_code is not null and lower(discount_code) = lower($1)
            ) as "is_discount_code!",
            exists (select from catalog.products where lower(sku) = lower($1)) as "is_article!"
        "#,
        text.as_str(),
        first,
        last,
        one_more_than(ORDERS_MAX),
        one_more_than(CUSTOMERS_MAX),
    )
    .fetch_one(database)
    .await
    .or_problem("looking up what is searched for")?;
    let is_common = row.orders.len() > ORDERS_MAX
        || row.tracked.len() > ORDERS_MAX
        || row.customers.len() > CUSTOMERS_MAX;
    if row.is_article || is_common {
        return Ok(None);
    }
    let mut orders = row.orders;
    orders.extend(row.tracked);
    orders.sort_unstable();
    orders.dedup();
    Ok(Some(Hits { orders, customers: row.customers, is_discount_code: row.is_discount_code }))
}

/// The limit of a query that tells whether there are more than `most` rows.
fn one_more_than(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1)
}

/// The start of an order's id that the text searches for: without `order-`, the prefix of a
/// workflow's id.
pub(super) fn beginning_of_id(text: &SearchText) -> String {
    let lowered = text.as_str().to_lowercase();
    let id = lowered.strip_prefix(OrderId::WORKFLOW_ID_PREFIX);
    match id.filter(|id| !id.is_empty()) {
        Some(id) => id.to_owned(),
        None => lowered,
    }
}

/// The first and the last id that start with this; `None` if no id does.
fn ids_beginning_with(beginning: &str) -> Option<(Uuid, Uuid)> {
    let pattern = Uuid::nil().to_string();
    let fits = beginning.len() <= pattern.len()
        && beginning.chars().zip(pattern.chars()).all(|(written, place)| match place {
            '-' => written == '-',
            _digit => written.is_ascii_digit() || ('a'..='f').contains(&written),
        });
    let continued = |with: &str| -> Option<Uuid> {
        let rest = pattern.get(beginning.len()..)?.replace('0', with);
        format!("{beginning}{rest}").parse().ok()
    };
    if fits { Some((continued("0")?, continued("f")?)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Option<(String, String)> {
        let text = SearchText::try_from(text.to_owned()).unwrap();
        let ids = ids_beginning_with(&beginning_of_id(&text));
        ids.map(|(first, last)| (first.to_string(), last.to_string()))
    }

    #[test]
    fn a_beginning_of_an_id_is_the_range_of_ids_that_begin_so() {
        let id = "0193a5b2-c1d2-7abc-8def-0123456789ab";
        let of_one = Some((id.to_owned(), id.to_owned()));
        assert_eq!(range(id), of_one);
        assert_eq!(range(&id.to_uppercase()), of_one);
        assert_eq!(range(&format!("order-{id}")), of_one);
        for (text, first, last) in [
            (
                "0193a5b2",
                "0193a5b2-0000-0000-0000-000000000000",
                "0193a5b2-ffff-ffff-ffff-ffffffffffff",
            ),
            (
                "0193A5b2-c",
                "0193a5b2-c000-0000-0000-000000000000",
                "0193a5b2-cfff-ffff-ffff-ffffffffffff",
            ),
            (
                "order-f",
                "f0000000-0000-0000-0000-000000000000",
                "ffffffff-ffff-ffff-ffff-ffffffffffff",
            ),
        ] {
            assert_eq!(range(text), Some((first.to_owned(), last.to_owned())), "{text}");
        }
    }

    #[test]
    fn what_no_id_begins_with_is_no_range() {
        for text in [
            "order-",
            "bob",
            "85123A-x",
            "0193a5b2c",
            "0193a5b2-c1d2-7abc-8def-0123456789abc",
            "0193a5b2-c1d2-7abc-8def-0123456789ab-1",
            "\u{663}",
            "\u{212a}",
        ] {
            assert_eq!(range(text), None, "{text}");
        }
    }
}
