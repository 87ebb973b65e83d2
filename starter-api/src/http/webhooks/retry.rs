//! `POST /v1/webhooks/events/{event_id}/retry`: retries an event at once.

use axum::Json;
use axum::extract::State as Shared;

use crate::app::webhooks::EventResource;
use crate::app::webhooks::retry;
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Path;
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::identity::{Authorized, scope};

/// Makes workers retry an open event of the payment provider within some seconds, instead of when
/// its next attempt is due.
#[utoipa::path(
    post, path = "/v1/webhooks/events/{event_id}/retry", tag = "operators",
    security(("bearer" = ["queues:operate"])),
    params(("event_id" = String, Path, description = "The event's id at the provider",
            example = "evt_1a")),
    responses(
        (status = 200, description = "It is retried within some seconds", body = EventResource),
        (status = 404, description = "There is no open event with this id", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        ReadProblems,
    ),
)]
pub(crate) async fn retry_event(
    Authorized { caller, .. }: Authorized<scope::OperateQueues>,
    Shared(state): Shared<State>,
    Path(event_id): Path<String>,
) -> Result<Json<EventResource>, Problem> {
    retry::retry(&state.app, &caller, &event_id).await.map(Json)
}
