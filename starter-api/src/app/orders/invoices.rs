//! The invoice of an order and its credit notes: what was issued, and the documents themselves.

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

/// An invoice or a credit note that was issued. It is never changed afterwards.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Invoice)]
pub(crate) struct InvoiceResource {
    /// Its number.
    #[schema(example = "INV-000001")]
    pub(crate) number: String,
    /// Which of the two it is. Of a credit note all amounts are positive, too.
    pub(crate) kind: DocumentKind,
    /// When it was issued.
    pub(crate) issued_at: DateTime<Utc>,
    /// The order's refund that it is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refund: Option<u32>,
    /// The number of the document that it takes back, or takes something off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) corrects: Option<String>,
    /// What tax is on.
    pub(crate) net: Money,
    /// The tax.
    pub(crate) tax: Money,
    /// What the customer has paid, or has back.
    pub(crate) total: Money,
    /// By what each form of the document is known again.
    pub(crate) sha256: Digests,
}

/// The SHA-256 of each form of a document, in hexadecimal digits.
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

/// A form that documents have.
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
    /// PDF/A-3b with the CII in it: Factur-X.
    Pdf,
}

impl InvoiceFormat {
    /// Its name, in the settings of a request and in the database.
    pub(crate) fn name(self) -> &'static str {
        self.into()
    }
}

/// A document, byte for byte as it was issued.
pub(crate) struct InvoiceDocument {
    /// Its number.
    pub(crate) number: String,
    /// What it is in the form that was asked for.
    pub(crate) bytes: Vec<u8>,
}

/// What was issued for an order, in the order of issuing.
pub(crate) async fn list(
    app: &App,
    caller: &Caller,
    order_id: &str,
) -> Result<Vec<InvoiceResource>, Problem> {
    let order = read::read(app, caller, parse_id(order_id)?).await?;
    let issued = invoices::of(&app.database, order.order_id).await?;
    Ok(issued.into_iter().map(|one| one.resource).collect())
}

/// The order's invoice, or the document with this number.
///
/// **Errors.** 404 while nothing is issued; or for a number that is no document's of the order.
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
