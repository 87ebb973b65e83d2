//! Text messages. There is no standard by which providers take them, so what leaves the shop is one
//! webhook, signed as the Standard Webhooks specification says; behind it a shop has what its
//! provider wants.

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

/// A text message, on its way.
#[derive(Clone, Copy, Serialize)]
pub struct TextMessage<'a> {
    /// By which the receiver knows a repeat. It is the same whenever it is sent again.
    pub id: &'a str,
    /// The telephone number, as the customer has given it. Personal data.
    pub to: &'a str,
    /// What it says.
    pub text: &'a str,
    /// What it tells of.
    pub template: MailTemplate,
    /// The locale it is written in.
    pub locale: &'a str,
}

/// By what a webhook is signed.
#[derive(Clone)]
pub struct SmsSecret(Vec<u8>);

impl SmsSecret {
    /// Reads `whsec_` and the secret's bytes in Base64.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.strip_prefix("whsec_")?).ok()?;
        // The specification asks for 24 to 64 bytes.
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
    /// **Errors.** No HTTP client can be made.
    pub fn new(url: Url, secret: SmsSecret, patience: Duration) -> reqwest::Result<Self> {
        // The URL is the shop's; nobody else is to say where telephone numbers go.
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
            // The URL is in the library's words; what was sent is not, but neither is needed.
            Err(_lost) => Outcome::Unknown { why: "the webhook's answer is lost".to_owned() },
        }
    }
}

/// What an answer means.
fn outcome_of(status: StatusCode) -> Outcome {
    let why = format!("the webhook answered {}", status.as_u16());
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Outcome::NotNow { why }
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
            // Of no single message: the webhook is not set up.
            Outcome::Away { why }
        }
        _ if status.is_success() => Outcome::Sent,
        // It may have gone wrong behind the webhook, after the message was sent.
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
