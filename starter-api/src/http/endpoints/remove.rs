//! `DELETE /v1/webhook-endpoints/{endpoint_id}`: removes a webhook endpoint.

use axum::Json;
use axum::extract::State as Shared;

use crate::app::endpoints::{EndpointResource, remove};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Path;
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::identity::{Authorized, scope};

/// Removes an endpoint, with its secrets, its log, and its pending messages.
#[utoipa::path(
    delete, path = "/v1/webhook-endpoints/{endpoint_id}", tag = "endpoints",
    security(("bearer" = ["webhooks:manage"])),
    params(("endpoint_id" = Uuid, Path, description = "The endpoint's id")),
    responses(
        (status = 200, description = "The endpoint as it was", body = EndpointResource),
        (status = 404, description = "There is no such endpoint", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        ReadProblems,
    ),
)]
pub(crate) async fn remove_endpoint(
    Authorized { caller, .. }: Authorized<scope::ManageWebhooks>,
    Shared(state): Shared<State>,
    Path(endpoint_id): Path<String>,
) -> Result<Json<EndpointResource>, Problem> {
    remove::remove(&state.app, &caller, &endpoint_id).await.map(Json)
}
