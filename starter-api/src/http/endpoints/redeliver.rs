//! `POST /v1/webhook-endpoints/{endpoint_id}/redeliver`: sends earlier messages again.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::endpoints::redeliver::{self, RedeliverInput, Redelivering};
use crate::app::input::Moment;
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, Path};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// Which messages: those that meet all given conditions. At least one of `message_id`, `order_id`
/// and `since` is required.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RedeliverMessages)]
pub(crate) struct RedeliverRequest {
    /// Only this message.
    #[schema(max_length = 100, example = "5bf1521d-9bb2-5baa-a74d-5f3bb0902d38:2")]
    pub message_id: Option<String>,
    /// Only messages about this order.
    #[schema(value_type = Option<Uuid>)]
    pub order_id: Option<String>,
    /// Only events at this time or later.
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-01-01T00:00:00Z")]
    pub since: Option<Moment>,
    /// Only events before this time.
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-01-02T00:00:00Z")]
    pub before: Option<Moment>,
}

/// Sends earlier messages to an endpoint again, at most ten thousand, for example after its
/// receiver has lost some.
///
/// It covers messages that were sent to the endpoint before, match its events, and are still kept;
/// each is retried for up to a day. A message keeps its id, and is not ordered relative to first
/// deliveries: `sequence` is its position in its order.
#[utoipa::path(
    post, path = "/v1/webhook-endpoints/{endpoint_id}/redeliver", tag = "endpoints",
    security(("bearer" = ["webhooks:manage"])),
    params(("endpoint_id" = Uuid, Path, description = "The endpoint's id")),
    request_body(content = RedeliverRequest, description = "Which messages"),
    responses(
        (status = 202, description = "This many are sent, within some seconds", body = Redelivering),
        (status = 404, description = "There is no such endpoint", body = Document,
         content_type = "application/problem+json"),
        (status = 409, description = "The endpoint is disabled", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn redeliver(
    Authorized { caller, .. }: Authorized<scope::ManageWebhooks>,
    Shared(state): Shared<State>,
    Path(endpoint_id): Path<String>,
    Body(request): Body<RedeliverRequest>,
) -> Result<(StatusCode, Json<Redelivering>), Problem> {
    let input = RedeliverInput {
        message_id: request.message_id.as_deref(),
        order_id: request.order_id.as_deref(),
        since: request.since,
        before: request.before,
    };
    let redelivering = redeliver::redeliver(&state.app, &caller, &endpoint_id, &input).await?;
    Ok((StatusCode::ACCEPTED, Json(redelivering)))
}
