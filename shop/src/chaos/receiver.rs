//! A receiver of the shop's webhooks, which verifies signatures and records events.
//!
//! **Source.** The Standard Webhooks specification, version 1.0.0. Shares no code with the signer.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use ring::hmac::{HMAC_SHA256, Key, verify};
use serde::Deserialize;
use tokio::net::TcpListener;

use super::checks::Heard;

/// The maximum age of an attempt's timestamp.
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// The prefix of a secret; the key follows in Base64.
const SECRET: &str = "whsec_";

/// The receiver, which listens until this program ends.
pub(super) struct Receiver {
    url: String,
    record: Arc<Mutex<Record>>,
}

/// What was received.
#[derive(Default)]
struct Record {
    /// The key for verification; without it, messages are rejected and redelivered.
    key: Option<Vec<u8>>,
    heard: Heard,
    messages: usize,
    /// Messages with an invalid signature.
    unsigned: usize,
}

/// The relevant fields of a message.
#[derive(Deserialize)]
struct Body {
    id: String,
    subject: String,
    sequence: String,
}

impl Receiver {
    /// Listens on a free port.
    pub(super) async fn listening() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/events", listener.local_addr()?);
        let record = Arc::<Mutex<Record>>::default();
        let router = Router::new().route("/events", post(receive)).with_state(Arc::clone(&record));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, record })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Accepts messages signed with this secret from now on. Returns whether the secret is valid.
    pub(super) fn trusts(&self, secret: &str) -> bool {
        let key = secret.strip_prefix(SECRET).and_then(|text| STANDARD.decode(text).ok());
        let mut record = locked(&self.record);
        record.key = key;
        record.key.is_some()
    }

    /// What it has received.
    pub(super) fn heard(&self) -> Heard {
        locked(&self.record).heard.clone()
    }

    /// The number of accepted messages, including repetitions, and of messages with an invalid
    /// signature.
    pub(super) fn counts(&self) -> (usize, usize) {
        let record = locked(&self.record);
        (record.messages, record.unsigned)
    }
}

async fn receive(
    State(record): State<Arc<Mutex<Record>>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    locked(&record).take(&headers, &body, DateTime::from(SystemTime::now()))
}

impl Record {
    fn take(&mut self, headers: &HeaderMap, body: &[u8], now: DateTime<Utc>) -> StatusCode {
        let Some(key) = &self.key else { return StatusCode::SERVICE_UNAVAILABLE };
        let told = is_signed(key, headers, body, now).then(|| read(headers, body)).flatten();
        let Some((order, number)) = told else {
            self.unsigned = self.unsigned.saturating_add(1);
            return StatusCode::UNAUTHORIZED;
        };
        self.messages = self.messages.saturating_add(1);
        self.heard.hear(order, number);
        StatusCode::NO_CONTENT
    }
}

/// The order and event number, if headers and body agree.
fn read(headers: &HeaderMap, body: &[u8]) -> Option<(String, i32)> {
    let Body { id, subject, sequence } = serde_json::from_slice(body).ok()?;
    let agrees = id == format!("{subject}:{sequence}") && header(headers, "webhook-id")? == id;
    agrees.then(|| Some((subject, sequence.parse().ok()?)))?
}

fn is_signed(key: &[u8], headers: &HeaderMap, body: &[u8], now: DateTime<Utc>) -> bool {
    let signed = || {
        let id = header(headers, "webhook-id")?;
        let timestamp = header(headers, "webhook-timestamp")?;
        let at = DateTime::from_timestamp(timestamp.parse().ok()?, 0)?;
        let is_fresh = now.signed_duration_since(at).abs() <= TOLERANCE;
        let content = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
        let key = Key::new(HMAC_SHA256, key);
        let mut signatures = header(headers, "webhook-signature")?.split(' ');
        let is_ours = signatures.any(|one| {
            let tag = one.strip_prefix("v1,").and_then(|text| STANDARD.decode(text).ok());
            tag.is_some_and(|tag| verify(&key, &content, &tag).is_ok())
        });
        Some(is_fresh && is_ours)
    };
    signed().unwrap_or(false)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn locked(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use ring::hmac::sign;

    use super::*;

    const AT: i64 = 1_767_225_600;

    fn body(order: &str, number: i32) -> String {
        format!(r#"{{"id":"{order}:{number}","subject":"{order}","sequence":"{number}"}}"#)
    }

    fn signed(key: &[u8], id: &str, body: &str) -> HeaderMap {
        let key = Key::new(HMAC_SHA256, key);
        let tag = STANDARD.encode(sign(&key, format!("{id}.{AT}.{body}").as_bytes()));
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", id.parse().unwrap());
        headers.insert("webhook-timestamp", AT.into());
        headers.insert("webhook-signature", format!("v1,AAAA v1,{tag}").parse().unwrap());
        headers
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    #[test]
    fn it_keeps_what_the_shop_has_signed_once_and_nothing_else() {
        let mut record = Record { key: Some(vec![7; 32]), ..Record::default() };
        let (first, later) = (body("o1", 1), at(AT.saturating_add(301)));
        let headers = signed(&[7; 32], "o1:1", &first);
        for _ in 0..2 {
            assert_eq!(record.take(&headers, first.as_bytes(), at(AT)), StatusCode::NO_CONTENT);
        }
        let second = body("o1", 2);
        for (headers, now) in [
            (signed(&[8; 32], "o1:2", &second), at(AT)),
            (signed(&[7; 32], "o1:3", &second), at(AT)),
            (headers, at(AT)),
            (signed(&[7; 32], "o1:2", &second), later),
            (HeaderMap::new(), at(AT)),
        ] {
            let answer = record.take(&headers, second.as_bytes(), now);
            assert_eq!(answer, StatusCode::UNAUTHORIZED, "{headers:?}");
        }
        assert_eq!((record.messages, record.unsigned), (2, 5));
        assert_eq!(record.heard, [("o1".to_owned(), 1)].into_iter().collect());
    }

    #[test]
    fn it_asks_everybody_to_come_again_while_it_has_no_secret() {
        let (mut record, body) = (Record::default(), body("o1", 1));
        let headers = signed(&[7; 32], "o1:1", &body);
        let answer = record.take(&headers, body.as_bytes(), at(AT));
        assert_eq!((answer, record.unsigned), (StatusCode::SERVICE_UNAVAILABLE, 0));
    }
}
