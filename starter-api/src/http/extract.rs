//! Extractors for the parts of a request: bodies, path segments, query strings and headers. Each is
//! refused with a [`Problem`] if it cannot be parsed.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{FromRef, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use domain::json::Objects;
use headers::{ContentType, HeaderMapExt};
use mime::Mime;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use crate::app::orders::place::{IdempotencyKey, Wait};
use crate::app::turn::Turn;
use crate::error::{Kind, Problem};
use crate::identity::scope::HasScope;
use crate::identity::{Authorized, Identity};

/// A JSON body.
///
/// **Errors.** 415 if it is not declared as JSON, 413 if it is too large, 400 with a JSON pointer
/// or a position if it does not have the expected form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body<T>(pub T);

/// A raw body, whatever its content type.
///
/// **Errors.** 413 if it is too large, 400 if it is incomplete.
#[derive(Clone, Debug)]
pub(crate) struct RawBody(pub Bytes);

/// The segments of the path.
#[derive(Clone, Copy, Debug, FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Problem))]
pub(crate) struct Path<T>(pub T);

/// The query string.
#[derive(Clone, Copy, Debug, FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Problem))]
pub(crate) struct Query<T>(pub T);

/// The header `Idempotency-Key`.
#[derive(Clone, Debug)]
pub(crate) struct IdempotencyKeyHeader(pub Option<IdempotencyKey>);

/// How many seconds the caller is willing to wait for an order to be paid or rejected.
///
/// **Shape.** The header `Prefer: wait=N` (RFC 7240): case-insensitive, quoted or not, with or
/// without parameters, on one line or several; the first `wait` counts. A preference that cannot be
/// parsed is ignored, as that standard requires.
#[derive(Clone, Debug)]
pub(crate) struct PreferWait(pub Option<Wait>);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                Kind::UnsupportedMediaType,
                "Send the body as JSON, with `Content-Type: application/json`.",
            ));
        }
        let bytes = Bytes::from_request(request, state).await?;
        read(&bytes).map(Self)
    }
}

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Ok(Self(Bytes::from_request(request, state).await?))
    }
}

impl<A, S> FromRequestParts<S> for Authorized<A>
where
    A: HasScope,
    S: Sync,
    Identity: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Identity::from_ref(state).authorize(&parts.headers).await
    }
}

impl<S: Sync> FromRequestParts<S> for IdempotencyKeyHeader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let mut keys = parts.headers.get_all("idempotency-key").iter();
        let Some(key) = keys.next() else { return Ok(Self(None)) };
        let only = key.to_str().ok().filter(|_key| keys.next().is_none());
        let only = only.and_then(IdempotencyKey::parse);
        only.map(|key| Self(Some(key))).ok_or_else(|| {
            Problem::new(
                Kind::MalformedRequest,
                "Idempotency-Key is one header of 1 to 255 visible ASCII characters.",
            )
        })
    }
}

impl<S: Sync> FromRequestParts<S> for Turn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

impl<S: Sync> FromRequestParts<S> for PreferWait {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let turn = Turn::from_request_parts(parts, state).await?;
        let seconds = wait_seconds(&parts.headers);
        Ok(Self(seconds.map(|seconds| Wait { seconds, turn })))
    }
}

fn wait_seconds(headers: &HeaderMap) -> Option<u32> {
    let lines = headers.get_all("prefer").iter().filter_map(|line| line.to_str().ok());
    let mut preferences = lines.flat_map(|line| split_unquoted(line, ','));
    let value = preferences.find_map(|preference| {
        let preference = split_unquoted(preference, ';').next().unwrap_or_default();
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        name.trim().eq_ignore_ascii_case("wait").then_some(value.trim())
    })?;
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let digits = quoted.unwrap_or(value);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // A number that overflows is longer than anybody waits.
    is_number.then(|| digits.parse().unwrap_or(u32::MAX))
}

/// Splits the text at separators outside of quotes (RFC 9110, quoted-string).
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |character| {
        let escaped = std::mem::take(&mut is_escaped);
        match character {
            '\\' if is_quoted && !escaped => is_escaped = true,
            '"' if !escaped => is_quoted = !is_quoted,
            _ => {}
        }
        character == separator && !is_quoted
    })
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Self::new(Kind::BodyTooLarge, "The body is larger than this shop reads.")
        } else {
            Self::new(Kind::MalformedRequest, "The body ended before it was complete.")
        }
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        if rejection.status() == StatusCode::INTERNAL_SERVER_ERROR {
            Self::internal("reading the path", &rejection)
        } else {
            Self::new(Kind::MalformedRequest, "The path cannot be read.")
        }
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        let text = rejection.body_text();
        let detail = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
        Self::new(Kind::MalformedRequest, detail.to_owned())
    }
}

/// The header's text, if it is short and has only visible ASCII characters, so that it is safe to
/// log.
#[must_use]
pub(crate) fn visible_ascii(header: &HeaderValue, length_max: usize) -> Option<String> {
    let text = header.to_str().ok()?;
    let fits =
        (1..=length_max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| text.to_owned())
}

/// Whether the caller prefers the media type `this` over `that`, according to the header `Accept`
/// (RFC 9110). Without a preference, `that` wins.
#[must_use]
pub(crate) fn wants(headers: &HeaderMap, this: &str, that: &str) -> bool {
    let accepted: Vec<_> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(','))
        .collect();
    let weight = |media_type: &str| {
        let kind = media_type.split_once('/').map_or("", |(kind, _)| kind);
        // The most specific range decides: `text/html;q=0` beats `text/*`.
        [media_type, &format!("{kind}/*"), "*/*"]
            .iter()
            .find_map(|range| accepted.iter().find_map(|element| weight_of(element, range)))
            .unwrap_or(0)
    };
    weight(this) > weight(that)
}

