//! Ordersaga's HTTP client as in a shop's backend: a few calls, each retried until it is answered.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use clap::Args;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use runtime::http::client_builder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::RwLock;

use crate::retail::RetailLine;

/// A request to place an order. It names articles, never prices.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PlaceOrder {
    /// The customer.
    pub(crate) customer_id: String,
    /// The articles.
    pub(crate) lines: Vec<RetailLine>,
    /// The destination.
    pub(crate) ship_to: ShipTo,
    /// The payment method's token.
    pub(crate) payment_token: &'static str,
    /// How long the order can be cancelled before it is processed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cancel_window_seconds: Option<u32>,
}

/// The destination. The data contains only countries.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ShipTo {
    country: &'static str,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    address: Option<Address>,
}

#[derive(Clone, Debug, Serialize)]
struct Address {
    name: &'static str,
    line1: &'static str,
    city: &'static str,
    postal_code: &'static str,
}

impl ShipTo {
    /// A country only, which is enough for tax and shipping fee.
    pub(crate) const fn country(country: &'static str) -> Self {
        Self { country, address: None }
    }

    /// A complete, invented address.
    pub(crate) const fn in_full(country: &'static str) -> Self {
        let address = Address {
            name: "Ada Example",
            line1: "1 Sample Street",
            city: "Exampleton",
            postal_code: "EX1 1EX",
        };
        Self { country, address: Some(address) }
    }
}

/// The fields of an order that the shop reads.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Order {
    /// Its id.
    #[serde(rename = "order_id")]
    pub(crate) id: String,
    /// Its status.
    pub(crate) status: String,
    /// The business reason for a rejection.
    #[serde(default)]
    rejection: Option<Rejection>,
    /// When it was placed.
    pub(crate) placed_at: DateTime<Utc>,
    /// The decision that it waits for, if any.
    #[serde(default)]
    pub(crate) needs_attention: Option<Attention>,
    /// The action required of its customer, if any.
    #[serde(default)]
    customer_action: Option<CustomerAction>,
}

/// The action required of an order's customer.
#[derive(Clone, Debug, Deserialize)]
struct CustomerAction {
    #[serde(default)]
    url: Option<String>,
}

/// The decision that an order waits for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Attention {
    /// The step that is broken.
    pub(crate) step: String,
    /// The number of the question about this order.
    pub(crate) occurrence: u32,
}

/// The answer to a cancellation.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Cancelled {
    /// Whether the order is cancelled already, is being unwound, or has yet to decide; `None` if it
    /// was cancelled before.
    #[serde(default)]
    pub(crate) decision: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Rejection {
    code: String,
}

impl Order {
    /// The code of the rejection.
    pub(crate) fn rejection_code(&self) -> Option<&str> {
        self.rejection.as_ref().map(|rejection| rejection.code.as_str())
    }

    /// The link for the customer, if any: to the bank's approval page, or with the transfer's
    /// details.
    pub(crate) fn customers_link(&self) -> Option<&str> {
        self.customer_action.as_ref()?.url.as_deref()
    }

    /// Whether the order has reached a terminal status.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "cancelled" | "rejected" | "failed")
    }

    /// Whether it was shipped and its revenue is recognised.
    pub(crate) fn is_completed(&self) -> bool {
        self.status == "completed"
    }

    /// The status, with the reason of a rejection.
    pub(crate) fn told(&self) -> String {
        match self.rejection_code() {
            Some(code) => format!("{}: {code}", self.status),
            None => self.status.clone(),
        }
    }
}

impl ApiError {
    /// Whether there was no answer, so that the request may have been executed.
    pub(crate) const fn is_silence(&self) -> bool {
        matches!(self, Self::Silence { .. } | Self::Unanswered { .. })
    }
}

/// An answer, and how it was obtained.
#[derive(Clone, Debug)]
pub(crate) struct Answered<T> {
    /// The answer.
    pub(crate) answer: T,
    /// Since the first attempt.
    pub(crate) took: Duration,
    /// The number of attempts without an answer.
    pub(crate) repeats: u32,
}

/// Why a call has failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The HTTP client cannot be built.
    #[error("cannot create an HTTP client")]
    Client(#[source] reqwest::Error),
    /// The API returned an error.
    #[error("{doing}: {status}: {detail}")]
    Refused {
        /// The call.
        doing: &'static str,
        /// The HTTP status.
        status: StatusCode,
        /// The API's error text.
        detail: String,
    },
    /// The answer cannot be parsed.
    #[error("{doing}: the answer is invalid")]
    Unreadable {
        /// The call.
        doing: &'static str,
        /// Why.
        source: reqwest::Error,
    },
    /// There was no answer.
    #[error("{doing}: no answer")]
    Unanswered {
        /// The call.
        doing: &'static str,
        /// Why.
        source: reqwest::Error,
    },
    /// There was no answer within the patience.
    #[error("{doing}: no answer for {} s; the last try: {last}", .patience.as_secs())]
    Silence {
        /// The call.
        doing: &'static str,
        /// The time spent.
        patience: Duration,
        /// The last attempt's error.
        last: String,
    },
}

