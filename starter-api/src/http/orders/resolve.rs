//! `POST /v1/orders/{order_id}/resolve`: an operator decides about a stuck order.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use workflows::ResolutionKind;

use crate::app::orders::resolve::{self, ResolveOrder, Resolved};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, Path};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// What to do with what is stuck.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ResolveOrder)]
pub(crate) struct ResolveOrderRequest {
    /// `retry`: the cause is fixed, try again. `skip`: it has been settled by hand, or never will
    /// be; go on without it.
    #[schema(value_type = String, example = "retry")]
    pub decision: ResolutionKind,
    /// Why, for those who read the record later. It is kept permanently, so do not name persons.
    #[schema(min_length = 1, max_length = 200, example = "the provider has repaired the payment")]
    pub why: String,
}

/// Decides what becomes of an order that is stuck. Who decided and why is recorded.
///
/// The order acts on the decision at once; `/v1/orders/{order_id}/events` shows the outcome.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/resolve", tag = "operators",
    security(("bearer" = ["orders:resolve"])),
    params(("order_id" = Uuid, Path, description = "The order")),
    request_body(content = ResolveOrderRequest, description = "The decision, and why"),
    responses(
        (status = 202, description = "The order has received the decision", body = Resolved),
        (status = 404, description = "There is no such order", body = Document,
         content_type = "application/problem+json"),
        (status = 409, description = "Nothing of it waits for a decision", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn resolve(
    Authorized { caller, .. }: Authorized<scope::ResolveOrders>,
    Shared(state): Shared<State>,
    Path(order_id): Path<String>,
    Body(request): Body<ResolveOrderRequest>,
) -> Result<(StatusCode, Json<Resolved>), Problem> {
    let command = ResolveOrder::check(&order_id, request.decision, &request.why)?;
    let resolved = resolve::resolve(&state.app, &caller, command).await?;
    Ok((StatusCode::ACCEPTED, Json(resolved)))
}
