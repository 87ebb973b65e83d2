//! `GET /v1/orders/{order_id}`: where does my order stand?

use axum::Json;
use axum::extract::State as Shared;

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
    params(("order_id" = Uuid, Path, description = "The order")),
    responses(
        (status = 200, description = "The order", body = OrderResource),
        (status = 404, description = "There is no such order", body = Document,
         content_type = "application/problem+json"),
        ReadProblems,
    ),
)]
pub(crate) async fn show(
    Shared(state): Shared<State>,
    Path(order_id): Path<String>,
) -> Result<Json<OrderResource>, Problem> {
    let known = orders::find(&state, orders::id(&order_id)?).await?;
    known.map(|known| Json(known.resource)).ok_or_else(Problem::order_not_found)
}
