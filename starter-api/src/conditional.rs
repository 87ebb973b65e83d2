//! Answers that a caller may already have: `ETag`, and `If-None-Match` answered with 304
//! (RFC 9110).

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::RequestHash;
use serde::Serialize;

use crate::problem::Problem;

/// The answer, or 304 if the caller has it. The tag is made of the answer itself, so that no
/// change of it, whatever its cause, is missed.
///
/// Caches keep it for this caller alone and ask each time whether it is still right.
pub(crate) fn answer(request: &HeaderMap, answer: &impl Serialize) -> Result<Response, Problem> {
    const DOING: &str = "writing an answer down";
    let body = serde_json::to_vec(answer).map_err(|error| Problem::internal(DOING, &error))?;
    let hash = RequestHash::of(&body);
    let tag = hash.as_str().get(..32).unwrap_or_default();
    let tag = HeaderValue::try_from(format!("\"{tag}\""))
        .map_err(|error| Problem::internal(DOING, &error))?;
    let cached = HeaderValue::from_static("private, no-cache");
    let has_it = names(request, &tag);
    let head = [(header::ETAG, tag), (header::CACHE_CONTROL, cached)];
    if has_it {
        return Ok((StatusCode::NOT_MODIFIED, head).into_response());
    }
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((head, json, body).into_response())
}

/// Whether the caller says that it has what this tag names.
fn names(request: &HeaderMap, tag: &HeaderValue) -> bool {
    let Ok(tag) = tag.to_str() else { return false };
    request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(','))
        .map(str::trim)
        // Weak comparison, as the standard asks for here.
        .any(|named| named == "*" || named.strip_prefix("W/").unwrap_or(named) == tag)
}
