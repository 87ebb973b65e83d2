//! Responses that a caller may already have: `ETag`, and `If-None-Match` answered with 304
//! (RFC 9110).

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use headers::{ETag, HeaderMapExt, IfNoneMatch};
use serde::Serialize;

use crate::error::Problem;

/// The body as JSON, or 304 if the caller has it. The tag is a hash of the body, so that no change
/// of it, whatever its cause, is missed.
///
/// Caches keep the response for this caller alone, and ask each time whether it is still valid.
pub(crate) fn respond(request: &HeaderMap, body: &impl Serialize) -> Result<Response, Problem> {
    const DOING: &str = "writing a response";
    let body = serde_json::to_vec(body).map_err(|error| Problem::internal(DOING, &error))?;
    let hash = digest(&SHA256, &body);
    // 128 bits are enough to tell one answer from another.
    let short = hash.as_ref().first_chunk().copied().map(u128::from_be_bytes);
    let tag = format!("\"{:032x}\"", short.unwrap_or_default());
    let etag: ETag = tag.parse().map_err(|error| Problem::internal(DOING, &error))?;
    let tag = HeaderValue::try_from(tag).map_err(|error| Problem::internal(DOING, &error))?;
    let if_none_match = request.typed_get::<IfNoneMatch>();
    let has_it = if_none_match.is_some_and(|header| !header.precondition_passes(&etag));
    let cached = HeaderValue::from_static("private, no-cache");
    let head = [(header::ETAG, tag), (header::CACHE_CONTROL, cached)];
    if has_it {
        return Ok((StatusCode::NOT_MODIFIED, head).into_response());
    }
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((head, json, body).into_response())
}
