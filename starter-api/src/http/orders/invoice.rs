//! `GET /v1/orders/{order_id}/invoice`: an order's invoice, as it was issued.

use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::orders::invoices::{self, InvoiceDocument, InvoiceFormat};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Path, Query, wants};
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::identity::{Authorized, scope};

const HTML: &str = "text/html";
const PDF: &str = "application/pdf";
const XML: &str = "application/xml";

/// Query parameters.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct InvoiceQuery {
    /// The format: `ubl`, `cii`, `html` or `pdf`. If left out, `Accept` decides between PDF, HTML
    /// and UBL.
    #[param(value_type = Option<String>, pattern = "^(ubl|cii|html|pdf)$", example = "cii")]
    format: Option<InvoiceFormat>,
    /// The number of another document of the order, such as a credit note; if left out, its
    /// invoice.
    #[param(value_type = Option<String>, example = "CN-000001")]
    number: Option<String>,
}

/// Shows an order's invoice, or another of its documents, byte for byte as it was issued: as UBL or
/// CII, the two syntaxes of EN 16931, as HTML, or as a PDF with the CII embedded (Factur-X).
#[utoipa::path(
    get, path = "/v1/orders/{order_id}/invoice", tag = "orders", security(("bearer" = ["orders:read"])),
    params(("order_id" = Uuid, Path, description = "The order"), InvoiceQuery),
    responses(
        (status = 200, description = "The document", content(
            (String = "application/xml", example = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>…"),
            (String = "text/html", example = "<!DOCTYPE html>…"),
            (String = "application/pdf", example = "%PDF-1.7…"),
        )),
        (status = 404, description = "There is no such order, or nothing is issued for it yet",
         body = Document, content_type = "application/problem+json"),
        AuthResponses,
        ReadProblems,
    ),
)]
pub(crate) async fn invoice(
    Authorized { caller, .. }: Authorized<scope::ReadOrders>,
    Shared(state): Shared<State>,
    Path(order_id): Path<String>,
    Query(query): Query<InvoiceQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = query.format.unwrap_or_else(|| accepted(&headers));
    let number = query.number.as_deref();
    let document = invoices::document(&state.app, &caller, &order_id, number, format).await?;
    let (content_type, ending) = match format {
        InvoiceFormat::Ubl | InvoiceFormat::Cii => (format!("{XML}; charset=utf-8"), "xml"),
        InvoiceFormat::Html => (format!("{HTML}; charset=utf-8"), "html"),
        InvoiceFormat::Pdf => (PDF.to_owned(), "pdf"),
    };
    let InvoiceDocument { number, bytes } = document;
    let shown = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_DISPOSITION, format!("inline; filename=\"{}.{ending}\"", file(&number))),
        (header::VARY, "Accept".to_owned()),
    ];
    Ok((shown_alone(format), shown, bytes).into_response())
}

/// The format that the caller prefers; UBL without a preference.
fn accepted(headers: &HeaderMap) -> InvoiceFormat {
    if wants(headers, PDF, XML) && wants(headers, PDF, HTML) {
        InvoiceFormat::Pdf
    } else if wants(headers, HTML, XML) {
        InvoiceFormat::Html
    } else {
        InvoiceFormat::Ubl
    }
}

/// A strict content policy: a browser may only display the page. It contains the buyer's name, so
/// it must not be cached.
fn shown_alone(format: InvoiceFormat) -> [(HeaderName, &'static str); 3] {
    let policy = match format {
        InvoiceFormat::Ubl | InvoiceFormat::Cii | InvoiceFormat::Html => {
            "default-src 'none'; style-src 'unsafe-inline'"
        }
        // A PDF does not load anything, and a stricter policy would apply to the browser's own
        // viewer, which in Chrome then shows nothing.
        InvoiceFormat::Pdf => "frame-ancestors 'none'",
    };
    [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "private, no-store"),
    ]
}

/// Turns a document number into a file name: the number may contain `/`.
fn file(number: &str) -> String {
    number.replace('/', "-")
}
