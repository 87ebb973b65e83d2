//! The meaning of a receiver's response. Only its status and `Retry-After` count; its body may be
//! anything and is never shown.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The maximum pause that a receiver may ask for.
const PAUSE_MAX: Duration = Duration::from_hours(1);

/// The outcome of a delivery attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver has it.
    Delivered,
    /// The receiver will never accept this message.
    Refused {
        /// Why.
        why: String,
    },
    /// The receiver did not accept it, and may accept it later.
    Unavailable {
        /// When it wants to be tried again, if it says so.
        retry_after: Option<Duration>,
        /// Why.
        why: String,
    },
    /// The receiver wants no more messages.
    Gone,
}

impl Outcome {
    /// The name in the log of attempts.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Refused { .. } => "refused",
            Self::Unavailable { .. } => "unavailable",
            Self::Gone => "gone",
        }
    }

    /// Why the message was not delivered, in one line.
    pub(super) fn why(&self) -> Option<&str> {
        match self {
            Self::Delivered => None,
            Self::Refused { why } | Self::Unavailable { why, .. } => Some(why),
            Self::Gone => Some(GONE),
        }
    }
}

/// The reason for a receiver that is gone.
pub(super) const GONE: &str = "it answered 410 Gone: it wants no more messages";

/// Maps a response to an outcome.
///
/// 413 (too large) and 422 (unprocessable) are about this one message. Every other status that is
/// not 2xx is about the receiver: a wrong path (404), a wrong secret (400 or 401, depending on its
/// library), or a redirect (3xx) can be corrected, and then it accepts the same message.
pub(super) fn read(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Outcome {
    match status.as_u16() {
        200..=299 => Outcome::Delivered,
        410 => Outcome::Gone,
        413 | 422 => Outcome::Refused { why: format!("it answered {status}") },
        300..=399 => Outcome::Unavailable {
            retry_after: None,
            why: format!("it answered {status}: redirects are not followed, so change its URL"),
        },
        _ => Outcome::Unavailable {
            retry_after: retry_after(headers, now),
            why: format!("it answered {status}"),
        },
    }
}

/// The pause that `Retry-After` asks for, in seconds or until a date; at most an hour. An
/// unreadable value, or one without a pause, is ignored.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let pause = if is_number {
        // A number too large to parse exceeds any limit.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(text).ok()?.duration_since(now).ok()?
    };
    (!pause.is_zero()).then(|| pause.min(PAUSE_MAX))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn now() -> SystemTime {
        httpdate::parse_http_date("Thu, 01 Jan 2026 00:00:00 GMT").unwrap()
    }

    fn outcome(status: u16, retry_after: Option<&'static str>) -> Outcome {
        let mut headers = HeaderMap::new();
        if let Some(text) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
        }
        read(StatusCode::from_u16(status).unwrap(), &headers, now())
    }

    #[test]
    fn every_status_is_taken_for_what_its_receiver_can_do_about_it() {
        for (status, name) in [
            (200, "delivered"),
            (204, "delivered"),
            (299, "delivered"),
            (301, "unavailable"),
            (307, "unavailable"),
            (400, "unavailable"),
            (401, "unavailable"),
            (404, "unavailable"),
            (408, "unavailable"),
            (410, "gone"),
            (413, "refused"),
            (422, "refused"),
            (429, "unavailable"),
            (500, "unavailable"),
            (503, "unavailable"),
            (599, "unavailable"),
        ] {
            let outcome = outcome(status, None);
            assert_eq!(outcome.name(), name, "{status}");
            assert_eq!(outcome.why().is_some(), name != "delivered", "{status}");
        }
    }

    #[test]
    fn a_receiver_may_ask_for_a_pause_and_for_no_more_than_an_hour() {
        let pause = |text| match outcome(429, Some(text)) {
            Outcome::Unavailable { retry_after, .. } => retry_after,
            Outcome::Delivered | Outcome::Refused { .. } | Outcome::Gone => unreachable!(),
        };
        let seconds = |number| Some(Duration::from_secs(number));
        for (text, expected) in [
            ("7", seconds(7)),
            ("3601", seconds(3_600)),
            ("99999999999999999999999", seconds(3_600)),
            ("Thu, 01 Jan 2026 00:02:00 GMT", seconds(120)),
            ("Wed, 31 Dec 2025 00:00:00 GMT", None),
            ("0", None),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(pause(text), expected, "{text}");
        }
    }
}
