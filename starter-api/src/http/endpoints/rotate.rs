//! `POST /v1/webhook-endpoints/{endpoint_id}/rotate-secret`: draws a new secret.

use axum::Json;
use axum::extract::State as Shared;
use serde::Deserialize;
use serde_json::Number;
use utoipa::ToSchema;

use crate::app::endpoints::{EndpointWithSecret, rotate};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, Path};
use crate::http::line::whole_number;
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// How the secret before goes out of use.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RotateTheSecret)]
pub(crate) struct RotateRequest {
    /// For how long messages are signed by the secret before, too; a day, if it is not said. Zero,
    /// if somebody else may know it.
    #[schema(value_type = Option<u32>, maximum = 604_800, example = 86_400)]
    pub overlap_seconds: Option<Number>,
}

/// Draws a new secret, which is shown this once. Meanwhile messages are signed by both, so that the
/// receiver may change over at any moment.
///
/// A repeat draws another in the place of the one whose answer may be lost; the secret that the
/// receiver has stays.
#[utoipa::path(
    post, path = "/v1/webhook-endpoints/{endpoint_id}/rotate-secret", tag = "endpoints",
    security(("bearer" = ["webhooks:manage"])),
    params(("endpoint_id" = Uuid, Path, description = "The endpoint's id")),
    request_body(content = RotateRequest, description = "How the secret before goes out of use"),
    responses(
        (status = 200, description = "The endpoint, and its new secret", body = EndpointWithSecret),
        (status = 404, description = "There is no such endpoint", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn rotate_secret(
    Authorized { caller, .. }: Authorized<scope::ManageWebhooks>,
    Shared(state): Shared<State>,
    Path(endpoint_id): Path<String>,
    Body(request): Body<RotateRequest>,
) -> Result<Json<EndpointWithSecret>, Problem> {
    let overlap = request.overlap_seconds.as_ref().map(whole_number);
    rotate::rotate(&state.app, &caller, &endpoint_id, overlap).await.map(Json)
}
