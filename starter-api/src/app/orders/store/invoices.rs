//! SQL for invoices and credit notes.

use chrono::{DateTime, Utc};
use domain::OrderId;
use rust_decimal::Decimal;
use sqlx::PgPool;

use crate::app::money::stored_money;
use crate::app::orders::invoices::{Digests, InvoiceFormat, InvoiceResource};
use crate::error::{OrProblem, Problem};

/// A stored document.
#[derive(Clone, Debug)]
pub(crate) struct StoredInvoice {
    pub(crate) invoice_id: i64,
    pub(crate) resource: InvoiceResource,
}

#[derive(Debug, thiserror::Error)]
#[error("document {0} is not valid as stored")]
struct BadInvoice(i64);

struct Row {
    invoice_id: i64,
    number: String,
    kind: String,
    refund: Option<i32>,
    corrects: Option<String>,
    currency: String,
    net: Decimal,
    tax: Decimal,
    total: Decimal,
    issued_at: DateTime<Utc>,
    ubl: String,
    cii: String,
    html: String,
    pdf: String,
}

impl Row {
    fn read(self) -> Option<StoredInvoice> {
        let money = |amount| stored_money(amount, &self.currency);
        let resource = InvoiceResource {
            kind: self.kind.parse().ok()?,
            issued_at: self.issued_at,
            refund: self.refund.map(u32::try_from).transpose().ok()?,
            net: money(self.net)?,
            tax: money(self.tax)?,
            total: money(self.total)?,
            sha256: Digests { ubl: self.ubl, cii: self.cii, html: self.html, pdf: self.pdf },
            number: self.number,
            corrects: self.corrects,
        };
        Some(StoredInvoice { invoice_id: self.invoice_id, resource })
    }
}

/// The documents of an order, in the order of issue.
pub(crate) async fn of(
    database: &PgPool,
    order_id: OrderId,
) -> Result<Vec<StoredInvoice>, Problem> {
    const DOING: &str = "listing an order's invoices";
    let rows = sqlx::query_as!(
        Row,
        r#"
        select one.invoice_id, one.number, one.kind, one.refund, other.number as "corrects?",
            one.currency, one.net, one.tax, one.total, one.issued_at,
            encode(one.ubl_sha256, 'hex') as "ubl!", encode(one.cii_sha256, 'hex') as "cii!",
            encode(one.html_sha256, 'hex') as "html!", encode(one.pdf_sha256, 'hex') as "pdf!"
        from invoices.invoices as one
        left join invoices.invoices as other on other.invoice_id = one.corrects
        where one.order_id = $1 order by one.invoice_id
        "#,
        order_id.uuid(),
    )
    .fetch_all(database)
    .await
    .or_problem(DOING)?;
    let read = |row: Row| {
        let invoice_id = row.invoice_id;
        row.read().ok_or_else(|| Problem::internal(DOING, &BadInvoice(invoice_id)))
    };
    rows.into_iter().map(read).collect()
}

/// A document, byte for byte as it was issued.
pub(crate) async fn document(
    database: &PgPool,
    invoice_id: i64,
    format: InvoiceFormat,
) -> Result<Vec<u8>, Problem> {
    sqlx::query_scalar!(
        r#"
        select case $2::text when 'ubl' then ubl when 'cii' then cii when 'html' then html
            else pdf end as "document!"
        from invoices.invoices where invoice_id = $1
        "#,
        invoice_id,
        format.name(),
    )
    .fetch_one(database)
    .await
    .or_problem("reading an invoice")
}
