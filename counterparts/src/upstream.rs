//! The two programs behind the proxy: localstripe, which does the work, and stripe-mock, which
//! validates requests.

use axum::http::{Method, header};
use reqwest::RequestBuilder;
use serde::Serialize;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::proxy::{Asked, Proxy};

const FORM: &str = "application/x-www-form-urlencoded";

/// The body of a request to localstripe.
#[derive(Debug)]
pub(crate) enum Sent {
    Nothing,
    Form(String),
    /// localstripe stores numbers and null only if they are sent as JSON.
    Json(Value),
}

/// stripe-mock's judgements so far.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Judged {
    asked: u64,
    refused: Vec<Value>,
}

impl Proxy {
    /// Status and body of localstripe's response.
    pub(crate) async fn localstripe(
        &self,
        method: Method,
        uri: &str,
        sent: Sent,
    ) -> Result<(u16, Value), Answer> {
        let request = self.http.request(method, format!("{}{uri}", self.config.localstripe));
        let request = request.bearer_auth("sk_test_proxy");
        let request = match sent {
            Sent::Nothing => request,
            Sent::Form(form) => request.header(header::CONTENT_TYPE, FORM).body(form),
            Sent::Json(json) => request.json(&json),
        };
        answer_to(request)
            .await
            .map_err(|error| Answer::no_counterpart(&format!("localstripe: {error}")))
    }

    /// localstripe's object, or its error in Stripe's form.
    pub(crate) async fn done(
        &self,
        method: Method,
        uri: &str,
        sent: Sent,
    ) -> Result<Value, Answer> {
        match self.localstripe(method, uri, sent).await? {
            (200..=299, object) => Ok(object),
            (status, body) => Err(Answer::of_localstripe(status, body)),
        }
    }

    /// Sends the original request to stripe-mock, and records a rejection.
    pub(crate) async fn judge(&self, asked: &Asked) {
        let Some(judge) = &self.config.judge else { return };
        let mut request = self.http.request(asked.method.clone(), format!("{judge}{}", asked.uri));
        for name in ["authorization", "idempotency-key", "stripe-version"] {
            if let Some(value) = asked.headers.get(name) {
                request = request.header(name, value);
            }
        }
        if asked.method == Method::POST {
            // stripe-mock requires it even without a body, unlike Stripe.
            request = request.header(header::CONTENT_TYPE, FORM).body(asked.body.clone());
        }
        let refused = match answer_to(request).await {
            Ok((200..=299, _)) => None,
            Ok((status, body)) => Some(json!({
                "method": asked.method.as_str(),
                "uri": asked.uri,
                "body": String::from_utf8_lossy(&asked.body),
                "status": status,
                "why": body["error"]["message"],
            })),
            Err(error) => Some(json!({ "uri": asked.uri, "why": error.to_string() })),
        };
        let mut memory = self.memory();
        memory.judged.asked = memory.judged.asked.saturating_add(1);
        memory.judged.refused.extend(refused);
    }
}

async fn answer_to(request: RequestBuilder) -> Result<(u16, Value), reqwest::Error> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let text = response.text().await?;
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
}
