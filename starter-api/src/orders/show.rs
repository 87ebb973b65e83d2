//! `GET /v1/orders/{order_id}`: where does my order stand?

use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::response::Response;

use crate::conditional;
use crate::extract::Path;
use crate::identity::access::{May, scope};
use crate::orders::{self, OrderResource};
use crate::problem::{Document, Guarded, Problem, ReadProblems};
use crate::state::State;

/// Shows an order.
///
/// Also an order that was accepted a moment ago and is not on record yet: that one is read from
/// its workflow.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}", tag = "orders", security(("bearer" = ["orders:read"])),
    params(("order_id" = Uuid, Path, description = "The order"),
           ("If-None-Match" = Option<String>, Header,
            description = "The `ETag` of the answer that the caller has")),
    responses(
        (status = 200, description = "The order", body = OrderResource,
         headers(("ETag" = String, description = "Names this very answer"))),
        (status = 304, description = "The caller has the answer already"),
        (status = 404, description = "There is no such order", body = Document,
         content_type = "application/problem+json"),
        Guarded,
        ReadProblems,
    ),
)]
pub(crate) async fn show(
    May { caller, .. }: May<scope::ReadOrders>,
    Shared(state): Shared<State>,
    Path(order_id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let known = orders::visible(&state, &caller, orders::id(&order_id)?).await?;
    conditional::answer(&headers, &known.resource)
}