/// A request that is sent once, and may be invalid.
#[derive(Clone, Debug)]
pub(crate) struct Once {
    /// Its purpose, for errors.
    pub(crate) what: &'static str,
    /// The HTTP method.
    pub(crate) method: Method,
    /// The path, with its leading slash.
    pub(crate) path: String,
    /// The `Idempotency-Key`.
    pub(crate) key: Option<String>,
    /// Sent as JSON.
    pub(crate) body: Option<String>,
}

/// The answer to it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// Whether it is marked as a repetition of an earlier answer.
    pub(crate) replayed: bool,
    /// The body as JSON, or otherwise as text.
    pub(crate) body: Value,
}

/// Ordersaga's HTTP API.
#[derive(Clone)]
pub(crate) struct Ordersaga {
    http: Client,
    url: String,
    patience: Duration,
    credentials: Credentials,
    token: Arc<RwLock<Option<Token>>>,
}

/// The API's URL and the client's credentials.
#[derive(Clone, Debug, Args)]
pub(crate) struct ApiArgs {
    /// The API's URL
    #[arg(long, env = "ORDERSAGA_URL", default_value = "http://127.0.0.1:8080")]
    url: String,

    #[command(flatten)]
    credentials: Credentials,
}

impl ApiArgs {
    /// The API's URL, without a trailing slash.
    pub(crate) fn url(&self) -> &str {
        self.url.trim_end_matches('/')
    }
}

/// Credentials for a token that allows placing orders for the shop's customers.
#[derive(Clone, Args)]
struct Credentials {
    /// The client id
    #[arg(long, env = "ORDERSAGA_CLIENT_ID", default_value = "shop")]
    client_id: String,

    /// The client secret
    #[arg(long, env = "ORDERSAGA_CLIENT_SECRET", hide_env_values = true)]
    client_secret: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// A token, kept while it is valid.
#[derive(Clone)]
struct Token {
    text: String,
    use_until: Instant,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

impl Ordersaga {
    /// Creates a client that retries a call without an answer for `patience`.
    pub(crate) fn at(api: &ApiArgs, patience: Duration) -> Result<Self, ApiError> {
        let http = client_builder().timeout(TRY_TIMEOUT).build().map_err(ApiError::Client)?;
        let url = api.url().to_owned();
        Ok(Self {
            http,
            url,
            patience,
            credentials: api.credentials.clone(),
            token: Arc::default(),
        })
    }

    /// The same API with another client's credentials.
    pub(crate) fn asked_by(&self, client_id: &str, client_secret: &str) -> Self {
        let (client_id, client_secret) = (client_id.to_owned(), client_secret.to_owned());
        let credentials = Credentials { client_id, client_secret };
        Self { credentials, token: Arc::default(), ..self.clone() }
    }

    /// Places an order.
    ///
    /// **Repeats.** The idempotency key makes retries safe, so the call is retried until it is
    /// answered.
    pub(crate) async fn place(
        &self,
        key: &str,
        request: &PlaceOrder,
    ) -> Result<Answered<Order>, ApiError> {
        let url = format!("{}/v1/orders", self.url);
        let post = || self.http.post(&url).header("Idempotency-Key", key).json(request);
        self.until_answered("placing an order", post).await
    }

    /// Cancels an order.
    pub(crate) async fn cancel(
        &self,
        order_id: &str,
        reason: &str,
    ) -> Result<Answered<Cancelled>, ApiError> {
        let url = format!("{}/v1/orders/{order_id}/cancel", self.url);
        let body = serde_json::json!({ "reason": reason });
        let post = || self.http.post(&url).json(&body);
        self.until_answered("cancelling an order", post).await
    }

    /// Retries whatever an order waits for.
    pub(crate) async fn retry(&self, order_id: &str, waits: &Attention) -> Result<(), ApiError> {
        let url = format!("{}/v1/orders/{order_id}/resolve", self.url);
        let Attention { step, occurrence } = waits;
        let body = serde_json::json!({
            "step": step, "occurrence": occurrence, "decision": "retry",
            "why": "the provider has mended it",
        });
        let post = || self.http.post(&url).json(&body);
        self.until_answered::<Value>("deciding about an order", post).await.map(drop)
    }

    /// An order's current state.
    pub(crate) async fn show(&self, order_id: &str) -> Result<Order, ApiError> {
        self.get("asking for an order", &format!("/v1/orders/{order_id}")).await
    }

    /// Sends a POST request with an idempotency key.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        doing: &'static str,
        path: &str,
        key: &str,
        body: &Value,
    ) -> Result<T, ApiError> {
        let url = format!("{}{path}", self.url);
        let post = || self.http.post(&url).header("Idempotency-Key", key).json(body);
        Ok(self.until_answered(doing, post).await?.answer)
    }

