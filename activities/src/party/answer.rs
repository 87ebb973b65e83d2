//! Decodes a party's HTTP answer.
//!
//! An answer is a value, a refusal by the party, or neither: the party cannot answer now, or the
//! answer is invalid. A proxy's error page, a truncated document or an endless body is not an
//! answer of the party, whatever its status.
//!
//! Errors contain nothing of a body: it may hold customer data, and errors are logged.

use std::time::{Duration, SystemTime};

use domain::json;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::fault::PAUSE_MAX;

/// The longest body, in bytes; far more than any party's answer about one object needs.
pub const BODY_MAX: usize = 64 * 1024;

/// The longest body of a page of a list: a hundred objects with their details.
pub const PAGE_MAX: usize = 4 * 1024 * 1024;

/// An answer as it came over the wire.
///
/// **Shape.** The headers as sent, if present. A receiver stops reading a body that is longer than
/// [`BODY_MAX`], or [`PAGE_MAX`] for a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header `Content-Type`.
    pub content_type: Option<String>,
    /// The header `Retry-After`.
    pub retry_after: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// A decoded answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said<T, R> {
    /// The party has done as requested (2xx).
    Yes(T),
    /// The party refuses (4xx), with a reason.
    No {
        /// The HTTP status.
        status: u16,
        /// The reason, in the party's own form.
        why: R,
    },
}

/// Why an answer could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// The party cannot answer now (408, 425, 429 and 5xx). It may have done as requested.
    #[error("the status of the answer is {status}")]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// When to ask again, if the party said so.
        retry_after: Option<Duration>,
    },
    /// The answer is invalid. The party may have done as requested.
    #[error(transparent)]
    Nonsense(#[from] Nonsense),
}

/// Why an answer is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nonsense {
    /// An unexpected status.
    #[error("the status of the answer is {0}")]
    Status(u16),
    /// A body longer than [`BODY_MAX`], or a page longer than [`PAGE_MAX`].
    #[error("the answer is longer than any that is read")]
    TooLarge,
    /// A body of another type than JSON, such as a proxy's page.
    #[error("the answer is of another type than JSON: {0:?}")]
    NotJson(Option<String>),
    /// A body that is truncated, is not JSON, or does not have the agreed structure.
    #[error("the answer cannot be read ({category:?} error in line {line}, column {column})")]
    Unreadable {
        /// What is wrong with it.
        category: Category,
        /// The line, counted from 1.
        line: usize,
        /// The column.
        column: usize,
    },
}

impl Answer {
    /// Builds a JSON answer like a party's.
    pub(crate) fn json(status: u16, body: &impl Serialize) -> Self {
        // A value that cannot be serialised gives an empty body, which the decoder refuses.
        let body = serde_json::to_vec(body).unwrap_or_default();
        let content_type = Some("application/json".to_owned());
        Self { status, content_type, retry_after: None, body }
    }

    /// Decodes the answer; `now` is the reference for a date in `Retry-After`.
    ///
    /// **Errors.** [`Unread`], if it is neither a value nor a refusal.
    pub fn read<T, R>(&self, now: SystemTime) -> Result<Said<T, R>, Unread>
    where
        T: DeserializeOwned,
        R: DeserializeOwned,
    {
        self.read_up_to(BODY_MAX, now)
    }

    /// The same with another limit for the body, as for a list.
    pub(crate) fn read_up_to<T, R>(
        &self,
        bytes_max: usize,
        now: SystemTime,
    ) -> Result<Said<T, R>, Unread>
    where
        T: DeserializeOwned,
        R: DeserializeOwned,
    {
        match self.status {
            200..=299 => Ok(Said::Yes(self.value(bytes_max)?)),
            status @ (408 | 425 | 429 | 500..=599) => {
                let retry_after = self.retry_after.as_deref();
                let retry_after = retry_after.and_then(|header| retry_after_of(header, now));
                Err(Unread::Unavailable { status, retry_after })
            }
            status @ 400..=499 => Ok(Said::No { status, why: self.value(bytes_max)? }),
            status => Err(Nonsense::Status(status).into()),
        }
    }

