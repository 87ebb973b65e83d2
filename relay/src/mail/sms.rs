//! Text messages. Providers have no common protocol, so the relay calls one webhook, signed
//! according to the Standard Webhooks specification; behind it a shop adapts to its provider.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::MailTemplate;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use runtime::http::client_builder;
use serde::Serialize;

use super::sender::TextMessages;
use super::smtp::Outcome;
use crate::webhooks::signature;

/// A text message to send.
#[derive(Clone, Copy, Serialize)]
pub struct TextMessage<'a> {
    /// The idempotency key, by which the receiver recognises a repeat.
    pub id: &'a str,
    /// The telephone number, as entered by the customer. Personal data.
    pub to: &'a str,
    /// The text.
    pub text: &'a str,
    /// The mail that it accompanies.
    pub template: MailTemplate,
    /// The locale of the text.
    pub locale: &'a str,
}

/// The key that signs webhooks.
#[derive(Clone)]
pub struct SmsSecret(Vec<u8>);

impl SmsSecret {
    /// Reads `whsec_` and the secret's bytes in Base64.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.strip_prefix("whsec_")?).ok()?;
        // The specification requires 24 to 64 bytes.
        (24..=64).contains(&bytes.len()).then_some(Self(bytes))
    }
}

impl fmt::Debug for SmsSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SmsSecret")
    }
}

/// Posts text messages to a webhook of the shop's own.
#[derive(Debug)]
pub struct SmsWebhook {
    client: Client,
    url: Url,
    secret: SmsSecret,
}

impl SmsWebhook {
    /// Connects at the first message.
    ///
    /// **Errors.** The HTTP client cannot be created.
    pub fn new(url: Url, secret: SmsSecret, patience: Duration) -> reqwest::Result<Self> {
        // Redirects are not followed: only the shop decides where telephone numbers go.
        let client = client_builder().timeout(patience).redirect(Policy::none()).build()?;
        Ok(Self { client, url, secret })
    }
}

#[async_trait]
impl TextMessages for SmsWebhook {
    async fn send(&self, message: &TextMessage<'_>) -> Outcome {
        let Ok(body) = serde_json::to_vec(message) else {
            return Outcome::Never { why: "it cannot be written as JSON".to_owned() };
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let keys = [self.secret.0.clone()];
        let signature = signature::header(&keys, message.id, timestamp, &body);
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", message.id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body);
        match request.send().await {
            Ok(answer) => outcome_of(answer.status()),
            Err(error) if error.is_connect() => {
                Outcome::Away { why: "the webhook cannot be reached".to_owned() }
            }
            // The error's text contains the URL, so it is dropped.
            Err(_lost) => Outcome::Unknown { why: "the webhook's answer is lost".to_owned() },
        }
    }
}

/// Maps a status to an outcome.
fn outcome_of(status: StatusCode) -> Outcome {
    let why = format!("the webhook answered {}", status.as_u16());
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Outcome::NotNow { why }
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
            // Not about this message: the webhook is misconfigured.
            Outcome::Away { why }
        }
        _ if status.is_success() => Outcome::Sent,
        // The failure may have happened behind the webhook, after the message was sent.
        _ if status.is_server_error() => Outcome::Unknown { why },
        _ => Outcome::Never { why },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_specifications() {
        assert!(SmsSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_some());
        for wrong in ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_MfKQ", "whsec_!"] {
            assert!(SmsSecret::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn what_the_webhook_answers_says_whether_the_message_was_sent() {
        let outcome = |status: u16| outcome_of(StatusCode::from_u16(status).unwrap());
        assert_eq!(outcome(204), Outcome::Sent);
        assert!(matches!(outcome(422), Outcome::Never { .. }));
        assert!(matches!(outcome(302), Outcome::Never { .. }));
        assert!(matches!(outcome(429), Outcome::NotNow { .. }));
        assert!(matches!(outcome(401), Outcome::Away { .. }));
        assert!(matches!(outcome(502), Outcome::Unknown { .. }));
    }
}
