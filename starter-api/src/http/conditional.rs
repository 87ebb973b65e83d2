//! Conditional requests (RFC 9110): not sending a response that the caller has cached, and refusing
//! a change of a resource that has changed since the caller read it.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use headers::{ETag, HeaderMapExt, IfMatch, IfNoneMatch};
use ring::digest::{Context, SHA256};
use serde::Serialize;

use crate::app::customers::CustomerResource;
use crate::app::orders::OrderResource;
use crate::app::products::Product;
use crate::error::{Kind, Problem};

const DOING: &str = "writing a response";

/// A resource with an `ETag`: a hash of its representation, so that every change of it is detected,
/// whatever the cause.
pub(crate) trait Tagged: Serialize {
    /// A version to include in the hash, for state that the representation does not show.
    fn version(&self) -> Option<String> {
        None
    }
}

impl Tagged for OrderResource {}

impl Tagged for CustomerResource {}

impl Tagged for Product {
    /// The unit cost is not shown, and is changed together with what is shown.
    fn version(&self) -> Option<String> {
        self.updated_at.map(|updated_at| updated_at.timestamp_micros().to_string())
    }
}

/// The representation as JSON, with its `ETag`.
struct Shown {
    body: Vec<u8>,
    tag: HeaderValue,
}

impl Shown {
    fn of(thing: &impl Tagged) -> Result<Self, Problem> {
        let body = serde_json::to_vec(thing).map_err(|error| Problem::internal(DOING, &error))?;
        let mut hash = Context::new(&SHA256);
        hash.update(&body);
        hash.update(thing.version().unwrap_or_default().as_bytes());
        // 128 bits are enough to avoid collisions.
        let short = hash.finish().as_ref().first_chunk().copied().map(u128::from_be_bytes);
        let tag = HeaderValue::try_from(format!("\"{:032x}\"", short.unwrap_or_default()));
        Ok(Self { body, tag: tag.map_err(|error| Problem::internal(DOING, &error))? })
    }

    fn etag(&self) -> Result<ETag, Problem> {
        let tag = self.tag.to_str().map_err(|error| Problem::internal(DOING, &error))?;
        tag.parse().map_err(|error| Problem::internal(DOING, &error))
    }

    fn head(&self) -> [(header::HeaderName, HeaderValue); 2] {
        let cached = HeaderValue::from_static("private, no-cache");
        [(header::ETAG, self.tag.clone()), (header::CACHE_CONTROL, cached)]
    }

    fn into_response(self) -> Response {
        let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        (self.head(), json, self.body).into_response()
    }
}

/// The response to a `GET`: JSON, or 304 if the caller's copy is current.
///
/// Only private caches may store the response, and must revalidate it each time.
pub(crate) fn respond(request: &HeaderMap, thing: &impl Tagged) -> Result<Response, Problem> {
    let shown = Shown::of(thing)?;
    let etag = shown.etag()?;
    // An unreadable header is ignored, which costs nothing but bandwidth.
    let if_none_match = readable::<IfNoneMatch>(request, &header::IF_NONE_MATCH).ok().flatten();
    let has_it = if_none_match.is_some_and(|header| !header.precondition_passes(&etag));
    if has_it {
        return Ok((StatusCode::NOT_MODIFIED, shown.head()).into_response());
    }
    Ok(shown.into_response())
}

/// The response to a change: the new representation with its `ETag`.
pub(crate) fn changed(thing: &impl Tagged) -> Result<Response, Problem> {
    Shown::of(thing).map(Shown::into_response)
}

/// Checks the preconditions of a change against the current resource.
///
/// **Errors.** 412 if the resource does not match `If-Match`, or exists although `If-None-Match` is
/// `*`; 400 if one of the headers cannot be parsed: ignoring it would make the change
/// unconditional.
pub(crate) fn allows<T: Tagged>(request: &HeaderMap, present: Option<&T>) -> Result<(), Problem> {
    let if_match = readable::<IfMatch>(request, &header::IF_MATCH)?;
    let if_none_match = readable::<IfNoneMatch>(request, &header::IF_NONE_MATCH)?;
    if if_match.is_none() && if_none_match.is_none() {
        return Ok(());
    }
    let etag = present.map(|present| Shown::of(present)?.etag()).transpose()?;
    let passes = match &etag {
        Some(etag) => {
            if_match.is_none_or(|header| header.precondition_passes(etag))
                && if_none_match.is_none_or(|header| header.precondition_passes(etag))
        }
        // Nothing matches what does not exist.
        None => if_match.is_none(),
    };
    if passes {
        return Ok(());
    }
    Err(Problem::new(
        Kind::ChangedMeanwhile,
        "Nothing was done: this is not what the condition of the request names. Read it again, and \
         send the change with the new ETag if it is still wanted.",
    ))
}

fn readable<H: headers::Header>(
    request: &HeaderMap,
    name: &header::HeaderName,
) -> Result<Option<H>, Problem> {
    let unreadable = || {
        Problem::new(
            Kind::MalformedRequest,
            format!("`{name}` is one or more entity tags in quotes, or `*`."),
        )
    };
    if !request.get_all(name).iter().all(are_tags) {
        return Err(unreadable());
    }
    request.typed_try_get::<H>().map_err(|_unreadable| unreadable())
}

/// Whether each quote is closed on its line, and no tag contains whitespace. The library does not
/// check that.
fn are_tags(line: &HeaderValue) -> bool {
    let mut is_quoted = false;
    let has_none = line.as_bytes().iter().all(|byte| {
        is_quoted ^= *byte == b'"';
        !is_quoted || !matches!(byte, b' ' | b'\t')
    });
    has_none && !is_quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Thing;

    impl Tagged for Thing {}

    fn headers(name: &header::HeaderName, lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (name.clone(), line.parse().unwrap())).collect()
    }

    #[test]
    fn a_condition_that_cannot_be_read_stops_the_change() {
        let tag = Shown::of(&Thing).unwrap().tag;
        let tag = tag.to_str().unwrap();
        let allowed = |name, lines: &[&str]| {
            allows(&headers(&name, lines), Some(&Thing)).map_err(|problem| problem.kind())
        };
        for lines in [&["*"][..], &[tag], &["\"a\", \"b,c\"", tag]] {
            assert_eq!(allowed(header::IF_MATCH, lines), Ok(()), "{lines:?}");
        }
        assert_eq!(allowed(header::IF_MATCH, &["\"a\""]), Err(Kind::ChangedMeanwhile));
        assert_eq!(allowed(header::IF_NONE_MATCH, &[tag]), Err(Kind::ChangedMeanwhile));
        for lines in
            [&["\"a b\""][..], &["\"a\tb\"", tag], &["\"a", "b\""], &["\""], &["W/\"a b\""]]
        {
            for name in [header::IF_MATCH, header::IF_NONE_MATCH] {
                let refused = Err(Kind::MalformedRequest);
                assert_eq!(allowed(name, lines), refused, "{lines:?}");
            }
        }
    }

    #[test]
    fn what_the_caller_has_is_not_sent_again() {
        let answer = |lines: &[&str]| {
            respond(&headers(&header::IF_NONE_MATCH, lines), &Thing).unwrap().status()
        };
        let tag = Shown::of(&Thing).unwrap().tag;
        assert_eq!(answer(&[tag.to_str().unwrap()]), StatusCode::NOT_MODIFIED);
        for lines in [&[][..], &["\"a\""], &["\"a b\""], &["\"a", "b\""]] {
            assert_eq!(answer(lines), StatusCode::OK, "{lines:?}");
        }
    }
}
