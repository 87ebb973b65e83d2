//! A [`Problem`] as an HTTP response: `application/problem+json` (RFC 9457).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::Money;
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};
use uuid::Uuid;

use crate::error::{Breach, Kind, Problem};

/// The body of every error (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Document {
    /// The kind of the problem: a URI that links to its documentation.
    #[serde(rename = "type")]
    #[schema(format = "uri-reference", example = "/docs/problems.md#invalid-request")]
    kind: String,
    /// The title of the kind.
    title: &'static str,
    /// The HTTP status code.
    status: u16,
    /// What happened, in words for the caller.
    detail: String,
    /// Every broken rule, for an invalid request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Breach>,
    /// The price that the customer was shown, if the price has changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_total: Option<Money>,
    /// The price now, if the price has changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    actual_total: Option<Money>,
    /// The id to quote when asking for help, for an internal error.
    #[serde(skip_serializing_if = "Option::is_none")]
    incident: Option<Uuid>,
}

/// The errors of every read operation, for the `OpenAPI` description.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) enum ReadProblems {
    /// The request cannot be parsed.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(Document),
    /// The caller exceeds a rate limit; `Retry-After` says when to retry.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(Document),
    /// An internal error, with an incident id to quote.
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(Document),
    /// Temporal or the database does not answer; `Retry-After` says when to retry.
    #[response(status = 503, content_type = "application/problem+json")]
    TryAgain(Document),
}

/// The errors of every operation with a body, for the `OpenAPI` description.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) enum WriteProblems {
    /// The body cannot be parsed, or has an unknown field.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(Document),
    /// The body was not received in time.
    #[response(status = 408, content_type = "application/problem+json")]
    TooSlow(Document),
    /// The body is too large.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Document),
    /// The body is not declared as JSON.
    #[response(status = 415, content_type = "application/problem+json")]
    NotJson(Document),
    /// Rules are broken; `errors` names each with a JSON pointer.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(Document),
    /// The caller exceeds a rate limit; `Retry-After` says when to retry.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(Document),
    /// An internal error, with an incident id to quote.
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(Document),
    /// Temporal or the database does not answer; `Retry-After` says when to retry.
    #[response(status = 503, content_type = "application/problem+json")]
    TryAgain(Document),
}

/// The errors of every operation that is not public, for the `OpenAPI` description.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) enum AuthResponses {
    /// No valid token; `WWW-Authenticate` says what is required.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(Document),
    /// The token lacks a scope, which `WWW-Authenticate` names.
    #[response(status = 403, content_type = "application/problem+json")]
    NotAllowed(Document),
}

impl Kind {
    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::MalformedRequest | Self::SignatureRefused => StatusCode::BAD_REQUEST,
            Self::Unauthenticated | Self::SignInFailed => StatusCode::UNAUTHORIZED,
            Self::InsufficientScope => StatusCode::FORBIDDEN,
            Self::RouteNotFound
            | Self::IssuedElsewhere
            | Self::OrderNotFound
            | Self::InvoiceNotIssued
            | Self::ProductNotFound
            | Self::CustomerNotFound
            | Self::QueueNotFound
            | Self::PartyNotFound
            | Self::AccountNotFound
            | Self::EventNotFound
            | Self::DifferenceNotFound
            | Self::SinkNotFound
            | Self::EndpointNotFound
            | Self::NotificationNotFound
            | Self::WebhooksNotTaken
            | Self::EntryNotFound
            | Self::RuleSetNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::PriceChanged
            | Self::EmailTaken
            | Self::ProductExists
            | Self::NotInStock
            | Self::ReferenceReused
            | Self::OrderNotStuck
            | Self::OrderAlreadyShipped
            | Self::OrderAlreadyRejected
            | Self::OrderAlreadyFailed
            | Self::NoPaymentDue
            | Self::NoReviewDue
            | Self::ParcelNotUnderWay
            | Self::TooManyEndpoints
            | Self::EndpointDisabled
            | Self::OrderNotRefundable
            | Self::RefundUnderWay
            | Self::OrderInterrupted
            | Self::SinkInUse => StatusCode::CONFLICT,
            Self::ChangedMeanwhile => StatusCode::PRECONDITION_FAILED,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::InvalidRequest | Self::IdempotencyKeyReused | Self::EventOfAnotherAccount => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::TooManyRequests | Self::SignInDelayed => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TryAgain | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<&Problem> for Document {
    fn from(problem: &Problem) -> Self {
        let details = problem.details();
        let kind = details.kind;
        Self {
            kind: format!("/docs/problems.md#{}", kind.heading()),
            title: kind.title(),
            status: kind.status().as_u16(),
            detail: details.detail.to_string(),
            errors: details.breaches.clone(),
            expected_total: details.price_change.map(|change| change.expected),
            actual_total: details.price_change.map(|change| change.actual),
            incident: details.incident,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.kind().status(), Json(Document::from(&self))).into_response();
        // The same error for gRPC callers.
        response.extensions_mut().insert(tonic::Status::from(&self));
        let details = self.details();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = details.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        let challenge = details.challenge.as_deref().map(HeaderValue::try_from);
        if let Some(Ok(challenge)) = challenge {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
