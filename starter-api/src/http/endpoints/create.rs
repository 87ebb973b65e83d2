//! `POST /v1/webhook-endpoints`: creates a webhook endpoint.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::event::EventType;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::endpoints::EndpointWithSecret;
use crate::app::endpoints::create::{self, BeginsWith, EndpointInput};
use crate::error::{Kind, Problem};
use crate::http::State;
use crate::http::extract::{Body, IdempotencyKeyHeader};
use crate::http::orders::place::tell;
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// A new endpoint.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewWebhookEndpoint)]
pub(crate) struct EndpointRequest {
    /// The URL for messages: `https`, on the internet, without user name and password. A host
    /// inside the shop's own network has to be listed in its settings, and may use `http`.
    #[schema(min_length = 1, max_length = 2048, example = "https://erp.example.org/events")]
    pub url: String,
    /// A description for people. It is shown to operators, so do not name persons.
    #[schema(min_length = 1, max_length = 200, example = "the ERP")]
    pub description: Option<String>,
    /// The events to send; all, if the list is empty.
    #[serde(default)]
    pub events: Vec<EventType>,
    /// The first events to send.
    #[serde(default)]
    pub begins_with: BeginsWith,
}

/// Creates an endpoint to which events are sent, in messages that are signed as the Standard
/// Webhooks specification says.
///
/// The response contains the secret with which the receiver verifies them. It is shown only once:
/// store it, or rotate it later. A repeat of the request under the same `Idempotency-Key` is
/// answered with the endpoint and without the secret. There can be at most a hundred endpoints.
#[utoipa::path(
    post, path = "/v1/webhook-endpoints", tag = "endpoints",
    security(("bearer" = ["webhooks:manage"])),
    params(
        ("Idempotency-Key" = String, Header, min_length = 1, max_length = 255,
         description = "An idempotency key chosen by the caller; a repeat sends the same key"),
    ),
    request_body(content = EndpointRequest, description = "The receiver and its events"),
    responses(
        (status = 201, description = "The endpoint, and its secret", body = EndpointWithSecret,
         headers(
            ("Location" = String, description = "Where the endpoint is"),
            ("Idempotency-Replayed" = String, description = "`true` if this is a repeat of an earlier response"),
         )),
        (status = 409, description = "The maximum number of endpoints is reached", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn create_endpoint(
    Authorized { caller, .. }: Authorized<scope::ManageWebhooks>,
    Shared(state): Shared<State>,
    IdempotencyKeyHeader(key): IdempotencyKeyHeader,
    Body(request): Body<EndpointRequest>,
) -> Result<Response, Problem> {
    let Some(key) = key else {
        return Err(Problem::new(
            Kind::MalformedRequest,
            "Send an Idempotency-Key: without one, a request that is sent twice would have its \
             receiver told everything twice.",
        ));
    };
    let input = EndpointInput {
        url: &request.url,
        description: request.description.as_deref(),
        events: &request.events,
        begins_with: request.begins_with,
    };
    let created = create::create(&state.app, &caller, &state.internal_hosts, &input, &key).await?;
    let endpoint_id = created.resource.endpoint.endpoint_id;
    let location = HeaderValue::try_from(format!("/v1/webhook-endpoints/{endpoint_id}"))
        .map_err(|error| Problem::internal("writing an endpoint's location", &error))?;
    let mut response = (StatusCode::CREATED, Json(created.resource)).into_response();
    response.headers_mut().insert(header::LOCATION, location);
    tell(&mut response, created.replayed, None)?;
    Ok(response)
}
