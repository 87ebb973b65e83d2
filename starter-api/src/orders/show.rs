//! `GET /v1/orders/{order_id}`: where does my order stand?

use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::response::Response;

use crate::conditional;
use crate::extract::Path;
use crate::orders::{self, OrderResource};
use crate::problem::{Document, Problem, ReadProblems};
use crate::state::State;

/// Shows an order.
///
/// Also an order that was accepted a moment ago and is not on record yet: that one is read from
/// its workflow.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}", tag = "orders",
    params(("order_id" = Uuid, Path, description = "The order"),
           ("If-None-Match" = Option<String>, Header,
            description = "The `ETag` of the answer that the caller has")),
    responses(
        (status = 200, description = "The order", body = OrderResource,
         headers(("ETag" = String, description = "Names this very answer"))),
        (status = 304, description = "The caller has the answer already"),
        (status = 404, description = "There is no such order", body = Document,
         content_type = "application/problem+json"),
        ReadProblems,
    ),
)]
pub(crate) async fn show(
    Shared(state): Shared<State>,
    Path(order_id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let known = orders::find(&state, orders::id(&order_id)?).await?;
    let known = known.ok_or_else(Problem::order_not_found)?;
    conditional::answer(&headers, &known.resource)
}