    /// Sends a PUT request.
    pub(crate) async fn put(
        &self,
        doing: &'static str,
        path: &str,
        body: &Value,
    ) -> Result<(), ApiError> {
        let url = format!("{}{path}", self.url);
        let put = || self.http.put(&url).json(body);
        self.until_answered::<Value>(doing, put).await.map(drop)
    }

    /// Sends a GET request.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        doing: &'static str,
        path: &str,
    ) -> Result<T, ApiError> {
        let url = format!("{}{path}", self.url);
        Ok(self.until_answered(doing, || self.http.get(&url)).await?.answer)
    }

    /// Sends a request once, and returns any answer.
    pub(crate) async fn once(&self, request: &Once) -> Result<Answer, ApiError> {
        let doing = request.what;
        let url = format!("{}{}", self.url, request.path);
        let token = self.token().await?;
        let mut sent = self.http.request(request.method.clone(), &url).bearer_auth(token);
        if let Some(key) = &request.key {
            sent = sent.header("Idempotency-Key", key);
        }
        if let Some(body) = &request.body {
            sent = sent.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        let sent = sent.send().await.map_err(|source| ApiError::Unanswered { doing, source })?;
        let status = sent.status();
        let replayed = sent.headers().contains_key("Idempotency-Replayed");
        let text = sent.text().await.map_err(|source| ApiError::Unreadable { doing, source })?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, replayed, body })
    }

    /// Sends a request with a token that is valid for a while, getting a new one if needed.
    async fn until_answered<T: DeserializeOwned>(
        &self,
        doing: &'static str,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Answered<T>, ApiError> {
        let token = self.token().await?;
        self.repeated(doing, || request().bearer_auth(&token)).await
    }

    /// The URL of a path, and a valid token.
    pub(crate) async fn address_of(&self, path: &str) -> Result<(String, String), ApiError> {
        Ok((format!("{}{path}", self.url), self.token().await?))
    }

    async fn token(&self) -> Result<String, ApiError> {
        if let Some(token) = self.token.read().await.as_ref().filter(|token| token.is_good()) {
            return Ok(token.text.clone());
        }
        let mut kept = self.token.write().await;
        // Another task may have got one meanwhile.
        if let Some(token) = kept.as_ref().filter(|token| token.is_good()) {
            return Ok(token.text.clone());
        }
        let Credentials { client_id, client_secret } = &self.credentials;
        let url = format!("{}/oauth/token", self.url);
        let post = || {
            let request = self.http.post(&url).basic_auth(client_id, Some(client_secret));
            request.form(&[("grant_type", "client_credentials")])
        };
        let granted = self.repeated::<Granted>("getting a token", post).await?.answer;
        let good_for = Duration::from_secs(granted.expires_in).saturating_sub(TRY_TIMEOUT);
        let use_until = Instant::now().checked_add(good_for).unwrap_or_else(Instant::now);
        *kept = Some(Token { text: granted.access_token.clone(), use_until });
        Ok(granted.access_token)
    }

    async fn repeated<T: DeserializeOwned>(
        &self,
        doing: &'static str,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Answered<T>, ApiError> {
        let began = Instant::now();
        let (mut repeats, mut pause) = (0_u32, PAUSE_MIN);
        loop {
            let last = match request().send().await {
                Ok(response) if is_worth_repeating(response.status()) => {
                    pause = asked_pause(&response).unwrap_or(pause);
                    response.status().to_string()
                }
                Ok(response) if response.status().is_success() => {
                    let answer = response.json().await;
                    let answer = answer.map_err(|source| ApiError::Unreadable { doing, source })?;
                    return Ok(Answered { answer, took: began.elapsed(), repeats });
                }
                Ok(response) => return Err(refusal(doing, response).await),
                Err(error) => error.to_string(),
            };
            if began.elapsed() > self.patience {
                return Err(ApiError::Silence { doing, patience: self.patience, last });
            }
            repeats = repeats.saturating_add(1);
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }
}

impl Token {
    fn is_good(&self) -> bool {
        Instant::now() < self.use_until
    }
}

/// An attempt without an answer after this time counts as lost.
const TRY_TIMEOUT: Duration = Duration::from_secs(45);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Whether the same request may succeed later. `502` and `504` come from a proxy whose backend is
/// down.
fn is_worth_repeating(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

fn asked_pause(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(PAUSE_MAX))
}

/// RFC 9457, as far as the shop reads it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: String,
    detail: String,
    errors: Vec<Value>,
}

async fn refusal(doing: &'static str, response: Response) -> ApiError {
    let status = response.status();
    let problem = response.json::<Problem>().await.unwrap_or_default();
    let mut parts = vec![problem.title, problem.detail];
    parts.extend(problem.errors.iter().map(Value::to_string));
    parts.retain(|part| !part.is_empty());
    ApiError::Refused { doing, status, detail: parts.join("; ") }
}
