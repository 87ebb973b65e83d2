//! One request to a receiver.

use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Utc};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Response, Url};
use runtime::http::outside::led_inside;
use tokio::time::timeout;

use crate::message::CONTENT_TYPE as JSON;
use crate::webhooks::answer::{self, Outcome};
use crate::webhooks::body::Body;
use crate::webhooks::signature;
use crate::webhooks::store::Attempt;
use crate::{Message, webhooks};

/// A response up to this size is read to its end, so that the connection can be reused; a larger
/// one is abandoned.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// How long to wait for a response's body after its head, which is all that counts.
const ANSWER_REST_MAX: Duration = Duration::from_secs(1);

/// An endpoint's address and signing keys.
pub(super) struct Receiver {
    pub(super) url: Url,
    pub(super) keys: Vec<Vec<u8>>,
}

/// Sends a message and returns the attempt.
pub(super) async fn send<'a>(
    client: &Client,
    receiver: &Receiver,
    source: &str,
    message: &'a Message,
) -> Attempt<'a> {
    let (now, started) = (SystemTime::now(), Instant::now());
    let (status, outcome) = answered(client, receiver, source, message, now).await;
    let duration_ms = i32::try_from(started.elapsed().as_millis()).unwrap_or(i32::MAX);
    metrics::counter!(webhooks::ATTEMPTS, "outcome" => outcome.name()).increment(1);
    Attempt { message, attempted_at: DateTime::<Utc>::from(now), duration_ms, status, outcome }
}

async fn answered(
    client: &Client,
    receiver: &Receiver,
    source: &str,
    message: &Message,
    now: SystemTime,
) -> (Option<u16>, Outcome) {
    let body = match serde_json::to_vec(&Body { message, source }) {
        Ok(body) => body,
        Err(error) => {
            tracing::error!(id = message.id, %error, "a message cannot be written as JSON");
            let why = "it cannot be written as JSON".to_owned();
            return (None, Outcome::Refused { why });
        }
    };
    let timestamp = DateTime::<Utc>::from(now).timestamp();
    let signature = signature::header(&receiver.keys, &message.id, timestamp, &body);
    let request = client
        .post(receiver.url.clone())
        .header(CONTENT_TYPE, JSON)
        .header("webhook-id", &message.id)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signature)
        .body(body);
    match request.send().await {
        Ok(response) => {
            let status = response.status();
            let outcome = answer::read(status, response.headers(), now);
            leave(response).await;
            (Some(status.as_u16()), outcome)
        }
        Err(error) => {
            let why = why_not_answered(&error).to_owned();
            (None, Outcome::Unavailable { retry_after: None, why })
        }
    }
}

/// Describes the error without an address: the library's own text may contain the URL.
fn why_not_answered(error: &reqwest::Error) -> &'static str {
    if led_inside(error) {
        "its name leads into a private network, where webhooks do not go"
    } else if error.is_timeout() {
        "it did not answer in time"
    } else if error.is_connect() {
        "no connection to it could be made"
    } else {
        "the connection broke off before it answered"
    }
}

/// Reads the rest of a response, whose head has decided the outcome.
async fn leave(mut response: Response) {
    let rest = async {
        let mut left = ANSWER_BYTES_MAX;
        while let Ok(Some(part)) = response.chunk().await {
            match left.checked_sub(part.len()) {
                Some(still) => left = still,
                None => break,
            }
        }
    };
    let _in_time = timeout(ANSWER_REST_MAX, rest).await.is_ok();
}
