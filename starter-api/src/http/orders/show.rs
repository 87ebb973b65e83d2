//! `GET /v1/orders/{order_id}`: shows an order.

use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::response::Response;

use crate::app::disputes;
use crate::app::orders::{self, OrderResource};
use crate::error::Problem;
use crate::http::State;
use crate::http::conditional;
use crate::http::extract::Path;
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::identity::{Authorized, scope};

/// Shows an order; for callers who may see disputes, with those about its payment.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}", tag = "orders", security(("bearer" = ["orders:read"])),
    params(("order_id" = Uuid, Path, description = "The order"),
           ("If-None-Match" = Option<String>, Header,
            description = "The `ETag` of the caller's copy")),
    responses(
        (status = 200, description = "The order", body = OrderResource,
         headers(("ETag" = String, description = "Identifies this version of the response"))),
        (status = 304, description = "The caller's copy is current"),
        (status = 404, description = "There is no such order", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        ReadProblems,
    ),
)]
pub(crate) async fn show(
    Authorized { caller, .. }: Authorized<scope::ReadOrders>,
    Shared(state): Shared<State>,
    Path(order_id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let order_id = orders::parse_id(&order_id)?;
    let order = orders::read::read(&state.app, &caller, order_id).await?;
    let order = disputes::shown_with(&state.app, &caller, order).await?;
    conditional::respond(&headers, &order)
}
