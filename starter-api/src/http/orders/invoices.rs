//! `GET /v1/orders/{order_id}/invoices`: lists the documents of an order.

use axum::Json;
use axum::extract::State as Shared;

use crate::app::orders::invoices::{self, InvoiceResource};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Path;
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::identity::{Authorized, scope};

/// Lists an order's invoice and its credit notes, in the order of issue.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}/invoices", tag = "orders", security(("bearer" = ["orders:read"])),
    params(("order_id" = Uuid, Path, description = "The order")),
    responses(
        (status = 200, description = "The documents of the order", body = Vec<InvoiceResource>),
        (status = 404, description = "There is no such order", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        ReadProblems,
    ),
)]
pub(crate) async fn invoices(
    Authorized { caller, .. }: Authorized<scope::ReadOrders>,
    Shared(state): Shared<State>,
    Path(order_id): Path<String>,
) -> Result<Json<Vec<InvoiceResource>>, Problem> {
    Ok(Json(invoices::list(&state.app, &caller, &order_id).await?))
}
