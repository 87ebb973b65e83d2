//! `GET /v1/orders/{order_id}/refunds`: what was given back of an order.

use axum::Json;
use axum::extract::State as Shared;

use crate::app::orders::refund::{self, RefundResource};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Path;
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::identity::{Authorized, scope};

/// Lists an order's refunds, the first one first; there are 100 at most.
///
/// What an order that was cancelled or rejected has given back is no refund of this kind: its
/// `payment_status` says so.
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
