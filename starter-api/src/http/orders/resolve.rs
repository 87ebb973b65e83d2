//! `POST /v1/orders/{order_id}/resolve`: an operator decides about an order that needs attention.

use axum::Json;
use axum::extract::State as Shared;
use domain::Decision;
use serde::Deserialize;
use serde_json::Number;
use utoipa::ToSchema;

use crate::app::orders::resolve::{self, ResolveOrder, Resolved};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, Path};
use crate::http::line::whole_number;
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// A decision about what an order waits for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ResolveOrder)]
pub(crate) struct ResolveOrderRequest {
    /// The step at which it waits, from `needs_attention`.
    #[schema(min_length = 1, max_length = 64, example = "ship-order")]
    pub step: String,
    /// The number of the wait, from `needs_attention`, so that a late decision does not apply to a
    /// later wait.
    #[schema(value_type = u32, example = 1)]
    pub occurrence: Number,
    /// `retry`: the cause is fixed, try again. `skip`: the step was settled by hand, or never will
    /// be; continue without it. `accept-as-done`: the effect to be undone is final, such as a
    /// parcel that has left; the order continues forward from there.
    pub decision: Decision,
    /// The reason, for the record. It is kept permanently, so do not name persons.
    #[schema(min_length = 1, max_length = 200, example = "the provider has repaired the payment")]
    pub why: String,
}

/// Decides about an order that waits for a person. Who decided and why is recorded.
///
/// With 200 the order has accepted the decision; `/v1/orders/{order_id}/events` shows the outcome.
/// With 503 no worker answered in time: send the same decision again, which is idempotent.
///
/// The step `answer-dispute` accepts only `skip`, and its `occurrence` is the dispute's number: it
/// records that somebody has dealt with the dispute, and releases a parcel that was held for it.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/resolve", tag = "operators",
    security(("bearer" = ["orders:resolve"])),
    params(("order_id" = Uuid, Path, description = "The order")),
    request_body(content = ResolveOrderRequest, description = "The decision, and why"),
    responses(
        (status = 200, description = "The order acts on the decision", body = Resolved),
        (status = 404, description = "There is no such order", body = Document,
         content_type = "application/problem+json"),
        (status = 409, description = "It does not wait for this decision", body = Document,
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
) -> Result<Json<Resolved>, Problem> {
    let ResolveOrderRequest { step, occurrence, decision, why } = request;
    let occurrence = whole_number(&occurrence);
    let command = ResolveOrder::check(&order_id, &step, occurrence, decision, &why)?;
    resolve::resolve(&state.app, &caller, command).await.map(Json)
}
