//! `POST /v1/webhook-endpoints/{endpoint_id}/test`: sends a test message.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;

use crate::app::endpoints::try_out::{self, Trying};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Path;
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::identity::{Authorized, scope};

/// Sends an endpoint a message without content, of type `ordersaga.webhook.trial.v1`. The outcome
/// is listed among the deliveries.
#[utoipa::path(
    post, path = "/v1/webhook-endpoints/{endpoint_id}/test", tag = "endpoints",
    security(("bearer" = ["webhooks:manage"])),
    params(("endpoint_id" = Uuid, Path, description = "The endpoint's id")),
    responses(
        (status = 202, description = "It is sent, within some seconds", body = Trying),
        (status = 404, description = "There is no such endpoint", body = Document,
         content_type = "application/problem+json"),
        (status = 409, description = "The endpoint is disabled", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        ReadProblems,
    ),
)]
pub(crate) async fn try_out_endpoint(
    Authorized { caller, .. }: Authorized<scope::ManageWebhooks>,
    Shared(state): Shared<State>,
    Path(endpoint_id): Path<String>,
) -> Result<(StatusCode, Json<Trying>), Problem> {
    let trying = try_out::try_out(&state.app, &caller, &endpoint_id).await?;
    Ok((StatusCode::ACCEPTED, Json(trying)))
}