/// The quality value, in thousandths, that an element of `Accept` gives to exactly this range.
fn weight_of(element: &str, range: &str) -> Option<u16> {
    let mut parts = element.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(range) {
        return None;
    }
    let q = parts.find_map(|it| it.strip_prefix("q=").or_else(|| it.strip_prefix("Q=")));
    let thousandths = |q: &str| {
        let (whole, part) = q.split_once('.').unwrap_or((q, ""));
        let part = part.get(..3).unwrap_or(part);
        let whole = whole.parse::<u16>().ok().filter(|whole| *whole <= 1)?;
        format!("{whole}{part:0<3}").parse().ok()
    };
    Some(q.map_or(1_000, |q| thousandths(q).unwrap_or(0)))
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(declared) = headers.typed_get::<ContentType>() else { return false };
    let declared = Mime::from(declared);
    declared.type_() == mime::APPLICATION
        && (declared.subtype() == mime::JSON || declared.suffix() == Some(mime::JSON))
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(Objects(&mut json)).map_err(|error| {
        let pointer = pointer(error.path());
        unreadable(&pointer, error.inner())
    })?;
    json.end().map_err(|error| unreadable("", &error))?;
    Ok(value)
}

/// Says where and why, without repeating a value, which could be a card number in the wrong field.
fn unreadable(pointer: &str, error: &serde_json::Error) -> Problem {
    let (line, column) = (error.line(), error.column());
    if !error.is_data() {
        return Problem::malformed(
            "",
            format!(
                "The body is not JSON: it cannot be read on from line {line}, column {column}."
            ),
        );
    }
    let text = error.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    // The last occurrence is the library's own: a value may contain these words, too.
    let detail = match message.rsplit_once(", expected ") {
        Some((given, expected)) if repeats_a_value(given) => in_words_of_json(expected),
        _ => message.chars().take(200).collect(),
    };
    Problem::malformed(pointer, format!("{detail} (line {line}, column {column})"))
}

/// Whether the library's message repeats a value that was sent; names of fields are not values.
fn repeats_a_value(given: &str) -> bool {
    given.starts_with("invalid ") || given.starts_with("unknown variant ")
}

/// Replaces the names of Rust types with those of JSON.
fn in_words_of_json(expected: &str) -> String {
    match expected {
        object if object.starts_with("struct ") => "expected an object".to_owned(),
        "a sequence" => "expected an array".to_owned(),
        "a JSON number" => "expected a number".to_owned(),
        other => format!("expected {other}"),
    }
}

/// The path in the notation of RFC 6901.
fn pointer(path: &serde_path_to_error::Path) -> String {
    path.iter().fold(String::new(), |mut pointer, segment| {
        let segment = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
            Segment::Enum { variant } => variant.clone(),
            Segment::Unknown => "?".to_owned(),
        };
        pointer.push('/');
        pointer.extend(segment.chars().take(64));
        pointer
    })
}

#[cfg(test)]
mod tests {
    use domain::Decision;
    use serde::Deserialize;
    use serde_json::Number;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only refused")]
    struct Wanted {
        pieces: Number,
        token: String,
        decision: Decision,
        all: Vec<bool>,
    }

    #[test]
    fn a_body_that_cannot_be_read_is_refused_without_its_values() {
        let card = "4111111111111111";
        for (body, expected) in [
            (format!("{{\"token\":{card}}}"), "expected a string"),
            (format!("{{\"pieces\":\"{card}\"}}"), "expected a number"),
            (format!("{{\"pieces\":\"x, expected {card}\"}}"), "expected a number"),
            (format!("{{\"decision\":\"{card}\"}}"), "expected one of `retry`"),
            (format!("{{\"decision\":\"x, expected {card}\"}}"), "expected one of `retry`"),
            (format!("{{\"all\":\"{card} at line 1\"}}"), "expected an array"),
            (format!("\"{card}\""), "expected an object"),
            (format!("[1, \"{card}\", \"retry\", []]"), "expected an object"),
            (format!("{{\"token\":\"{card}\"}}"), "missing field `pieces`"),
        ] {
            let problem = read::<Wanted>(body.as_bytes()).unwrap_err();
            let detail = &problem.details().detail;
            assert!(detail.starts_with(expected), "{body}: {detail}");
            assert!(!detail.contains(card), "{body}: {detail}");
        }
    }

    #[test]
    fn a_wait_is_read_however_it_is_spelled() {
        let read = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("prefer", line.parse().unwrap());
            }
            wait_seconds(&headers)
        };
        for lines in [
            &["wait=5"][..],
            &["Wait=5"],
            &["WAIT = 5"],
            &["wait=\"5\""],
            &["wait=5; strict"],
            &["wait=5;x=\"a;b\""],
            &["respond-async, wait=5"],
            &["foo=\"bar, wait=9\", wait=5"],
            &["foo=\"\\\", wait=9\", wait=5"],
            &["return=minimal", "handling=lenient , Wait=\"5\" ; p=1"],
            &["wait=5", "wait=9"],
            &["wait=5, wait=x"],
        ] {
            assert_eq!(read(lines), Some(5), "{lines:?}");
        }
        for lines in [
            &["wait"][..],
            &["wait="],
            &["wait=+5"],
            &["wait=-5"],
            &["wait=5.5"],
            &["wait=five, wait=5"],
            &["waiting=5"],
            &["x; wait=5"],
            &[],
        ] {
            assert_eq!(read(lines), None, "{lines:?}");
        }
        assert_eq!(read(&["wait=99999999999"]), Some(u32::MAX));
    }
}
