//! Stores document numbers and documents.

use chrono::{DateTime, Utc};
use domain::invoice::{Document, DocumentKind, Occasion};
use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

/// A number taken in the current transaction.
pub(super) struct Number {
    series_id: i64,
    serial: i64,
    /// As printed.
    pub(super) text: String,
    /// When it was taken. Within a series, later numbers have later times.
    pub(super) at: DateTime<Utc>,
}

/// A document that was issued.
pub(super) struct Issued {
    pub(super) invoice_id: i64,
    pub(super) number: String,
    pub(super) at: DateTime<Utc>,
    pub(super) tax_percent: Decimal,
}

/// What is stored under a number.
pub(super) struct Kept<'a> {
    pub(super) order_id: Uuid,
    pub(super) occasion: Occasion,
    pub(super) seller: &'a str,
    /// The document that it corrects.
    pub(super) corrects: Option<i64>,
    pub(super) document: &'a Document,
    pub(super) ubl: &'a str,
    pub(super) cii: &'a str,
    pub(super) html: &'a str,
    pub(super) pdf: &'a [u8],
}

/// A refund's number as the database's type; there are at most a hundred.
fn refund_of(occasion: Occasion) -> Option<i32> {
    occasion.refund().map(|number| i32::try_from(number).unwrap_or(i32::MAX))
}

/// The document issued for an occasion of the order, if any.
pub(super) async fn find(
    db: &mut PgConnection,
    order_id: Uuid,
    occasion: Occasion,
) -> Result<Option<Issued>, sqlx::Error> {
    sqlx::query_as!(
        Issued,
        r#"
        select invoice_id, number, issued_at as at, tax_percent from invoices.invoices
        where order_id = $1 and kind = $2 and refund is not distinct from $3
        "#,
        order_id,
        occasion.kind().name(),
        refund_of(occasion),
    )
    .fetch_optional(db)
    .await
}

/// Takes the next number of a series, and creates the series if it does not exist. Another
/// transaction that takes a number waits for this one; a rollback frees the number.
///
/// Returns `None` if the prefix belongs to the other kind of document.
pub(super) async fn take_number(
    db: &mut PgConnection,
    seller: &str,
    kind: DocumentKind,
    prefix: &str,
) -> Result<Option<Number>, sqlx::Error> {
    sqlx::query_as!(
        Number,
        r#"
        insert into invoices.series as known (seller, kind, prefix, next_number)
        values ($1, $2, $3, 2)
        on conflict (seller, prefix) do update set next_number = known.next_number + 1
        where known.kind = excluded.kind
        returning series_id, next_number - 1 as "serial!",
            invoices.number_of(prefix, next_number - 1) as "text!", clock_timestamp() as "at!"
        "#,
        seller,
        kind.name(),
        prefix,
    )
    .fetch_optional(db)
    .await
}

/// Stores a document under its number. Returns `None` if another process has issued one for the
/// same occasion meanwhile: then the transaction has to be rolled back, and with it the number.
pub(super) async fn keep(
    db: &mut PgConnection,
    number: &Number,
    kept: &Kept<'_>,
) -> Result<Option<i64>, sqlx::Error> {
    let Kept { order_id, occasion, seller, corrects, document, ubl, cii, html, pdf } = kept;
    sqlx::query_scalar!(
        r#"
        insert into invoices.invoices (
            series_id, serial, number, seller, kind, order_id, refund, corrects, currency,
            tax_percent, net, tax, total, issued_at, ubl, cii, html, pdf
        ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
        on conflict on constraint invoices_once_per_occasion do nothing
        returning invoice_id
        "#,
        number.series_id,
        number.serial,
        number.text,
        *seller,
        occasion.kind().name(),
        *order_id,
        refund_of(*occasion),
        *corrects,
        document.currency().code(),
        document.tax_percent,
        document.net.amount(),
        document.tax.amount(),
        document.total.amount(),
        number.at,
        ubl.as_bytes(),
        cii.as_bytes(),
        html.as_bytes(),
        *pdf,
    )
    .fetch_optional(db)
    .await
}
