//! `POST /v1/webhook-endpoints/{endpoint_id}/redeliver`: has messages sent once more.

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

/// Which messages: those that all conditions hold for. One of `message_id`, `order_id` and `since`
/// is wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RedeliverMessages)]
pub(crate) struct RedeliverRequest {
    /// This message.
    #[schema(max_length = 100, example = "5bf1521d-9bb2-5baa-a74d-5f3bb0902d38:2")]
    pub message_id: Option<String>,
    /// Those about this order.
    #[schema(value_type = Option<Uuid>)]
    pub order_id: Option<String>,
    /// Those of events at this moment or later.
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-01-01T00:00:00Z")]
    pub since: Option<Moment>,
    /// Those of events before this moment.
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-01-02T00:00:00Z")]
    pub before: Option<Moment>,
}

/// Has messages sent to an endpoint once more, ten thousand at most, such as after its receiver has
/// lost some.
///
/// Sent are those that it has had, hears of, and that the shop still keeps; a message that refuses to
/// be taken is tried for a day. Each has the id that it had, and comes beside what is sent for the
/// first time: `sequence` says where it stands in its order.
#[utoipa::path(
    post, path = "/v1/webhook-endpoints/{endpoint_id}/redeliver", tag = "endpoints",
    security(("bearer" = ["webhooks:manage"])),
    params(("endpoint_id" = Uuid, Path, description = "The endpoint's id")),
    request_body(content = RedeliverRequest, description = "Which messages"),
    responses(
        (status = 202, description = "So many are sent, within some seconds", body = Redelivering),
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
