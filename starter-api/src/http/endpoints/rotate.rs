//! `POST /v1/webhook-endpoints/{endpoint_id}/rotate-secret`: rotates the secret.

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

/// For how long the previous secret stays valid.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RotateTheSecret)]
pub(crate) struct RotateRequest {
    /// For how many seconds messages are also signed with the previous secret; a day, if left out.
    /// Use zero if it may have leaked.
    #[schema(value_type = Option<u32>, maximum = 604_800, example = 86_400)]
    pub overlap_seconds: Option<Number>,
}

/// Creates a new secret, which is shown only once. During the overlap, messages are signed with
/// both secrets, so that the receiver can switch at any time.
///
/// A repeat replaces the newest secret, whose response may have been lost; the secret that the
/// receiver uses stays valid.
#[utoipa::path(
    post, path = "/v1/webhook-endpoints/{endpoint_id}/rotate-secret", tag = "endpoints",
    security(("bearer" = ["webhooks:manage"])),
    params(("endpoint_id" = Uuid, Path, description = "The endpoint's id")),
    request_body(content = RotateRequest, description = "For how long the previous secret stays valid"),
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