    fn value<T: DeserializeOwned>(&self, bytes_max: usize) -> Result<T, Nonsense> {
        if self.body.len() > bytes_max {
            return Err(Nonsense::TooLarge);
        }
        if !self.content_type.as_deref().is_some_and(is_json) {
            return Err(Nonsense::NotJson(self.content_type.clone()));
        }
        json::from_slice(&self.body).map_err(|error| Nonsense::Unreadable {
            category: error.classify(),
            line: error.line(),
            column: error.column(),
        })
    }
}

/// Whether a `Content-Type` is JSON, plain or as another type's syntax.
fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let media_type = media_type.to_ascii_lowercase();
    media_type == "application/json"
        || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

/// The pause requested by `Retry-After`, given in seconds or as a date: an hour at most. `None`:
/// the header is not understood, or requests no pause; then the shop's own delay applies.
#[must_use]
pub fn retry_after_of(header: &str, now: SystemTime) -> Option<Duration> {
    let text = header.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let pause = if is_number {
        // A number too large for the type is capped anyway.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(text).ok()?.duration_since(now).ok()?
    };
    (!pause.is_zero()).then(|| pause.min(PAUSE_MAX))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Receipt {
        id: String,
        pieces: u32,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Refused {
        code: String,
    }

    /// 2026-11-01 12:00:00 UTC.
    fn noon() -> SystemTime {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_hours(498_204)).unwrap()
    }

    fn answer(status: u16, content_type: &str, body: &str) -> Answer {
        let content_type = Some(content_type.to_owned());
        Answer { status, content_type, retry_after: None, body: body.as_bytes().to_vec() }
    }

    fn json(status: u16, body: &str) -> Answer {
        answer(status, "application/json; charset=utf-8", body)
    }

    fn read(answer: &Answer) -> Result<Said<Receipt, Refused>, Unread> {
        answer.read(noon())
    }

    fn is_unreadable(body: &str, expected: Category) {
        match read(&json(200, body)) {
            Err(Unread::Nonsense(Nonsense::Unreadable { category, .. })) => {
                assert_eq!(category, expected, "{body}");
            }
            read => panic!("{body}: {read:?}"),
        }
    }

    const RECEIPT: &str = r#"{"id": "a", "pieces": 6, "added-later": true}"#;

    #[test]
    fn an_answer_in_json_is_read_whatever_its_type_is_called() {
        let receipt = || Said::Yes(Receipt { id: "a".to_owned(), pieces: 6 });
        for status in [200, 201, 299] {
            assert_eq!(read(&json(status, RECEIPT)), Ok(receipt()));
        }
        for content_type in ["application/json", " Application/JSON ;a=b", "application/hal+json"] {
            assert_eq!(read(&answer(200, content_type, RECEIPT)), Ok(receipt()), "{content_type}");
        }
    }

    #[test]
    fn a_refusal_is_read_in_the_partys_own_words() {
        for status in [400, 401, 402, 404, 409, 422, 499] {
            let refused = Said::No { status, why: Refused { code: "no".to_owned() } };
            assert_eq!(read(&json(status, r#"{"code": "no"}"#)), Ok(refused));
        }
        let page = read(&answer(403, "text/html", "<html>Forbidden</html>"));
        assert!(matches!(page, Err(Unread::Nonsense(Nonsense::NotJson(_)))), "{page:?}");
    }

    #[test]
    fn a_party_that_cannot_answer_now_is_unavailable_whatever_else_it_sends() {
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            for body in [RECEIPT, "<html>Bad gateway</html>", ""] {
                let unavailable = Unread::Unavailable { status, retry_after: None };
                assert_eq!(read(&answer(status, "text/html", body)), Err(unavailable));
            }
        }
        let mut busy = json(429, "");
        busy.retry_after = Some("30".to_owned());
        let retry_after = Some(Duration::from_secs(30));
        assert_eq!(read(&busy), Err(Unread::Unavailable { status: 429, retry_after }));
    }

    #[test]
    fn what_is_no_answer_of_the_party_is_nonsense() {
        let page = read(&answer(200, "text/html", "<html>It works!</html>"));
        let html = Some("text/html".to_owned());
        assert_eq!(page, Err(Nonsense::NotJson(html).into()));
        // The content type decides: a page that happens to be valid JSON is not the party's answer.
        let text = read(&answer(200, "text/plain", RECEIPT));
        assert!(matches!(text, Err(Unread::Nonsense(Nonsense::NotJson(_)))), "{text:?}");
        let untyped = Answer { content_type: None, ..json(200, RECEIPT) };
        assert_eq!(read(&untyped), Err(Nonsense::NotJson(None).into()));
        for status in [0, 100, 199, 301, 304, 399, 600, u16::MAX] {
            assert_eq!(read(&json(status, RECEIPT)), Err(Nonsense::Status(status).into()));
        }
    }

    #[test]
    fn a_body_that_cannot_be_read_is_nonsense() {
        for length in 0..RECEIPT.len() {
            is_unreadable(&RECEIPT[..length], Category::Eof);
        }
        is_unreadable("<html>It works!</html>", Category::Syntax);
        is_unreadable(r#"{"id": "a", "pieces": 6} {}"#, Category::Syntax);
        is_unreadable(r#"{"id": "a"}"#, Category::Data);
        is_unreadable(r#"{"id": 7, "pieces": 6}"#, Category::Data);
        is_unreadable(r#"{"id": "a", "pieces": "6"}"#, Category::Data);
        is_unreadable(r#"{"id": "a", "pieces": -6}"#, Category::Data);
        is_unreadable(r#"{"id": "a", "pieces": 4294967296}"#, Category::Data);
        is_unreadable("null", Category::Data);
        is_unreadable(r#"["a", 6]"#, Category::Data);
        let mut broken = json(200, RECEIPT);
        broken.body[2] = 0xff;
        assert!(matches!(read(&broken), Err(Unread::Nonsense(Nonsense::Unreadable { .. }))));
        // Nested too deeply for a recursive parser.
        assert!(read(&json(200, &"[".repeat(BODY_MAX))).is_err());
    }

    #[test]
    fn a_body_is_read_up_to_the_limit_and_not_beyond() {
        let of = |bytes: usize| {
            let blanks = bytes.saturating_sub(RECEIPT.len());
            json(200, &[RECEIPT, &" ".repeat(blanks)].concat())
        };
        assert!(read(&of(BODY_MAX)).is_ok());
        let longer = of(BODY_MAX.saturating_add(1));
        assert_eq!(read(&longer), Err(Nonsense::TooLarge.into()));
        let page = |answer: &Answer| answer.read_up_to::<Receipt, Refused>(PAGE_MAX, noon());
        assert!(page(&longer).is_ok());
        assert_eq!(page(&of(PAGE_MAX.saturating_add(1))), Err(Nonsense::TooLarge.into()));
    }

    #[test]
    fn nothing_of_a_body_is_told() {
        let error = read(&json(200, r#"{"id": "Ada Lovelace", "pieces": "12 St James's Square"}"#));
        let error = error.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("Square"), "{error:?}");
    }

    #[test]
    fn a_pause_is_given_in_seconds_or_as_a_date_and_is_an_hour_at_most() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (header, pause) in [
            ("30", seconds(30)),
            (" 30 ", seconds(30)),
            ("3600", seconds(3_600)),
            ("3601", seconds(3_600)),
            ("18446744073709551615", seconds(3_600)),
            ("99999999999999999999999999", seconds(3_600)),
            ("Sun, 01 Nov 2026 12:00:30 GMT", seconds(30)),
            ("Sunday, 01-Nov-26 12:00:30 GMT", seconds(30)),
            ("Sun Nov  1 12:00:30 2026", seconds(30)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", seconds(3_600)),
        ] {
            assert_eq!(retry_after_of(header, noon()), pause, "{header}");
        }
    }

    #[test]
    fn what_asks_for_no_pause_or_cannot_be_understood_is_no_hint() {
        for header in [
            "0",
            "000",
            "",
            " ",
            "-30",
            "+30",
            "30.5",
            "30s",
            "soon",
            "٣٠",
            "1e3",
            "Sun, 01 Nov 2026 12:00:00 GMT",
            "Sun, 01 Nov 2026 11:59:59 GMT",
            "Thu, 01 Jan 1970 00:00:00 GMT",
            "Sun, 01 Nov 2026 12:00:30",
            "2026-11-01T12:00:30Z",
        ] {
            assert_eq!(retry_after_of(header, noon()), None, "{header}");
        }
    }
}
