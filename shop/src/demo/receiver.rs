//! The demo's own webhook endpoint, which rejects messages that the shop has not signed.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use reqwest::Method;
use ring::hmac::{self, HMAC_SHA256, Key};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::{DemoError, time_of_day};
use crate::ordersaga::{Once, Ordersaga};

/// The address to listen on, which relay and API must have been configured to allow.
pub(super) const HOST: &str = "127.0.0.1";

/// Older attempts are rejected as replays.
const FRESH_SECONDS: u64 = 300;

/// An endpoint of the shop's webhooks.
pub(super) struct Receiver {
    endpoint_id: String,
    hearing: Arc<Hearing>,
    serving: JoinHandle<()>,
}

/// The key for verification, and what was received.
struct Hearing {
    key: Key,
    heard: Mutex<Heard>,
}

/// What was received.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// The numbers of each order's events, as they arrived.
    by_order: BTreeMap<String, Vec<u32>>,
    /// The number of repeated messages.
    pub(super) repeats: u32,
    /// The number of messages with an invalid signature or unreadable content.
    pub(super) refused: u32,
}

/// The relevant fields of a message.
#[derive(Deserialize)]
struct Message {
    subject: String,
    sequence: String,
}

/// The API's answer with a new endpoint.
#[derive(Deserialize)]
struct Created {
    endpoint_id: String,
    #[serde(default)]
    secret: Option<String>,
}

impl Receiver {
    /// Listens, and creates an endpoint for all events from now on.
    pub(super) async fn open(operator: &Ordersaga) -> Result<Self, DemoError> {
        let listener = TcpListener::bind((HOST, 0)).await.map_err(DemoError::Listen)?;
        let port = listener.local_addr().map_err(DemoError::Listen)?.port();
        let url = format!("http://{HOST}:{port}/events");
        let body = json!({ "url": url, "description": "the demo's receiver" });
        let key = format!("demo-{}-{port}", time_of_day());
        let path = "/v1/webhook-endpoints";
        let created: Created =
            operator.post("creating a webhook endpoint", path, &key, &body).await?;
        let Created { endpoint_id, secret } = created;
        let key = secret.as_deref().and_then(key_of).ok_or(DemoError::NoSecret)?;
        let hearing = Arc::new(Hearing { key, heard: Mutex::default() });
        let router = Router::new().route("/events", post(hear)).with_state(Arc::clone(&hearing));
        let serving = tokio::spawn(async move {
            // Stops with the demo; while it does not listen, its messages wait.
            let _ended = axum::serve(listener, router).await;
        });
        Ok(Self { endpoint_id, hearing, serving })
    }

    /// What it has received so far.
    pub(super) async fn heard(&self) -> Heard {
        self.hearing.heard.lock().await.clone()
    }

    /// The sink that delivers to it.
    pub(super) fn sink(&self) -> String {
        format!("webhook:{}", self.endpoint_id)
    }

    /// Removes the endpoint.
    pub(super) async fn close(self, operator: &Ordersaga) -> Result<(), DemoError> {
        let path = format!("/v1/webhook-endpoints/{}", self.endpoint_id);
        let what = "removing a webhook endpoint";
        let remove = Once { what, method: Method::DELETE, path, key: None, body: None };
        operator.once(&remove).await?;
        self.serving.abort();
        Ok(())
    }
}

impl Heard {
    /// The number of distinct messages.
    pub(super) fn count(&self) -> usize {
        self.by_order.values().map(Vec::len).sum()
    }

    /// Whether it has received all of these events of an order, in order.
    pub(super) fn has(&self, order_id: &str, sequences: &[u32]) -> bool {
        self.by_order.get(order_id).is_some_and(|heard| heard.starts_with(sequences))
    }

