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
const XML: &str = "application/xml";

/// Which document, and how.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct InvoiceQuery {
    /// As `ubl`, `cii` or `html`. Left out, `Accept` decides between HTML and UBL.
    #[param(value_type = Option<String>, pattern = "^(ubl|cii|html)$", example = "cii")]
    format: Option<InvoiceFormat>,
    /// The number of another document of the order, such as a credit note; left out, its invoice.
    #[param(value_type = Option<String>, example = "CN-000001")]
    number: Option<String>,
}

/// Shows an order's invoice, or another document of it, byte for byte as it was issued: as UBL or CII,
/// the two syntaxes of EN 16931, or as HTML.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}/invoice", tag = "orders", security(("bearer" = ["orders:read"])),
    params(("order_id" = Uuid, Path, description = "The order"), InvoiceQuery),
    responses(
        (status = 200, description = "The document", content(
            (String = "application/xml", example = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>…"),
            (String = "text/html", example = "<!DOCTYPE html>…"),
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
    let by_accept =
        || if wants(&headers, HTML, XML) { InvoiceFormat::Html } else { InvoiceFormat::Ubl };
    let format = query.format.unwrap_or_else(by_accept);
    let number = query.number.as_deref();
    let document = invoices::document(&state.app, &caller, &order_id, number, format).await?;
    let (media_type, ending) = match format {
        InvoiceFormat::Ubl | InvoiceFormat::Cii => (XML, "xml"),
        InvoiceFormat::Html => (HTML, "html"),
    };
    let InvoiceDocument { number, bytes } = document;
    let shown = [
        (header::CONTENT_TYPE, format!("{media_type}; charset=utf-8")),
        (header::CONTENT_DISPOSITION, format!("inline; filename=\"{}.{ending}\"", file(&number))),
        (header::VARY, "Accept".to_owned()),
    ];
    Ok((shown_alone(), shown, bytes).into_response())
}

/// What a browser may do with the page: show it, and nothing else. It names the buyer, so nobody keeps it.
fn shown_alone() -> [(HeaderName, &'static str); 3] {
    [
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "private, no-store"),
    ]
}

/// A number as the name of a file: it may have `/` in it.
fn file(number: &str) -> String {
    number.replace('/', "-")
}
