//! `POST /v1/orders/{order_id}/cancel`: cancels an order, or previews that.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::app::orders::OrderResource;
use crate::app::orders::cancel::{
    self, CancelAnswer, CancelDecided, CancelOrder, CancelOutcome, CancelPreview,
};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, Path, Query};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// Why the order is cancelled.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CancelOrder)]
pub(crate) struct CancelOrderRequest {
    /// The reason, in the caller's words. It is kept permanently, so do not name persons.
    #[schema(min_length = 1, max_length = 200, example = "ordered twice")]
    pub reason: String,
}

/// Query parameters.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CancelQuery {
    /// Only preview the cancellation; change nothing.
    #[serde(default)]
    dry_run: bool,
}

/// The response to a settled cancellation.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the answers together, for the API's description")]
enum CancelAnswered {
    Decided(CancelDecided),
    Order(Box<OrderResource>),
    Preview(CancelPreview),
}

/// Cancels an order.
///
/// Cancelling is idempotent. Once the parcel is handed over to the carrier it is too late, and the
/// goods have to be returned. With `dry_run=true` nothing is changed, and the response says what
/// cancelling would do now; if it is too late, the response is the same as without.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/cancel", tag = "orders", security(("bearer" = ["orders:cancel"])),
    params(("order_id" = Uuid, Path, description = "The order"), CancelQuery),
    request_body(content = CancelOrderRequest, description = "Why"),
    responses(
        (status = 202, description = "It is being cancelled, or will be as soon as the shop's \
                                      workers are back, if it is not too late then",
         body = CancelDecided),
        (status = 200, description = "It is cancelled, before anything was done for it; or it \
                                      was cancelled, or being unwound, already; or what \
                                      cancelling would do",
         body = CancelAnswered),
        (status = 404, description = "There is no such order", body = Document,
         content_type = "application/problem+json"),
        (status = 409, description = "The order can no longer be cancelled", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn cancel(
    Authorized { caller, .. }: Authorized<scope::CancelOrders>,
    Shared(state): Shared<State>,
    Path(order_id): Path<String>,
    Query(query): Query<CancelQuery>,
    Body(request): Body<CancelOrderRequest>,
) -> Result<Response, Problem> {
    let command = CancelOrder::check(&order_id, &request.reason)?;
    if query.dry_run {
        let preview = cancel::preview(&state.app, &caller, &command).await?;
        return Ok(Json(preview).into_response());
    }
    Ok(match cancel::cancel(&state.app, &caller, command).await? {
        CancelOutcome::Decided(decided) => {
            let is_done = decided.decision == CancelAnswer::Cancelled;
            let status = if is_done { StatusCode::OK } else { StatusCode::ACCEPTED };
            (status, Json(decided)).into_response()
        }
        CancelOutcome::Already(order) => Json(order).into_response(),
    })
}