    fn take(&mut self, message: Message) -> StatusCode {
        let Ok(sequence) = message.sequence.parse::<u32>() else {
            return self.refuse(StatusCode::UNPROCESSABLE_ENTITY);
        };
        let of_order = self.by_order.entry(message.subject).or_default();
        if of_order.contains(&sequence) {
            self.repeats = self.repeats.saturating_add(1);
        } else {
            of_order.push(sequence);
        }
        StatusCode::NO_CONTENT
    }

    fn refuse(&mut self, status: StatusCode) -> StatusCode {
        self.refused = self.refused.saturating_add(1);
        status
    }
}

async fn hear(State(hearing): State<Arc<Hearing>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let is_signed = is_signed(&hearing.key, &headers, &body, Utc::now().timestamp());
    let mut heard = hearing.heard.lock().await;
    if !is_signed {
        return heard.refuse(StatusCode::UNAUTHORIZED);
    }
    match serde_json::from_slice(&body) {
        Ok(message) => heard.take(message),
        Err(_unreadable) => heard.refuse(StatusCode::UNPROCESSABLE_ENTITY),
    }
}

/// Decodes the key of a secret.
///
/// **Source.** The Standard Webhooks specification: `whsec_` and the key in Base64.
fn key_of(secret: &str) -> Option<Key> {
    let key = STANDARD.decode(secret.strip_prefix("whsec_")?).ok()?;
    Some(Key::new(HMAC_SHA256, &key))
}

/// Whether the shop has signed this body recently.
///
/// **Source.** The Standard Webhooks specification: HMAC-SHA256 over id, timestamp and body, joined
/// by full stops, in Base64 after `v1,`; during a key rotation there are several signatures.
fn is_signed(key: &Key, headers: &HeaderMap, body: &[u8], now: i64) -> bool {
    let named = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(id), Some(moment), Some(signatures)) =
        (named("webhook-id"), named("webhook-timestamp"), named("webhook-signature"))
    else {
        return false;
    };
    let is_fresh = moment.parse::<i64>().is_ok_and(|then| then.abs_diff(now) <= FRESH_SECONDS);
    let signed = [id.as_bytes(), b".", moment.as_bytes(), b".", body].concat();
    let holds = |signature: &str| {
        let tag = signature.strip_prefix("v1,").and_then(|tag| STANDARD.decode(tag).ok());
        tag.is_some_and(|tag| hmac::verify(key, &signed, &tag).is_ok())
    };
    is_fresh && signatures.split(' ').any(holds)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    /// **Source.** The test vector of the specification's reference libraries.
    #[test]
    fn only_what_the_shop_has_signed_lately_is_heard() {
        let key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let now = 1_614_265_330;
        let headers = |signature: &'static str| {
            let mut headers = HeaderMap::new();
            for (name, value) in [
                ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                ("webhook-timestamp", "1614265330"),
                ("webhook-signature", signature),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
            headers
        };
        let signed = headers("v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let body = br#"{"test": 2432232314}"#;
        assert!(is_signed(&key, &signed, body, now));
        assert!(is_signed(&key, &signed, body, 1_614_265_630));
        assert!(!is_signed(&key, &signed, body, 1_614_265_631));
        assert!(!is_signed(&key, &signed, br#"{"test": 2432232315}"#, now));
        assert!(!is_signed(&key, &headers("v1,AAAA"), body, now));
        assert!(!is_signed(&key, &HeaderMap::new(), body, now));
    }

    #[test]
    fn an_order_is_heard_of_if_all_its_events_came_in_their_order() {
        let mut heard = Heard::default();
        for (subject, sequence) in [("a", "1"), ("b", "2"), ("a", "2"), ("a", "1"), ("b", "1")] {
            let message = Message { subject: subject.to_owned(), sequence: sequence.to_owned() };
            assert_eq!(heard.take(message), StatusCode::NO_CONTENT);
        }
        assert!(heard.has("a", &[1, 2]));
        assert!(!heard.has("a", &[1, 2, 3]));
        assert!(!heard.has("b", &[1, 2]));
        assert!(!heard.has("c", &[1]));
        assert_eq!((heard.count(), heard.repeats), (4, 1));
    }
}
