//! `POST /v1/webhooks/stripe`: receives Stripe's events.

use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderValue, StatusCode};

use crate::app::webhooks::receive;
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::RawBody;
use crate::http::problem::Document;

/// Receives an event from Stripe.
///
/// Only Stripe calls this: the header `Stripe-Signature` proves that the raw body was signed with
/// one of the endpoint's secrets, no more than five minutes ago. The response is 200 once the event
/// is stored, also if it was stored before. Workers apply it afterwards, by looking up the current
/// state of its object at Stripe.
#[utoipa::path(
    post, path = "/v1/webhooks/stripe", tag = "webhooks",
    params(("Stripe-Signature" = String, Header,
            description = "The timestamp, and the signatures of timestamp and body: `t=…,v1=…`",
            example = "t=1793534400,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd")),
    request_body(content = serde_json::Value, description = "Stripe's event"),
    responses(
        (status = 200, description = "The event is stored"),
        (status = 400, description = "The signature is wrong or too old, or the body is not an event",
         body = Document, content_type = "application/problem+json"),
        (status = 404, description = "The shop takes no webhooks", body = Document,
         content_type = "application/problem+json"),
        (status = 408, description = "The body was not received in time", body = Document,
         content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = Document,
         content_type = "application/problem+json"),
        (status = 422, description = "The event is of another account or mode",
         body = Document, content_type = "application/problem+json"),
        (status = 429, description = "The caller exceeds a rate limit", body = Document,
         content_type = "application/problem+json"),
        (status = 500, description = "An internal error", body = Document,
         content_type = "application/problem+json"),
        (status = 503, description = "The event is not stored; send it again", body = Document,
         content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn stripe(
    Shared(state): Shared<State>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<StatusCode, Problem> {
    let webhooks = state.webhooks.as_deref();
    receive::receive(&state.app, webhooks, signature(&headers), &body).await?;
    Ok(StatusCode::OK)
}

/// The header, if there is exactly one.
pub(crate) fn signature(headers: &HeaderMap) -> Option<&[u8]> {
    let mut signatures = headers.get_all("stripe-signature").iter();
    let only = signatures.next().filter(|_first| signatures.next().is_none());
    only.map(HeaderValue::as_bytes)
}
