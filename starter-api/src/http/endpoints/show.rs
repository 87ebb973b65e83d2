//! `GET /v1/webhook-endpoints/{endpoint_id}`: shows an endpoint.

use axum::Json;
use axum::extract::State as Shared;

use crate::app::endpoints::{self, EndpointResource};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Path;
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::identity::{Authorized, scope};

/// Shows an endpoint and its delivery state. Of its secrets, only the times of creation are shown.
#[utoipa::path(
    get, path = "/v1/webhook-endpoints/{endpoint_id}", tag = "endpoints",
    security(("bearer" = ["webhooks:manage"])),
    params(("endpoint_id" = Uuid, Path, description = "The endpoint's id")),
    responses(
        (status = 200, description = "The endpoint", body = EndpointResource),
        (status = 404, description = "There is no such endpoint", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        ReadProblems,
    ),
)]
pub(crate) async fn endpoint(
    _allowed: Authorized<scope::ManageWebhooks>,
    Shared(state): Shared<State>,
    Path(endpoint_id): Path<String>,
) -> Result<Json<EndpointResource>, Problem> {
    endpoints::read(&state.app, &endpoint_id).await.map(Json)
}
