//! `GET /v1/orders/{order_id}/refunds`: lists the refunds of an order.

use axum::Json;
use axum::extract::State as Shared;

use crate::app::orders::refund::{self, RefundResource};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Path;
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::identity::{Authorized, scope};

/// Lists an order's refunds, oldest first; there are at most 100.
///
/// Money returned because an order was cancelled or rejected is not listed here: the order's
/// `payment_status` shows it.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}/refunds", tag = "orders", security(("bearer" = ["orders:read"])),
    params(("order_id" = Uuid, Path, description = "The order")),
    responses(
        (status = 200, description = "The order's refunds", body = Vec<RefundResource>),
        (status = 404, description = "There is no such order", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        ReadProblems,
    ),
)]
pub(crate) async fn refunds(
    Authorized { caller, .. }: Authorized<scope::ReadOrders>,
    Shared(state): Shared<State>,
    Path(order_id): Path<String>,
) -> Result<Json<Vec<RefundResource>>, Problem> {
    Ok(Json(refund::list(&state.app, &caller, &order_id).await?))
}
