//! The invoice of an order and its credit notes: the list, and the documents.

use chrono::{DateTime, Utc};
use domain::Money;
use domain::invoice::DocumentKind;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;
use utoipa::ToSchema;

use crate::app::App;
use crate::app::orders::store::invoices::{self, StoredInvoice};
use crate::app::orders::{parse_id, read};
use crate::error::{Kind, Problem};
use crate::identity::Caller;

/// An issued invoice or credit note. It is immutable.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Invoice)]
pub(crate) struct InvoiceResource {
    /// Its number.
    #[schema(example = "INV-000001")]
    pub(crate) number: String,
    /// Invoice or credit note. The amounts of a credit note are positive, too.
    pub(crate) kind: DocumentKind,
    /// When it was issued.
    pub(crate) issued_at: DateTime<Utc>,
    /// The number of the refund that it documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refund: Option<u32>,
    /// The number of the document that it corrects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) corrects: Option<String>,
    /// The net amount.
    pub(crate) net: Money,
    /// The tax.
    pub(crate) tax: Money,
    /// The gross amount: paid by the customer, or refunded.
    pub(crate) total: Money,
    /// The checksum of each format of the document.
    pub(crate) sha256: Digests,
}

/// The SHA-256 of each format of a document, in hexadecimal.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = InvoiceDigests)]
pub(crate) struct Digests {
    /// Of the UBL.
    pub(crate) ubl: String,
    /// Of the CII.
    pub(crate) cii: String,
    /// Of the HTML.
    pub(crate) html: String,
    /// Of the PDF.
    pub(crate) pdf: String,
}

/// A format of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum InvoiceFormat {
    /// UBL 2.1.
    Ubl,
    /// UN/CEFACT CII.
    Cii,
    /// For people.
    Html,
    /// PDF/A-3b with the CII embedded: Factur-X.
    Pdf,
}

impl InvoiceFormat {
    /// Its name in requests and in the database.
    pub(crate) fn name(self) -> &'static str {
        self.into()
    }
}

/// A document, byte for byte as it was issued.
pub(crate) struct InvoiceDocument {
    /// Its number.
    pub(crate) number: String,
    /// The document in the requested format.
    pub(crate) bytes: Vec<u8>,
}

/// The documents of an order, in the order of issue.
pub(crate) async fn list(
    app: &App,
    caller: &Caller,
    order_id: &str,
) -> Result<Vec<InvoiceResource>, Problem> {
    let order = read::read(app, caller, parse_id(order_id)?).await?;
    let issued = invoices::of(&app.database, order.order_id).await?;
    Ok(issued.into_iter().map(|one| one.resource).collect())
}

/// The order's invoice, or its document with this number.
///
/// **Errors.** 404 while nothing is issued, or if the order has no document with this number.
pub(crate) async fn document(
    app: &App,
    caller: &Caller,
    order_id: &str,
    number: Option<&str>,
    format: InvoiceFormat,
) -> Result<InvoiceDocument, Problem> {
    let order = read::read(app, caller, parse_id(order_id)?).await?;
    let issued = invoices::of(&app.database, order.order_id).await?;
    let is_wanted = |one: &StoredInvoice| match number {
        Some(number) => one.resource.number == number,
        None => one.resource.kind == DocumentKind::Invoice && one.resource.refund.is_none(),
    };
    let found = issued.into_iter().find(is_wanted);
    let found = found.ok_or_else(|| not_issued(number.is_some()))?;
    let bytes = invoices::document(&app.database, found.invoice_id, format).await?;
    Ok(InvoiceDocument { number: found.resource.number, bytes })
}

fn not_issued(is_by_number: bool) -> Problem {
    let detail = if is_by_number {
        "The order has no document of this number. /invoices lists those that it has."
    } else {
        "No invoice of the order is issued. That is done a moment after its parcel is handed over, or \
         after it is paid, if this shop issues invoices."
    };
    Problem::new(Kind::InvoiceNotIssued, detail)
}
