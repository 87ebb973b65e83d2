//! `POST /v1/webhooks/events/{event_id}/dismiss`: dismisses an event.

use axum::Json;
use axum::extract::State as Shared;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::webhooks::EventResource;
use crate::app::webhooks::dismiss;
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, Path};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// Why the event is dismissed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DismissTheEvent)]
pub(crate) struct DismissRequest {
    /// The reason, shown to other operators. Do not name persons.
    #[schema(min_length = 1, max_length = 200, example = "a payment of our other shop")]
    pub why: String,
}

/// Dismisses an open event of the payment provider, because it belongs to another shop, or because
/// somebody has dealt with it. Workers ignore it from now on.
///
/// Nothing else is changed. The event is kept as `ignored`, with what it waited for.
#[utoipa::path(
    post, path = "/v1/webhooks/events/{event_id}/dismiss", tag = "operators",
    security(("bearer" = ["queues:operate"])),
    params(("event_id" = String, Path, description = "The event's id at the provider",
            example = "evt_1a")),
    request_body(content = DismissRequest, description = "Why nothing is to be done about it"),
    responses(
        (status = 200, description = "The event, with who has dismissed it", body = EventResource),
        (status = 404, description = "There is no open event with this id", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn dismiss_event(
    Authorized { caller, .. }: Authorized<scope::OperateQueues>,
    Shared(state): Shared<State>,
    Path(event_id): Path<String>,
    Body(request): Body<DismissRequest>,
) -> Result<Json<EventResource>, Problem> {
    dismiss::dismiss(&state.app, &caller, &event_id, &request.why).await.map(Json)
}
