//! `PATCH /v1/webhook-endpoints/{endpoint_id}`: changes an endpoint.

use axum::Json;
use axum::extract::State as Shared;
use domain::event::EventType;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::endpoints::change::{self, ChangeInput};
use crate::app::endpoints::{EndpointResource, EndpointState};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, Path};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// The changes; omitted fields stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChangeOfWebhookEndpoint)]
pub(crate) struct ChangeRequest {
    /// The new URL.
    #[schema(min_length = 1, max_length = 2048, example = "https://erp.example.org/v2/events")]
    pub url: Option<String>,
    /// A description for people.
    #[schema(min_length = 1, max_length = 200, example = "the ERP")]
    pub description: Option<String>,
    /// The events that are sent to it from now on; all, if the list is empty.
    pub events: Option<Vec<EventType>>,
    /// `disabled`: no messages are sent, and they wait; `enabled`: delivery continues from there.
    pub state: Option<EndpointState>,
}

/// Changes an endpoint's URL, description, events or state.
///
/// The changes take effect within some seconds. A disabled endpoint keeps its position: its
/// messages are kept until it is enabled or removed.
#[utoipa::path(
    patch, path = "/v1/webhook-endpoints/{endpoint_id}", tag = "endpoints",
    security(("bearer" = ["webhooks:manage"])),
    params(("endpoint_id" = Uuid, Path, description = "The endpoint's id")),
    request_body(content = ChangeRequest, description = "The changes"),
    responses(
        (status = 200, description = "The endpoint as it is now", body = EndpointResource),
        (status = 404, description = "There is no such endpoint", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn change_endpoint(
    Authorized { caller, .. }: Authorized<scope::ManageWebhooks>,
    Shared(state): Shared<State>,
    Path(endpoint_id): Path<String>,
    Body(request): Body<ChangeRequest>,
) -> Result<Json<EndpointResource>, Problem> {
    let input = ChangeInput {
        url: request.url.as_deref(),
        description: request.description.as_deref(),
        events: request.events.as_deref(),
        state: request.state,
    };
    let internal = &state.internal_hosts;
    change::change(&state.app, &caller, internal, &endpoint_id, &input).await.map(Json)
}
