//! Reads an order's data for a document from the database, with one statement for each part.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::refund::{Parts, RefundLine};
use domain::{CountryCode, Currency, Money, OrderLine, Sku, Totals};
use rust_decimal::Decimal;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::Failure;
use super::paper::Buyer;

/// An order on record.
pub(super) struct OnRecord {
    pub(super) order_id: Uuid,
    pub(super) placed_at: DateTime<Utc>,
    pub(super) lines: Vec<OrderLine>,
    pub(super) totals: Totals,
    /// The amount captured.
    pub(super) captured: Money,
    /// The country of destination, which decides the tax.
    pub(super) ship_to: CountryCode,
    pub(super) buyer: Buyer,
}

fn unusable(what: &'static str) -> Failure {
    Failure::Refused(format!("{what} cannot be used as the database has it"))
}

fn currency(code: &str) -> Result<Currency, Failure> {
    Currency::from_code(code).ok_or_else(|| unusable("the currency"))
}

fn money(amount: Decimal, currency: Currency) -> Result<Money, Failure> {
    Money::new(amount, currency).map_err(|_wrong| unusable("an amount"))
}

fn country(code: &str) -> Result<CountryCode, Failure> {
    CountryCode::parse(code).map_err(|_unknown| unusable("the country"))
}

/// Reads an order.
///
/// A buyer without an address on record, or whose address was erased, is named by the customer's
/// name or number.
///
/// **Errors.** The order is not on record, or its data are invalid.
pub(super) async fn order(db: &mut PgConnection, order_id: Uuid) -> Result<OnRecord, Failure> {
    let row = sqlx::query!(
        r#"
        select placed.customer_id as "customer_id!", placed.placed_at as "placed_at!",
            placed.currency as "currency!", placed.subtotal as "subtotal!",
            placed.discount as "discount!", placed.shipping as "shipping!", placed.tax as "tax!",
            placed.total as "total!", placed.country as "country!",
            placed.lines as "lines!: Json<Vec<OrderLine>>",
            coalesce((
                select sum(captured) from payments.charges
                where charges.order_id = placed.order_id
            ), 0) as "captured!",
            address.name as "recipient?", address.line1 as "line1?", address.line2 as "line2?",
            address.city as "city?", address.postal_code as "postal_code?",
            address.country as "address_country?",
            customer.name as "customer?"
        from orders.orders as placed
        left join customers.addresses as address on address.address_id = placed.address_id
        left join customers.customers as customer on customer.customer_id = placed.customer_id
        where placed.order_id = $1
        "#,
        order_id,
    )
    .fetch_optional(db)
    .await?;
    let row = row.ok_or_else(|| Failure::Refused("the order is not on record".to_owned()))?;
    let of = currency(&row.currency)?;
    let ship_to = country(&row.country)?;
    let address_country = row.address_country.as_deref().map(country).transpose()?;
    Ok(OnRecord {
        order_id,
        placed_at: row.placed_at,
        lines: row.lines.0,
        totals: Totals {
            subtotal: money(row.subtotal, of)?,
            discount: money(row.discount, of)?,
            shipping: money(row.shipping, of)?,
            tax: money(row.tax, of)?,
            total: money(row.total, of)?,
        },
        captured: money(row.captured, of)?,
        ship_to,
        buyer: Buyer {
            name: row.recipient.or(row.customer).unwrap_or(row.customer_id),
            line1: row.line1,
            line2: row.line2,
            city: row.city,
            postal_code: row.postal_code,
            country: address_country.unwrap_or(ship_to),
        },
    })
}

/// The tax rates of a country: first the current one, then the earlier ones, then the later ones,
/// the nearest first. The programs' clocks may differ, and the starter caches a rate for a moment
/// after a change.
pub(super) async fn rates(
    db: &mut PgConnection,
    country: CountryCode,
    at: DateTime<Utc>,
) -> Result<Vec<Decimal>, Failure> {
    let rates = sqlx::query_scalar!(
        r#"
        select percent from invoices.tax_rates where country = $1
        order by since > $2, case when since > $2 then since end, since desc
        "#,
        country.to_string(),
        at,
    );
    Ok(rates.fetch_all(db).await?)
}

/// The names of articles.
pub(super) async fn names(
    db: &mut PgConnection,
    lines: &[OrderLine],
) -> Result<BTreeMap<Sku, String>, Failure> {
    let skus: Vec<_> = lines.iter().map(|line| line.sku.to_string()).collect();
    let rows = sqlx::query!("select sku, name from catalog.products where sku = any($1)", &skus)
        .fetch_all(db)
        .await?;
    let named = rows.into_iter().filter_map(|row| Some((Sku::parse(row.sku).ok()?, row.name)));
    Ok(named.collect())
}

/// The amounts of a refund, and its goods, if it is for goods.
///
/// **Errors.** The refund is not on record, or its data are invalid.
pub(super) async fn refund(
    db: &mut PgConnection,
    order_id: Uuid,
    number: u32,
) -> Result<(Parts, Vec<RefundLine>), Failure> {
    let row = sqlx::query!(
        r#"
        select currency, goods, goods_tax, shipping, shipping_tax,
            lines as "lines: Json<Vec<RefundLine>>"
        from payments.refund_requests where order_id = $1 and number = $2
        "#,
        order_id,
        i32::try_from(number).map_err(|_too_large| unusable("the refund's number"))?,
    )
    .fetch_optional(db)
    .await?;
    let row = row.ok_or_else(|| Failure::Refused("the refund is not on record".to_owned()))?;
    let of = currency(&row.currency)?;
    let parts = Parts {
        goods: money(row.goods, of)?,
        goods_tax: money(row.goods_tax, of)?,
        shipping: money(row.shipping, of)?,
        shipping_tax: money(row.shipping_tax, of)?,
    };
    Ok((parts, row.lines.0))
}
