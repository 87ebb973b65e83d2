//! The API client of the operators' commands: JSON in, JSON out. The commands interpret the bodies,
//! so a change of a body does not affect this file.

use std::time::Duration;

use eventsource_stream::{Event, EventStreamError, Eventsource as _};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use runtime::http::client_builder;
use serde_json::Value;

use crate::output::Format;

/// Longer than the API takes for any response that is not a stream.
const TIMEOUT: Duration = Duration::from_secs(45);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The API sends a comment every 15 seconds on an idle stream.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// The API's URL, the caller's credentials, and the output format.
#[derive(Clone, clap::Args)]
pub(crate) struct ClientArgs {
    /// Where the API is
    #[arg(long, env = "ORDERSAGA_URL", global = true, default_value = "http://127.0.0.1:8080")]
    url: Url,
    /// An access token; without it, one is fetched for the client
    #[arg(long, env = "ORDERSAGA_TOKEN", global = true, hide_env_values = true)]
    token: Option<String>,
    /// The client to fetch a token for
    #[arg(long, env = "ORDERSAGA_CLIENT_ID", global = true, default_value = "operator")]
    client_id: String,
    /// The client's secret
    #[arg(long, env = "ORDERSAGA_CLIENT_SECRET", global = true, hide_env_values = true)]
    client_secret: Option<String>,
    /// The output format
    #[arg(long, global = true, value_enum, default_value = "table")]
    pub(crate) output: Format,
}

impl std::fmt::Debug for ClientArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientArgs").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// Neither a token nor a client secret is set.
    #[error("set ORDERSAGA_TOKEN, or ORDERSAGA_CLIENT_ID and ORDERSAGA_CLIENT_SECRET")]
    NoCredentials,
    /// The URL cannot have a path appended.
    #[error("{0} is not the URL of an API")]
    BadUrl(Url),
    /// The API does not answer, or its answer cannot be parsed.
    #[error("no answer from the API")]
    NoAnswer(#[from] reqwest::Error),
    /// The event stream was interrupted.
    #[error("the stream of events broke off")]
    Stream(#[from] EventStreamError<reqwest::Error>),
    /// An event is not JSON.
    #[error("the API sent an event that is not JSON")]
    BadEvent(#[from] serde_json::Error),
    /// The API refuses the request.
    #[error("{status}: {why}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// The problem's detail.
        why: String,
    },
}

impl ApiError {
    /// Whether the API has refused the request, as opposed to not answering.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { status, .. } => status.is_client_error(),
            Self::NoCredentials
            | Self::BadUrl(_)
            | Self::NoAnswer(_)
            | Self::Stream(_)
            | Self::BadEvent(_) => false,
        }
    }

    /// Whether the error is temporary, so that a retry may succeed.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::NoAnswer(_) | Self::Stream(_) => true,
            Self::Refused { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            Self::NoCredentials | Self::BadUrl(_) | Self::BadEvent(_) => false,
        }
    }
}

/// A client of the API.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    http: Client,
    args: ClientArgs,
}

/// One event of a stream.
pub(crate) struct StreamEvent {
    /// The id to resume after, if the stream is interrupted.
    pub(crate) id: String,
    /// The event itself.
    pub(crate) data: Value,
}

impl Api {
    pub(crate) fn new(args: ClientArgs) -> Result<Self, ApiError> {
        let http = client_builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(SILENCE_MAX);
        Ok(Self { http: http.build()?, args })
    }

    /// GETs a path, with those query parameters that have a value.
    pub(crate) async fn get(
        &self,
        path: &[&str],
        parameters: &[(&str, Option<String>)],
    ) -> Result<Value, ApiError> {
        let parameters: Vec<_> =
            parameters.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).collect();
        self.answer(self.request(Method::GET, path)?.query(&parameters)).await
    }

    /// GETs the document at a path, as bytes.
    pub(crate) async fn get_bytes(
        &self,
        path: &[&str],
        parameters: &[(&str, Option<String>)],
    ) -> Result<Vec<u8>, ApiError> {
        let parameters: Vec<_> =
            parameters.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).collect();
        let request = self.request(Method::GET, path)?.query(&parameters);
        let request = request.bearer_auth(self.token().await?).timeout(TIMEOUT);
        Ok(accepted(request.send().await?).await?.bytes().await?.into())
    }

    /// POSTs a body to a path.
    pub(crate) async fn post(
        &self,
        path: &[&str],
        parameters: &[(&str, Option<String>)],
        body: &Value,
    ) -> Result<Value, ApiError> {
        let parameters: Vec<_> =
            parameters.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).collect();
        self.answer(self.request(Method::POST, path)?.query(&parameters).json(body)).await
    }

    /// POSTs a body to a path with an `Idempotency-Key`.
    pub(crate) async fn post_under_key(
        &self,
        path: &[&str],
        key: &str,
        body: &Value,
    ) -> Result<Value, ApiError> {
        let request = self.request(Method::POST, path)?.header("idempotency-key", key);
        self.answer(request.json(body)).await
    }

    /// Sends a `PATCH` to the resource at a path.
    pub(crate) async fn patch(&self, path: &[&str], body: &Value) -> Result<Value, ApiError> {
        self.answer(self.request(Method::PATCH, path)?.json(body)).await
    }

    /// DELETEs the resource at a path.
    pub(crate) async fn delete(&self, path: &[&str]) -> Result<Value, ApiError> {
        self.answer(self.request(Method::DELETE, path)?).await
    }

    /// Opens the event stream at a path, after the event with this id. `None` if the stream has
    /// ended for good.
    pub(crate) async fn stream(
        &self,
        path: &[&str],
        after: Option<&str>,
    ) -> Result<Option<BoxStream<'static, Result<StreamEvent, ApiError>>>, ApiError> {
        let mut request = self.request(Method::GET, path)?;
        request = request.header(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(id) = after {
            request = request.header("last-event-id", id);
        }
        let response = accepted(request.bearer_auth(self.token().await?).send().await?).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        let events = response.bytes_stream().eventsource().map(|event| match event {
            Ok(Event { id, data, .. }) => {
                Ok(StreamEvent { id, data: serde_json::from_str(&data)? })
            }
            Err(error) => Err(error.into()),
        });
        Ok(Some(events.boxed()))
    }

    fn request(&self, method: Method, path: &[&str]) -> Result<RequestBuilder, ApiError> {
        let mut url = self.args.url.clone();
        url.path_segments_mut()
            .map_err(|()| ApiError::BadUrl(self.args.url.clone()))?
            .pop_if_empty()
            .extend(path);
        Ok(self.http.request(method, url))
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Value, ApiError> {
        let request = request.bearer_auth(self.token().await?).timeout(TIMEOUT);
        Ok(accepted(request.send().await?).await?.json().await?)
    }

    /// The given token, or a new one for the client.
    async fn token(&self) -> Result<String, ApiError> {
        let ClientArgs { token, client_id, client_secret, .. } = &self.args;
        if let Some(token) = token {
            return Ok(token.clone());
        }
        let secret = client_secret.as_ref().ok_or(ApiError::NoCredentials)?;
        let request = self
            .request(Method::POST, &["oauth", "token"])?
            .basic_auth(client_id, Some(secret))
            .form(&[("grant_type", "client_credentials")])
            .timeout(TIMEOUT);
        let granted: Value = accepted(request.send().await?).await?.json().await?;
        let token = granted.get("access_token").and_then(Value::as_str);
        token.map(str::to_owned).ok_or(ApiError::NoCredentials)
    }
}

/// The response, or the API's error (RFC 9457, or RFC 6749 for tokens).
async fn accepted(response: Response) -> Result<Response, ApiError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response.text().await.unwrap_or_default();
    let problem: Value = serde_json::from_str(&body).unwrap_or_default();
    let mut parts: Vec<String> = ["title", "detail", "error", "error_description"]
        .iter()
        .filter_map(|field| Some(problem.get(field)?.as_str()?.to_owned()))
        .collect();
    let errors = problem.get("errors").and_then(Value::as_array);
    parts.extend(errors.into_iter().flatten().map(Value::to_string));
    parts.extend(problem.get("incident").map(|incident| format!("incident {incident}")));
    if parts.is_empty() {
        parts.push(body.chars().take(200).collect());
    }
    Err(ApiError::Refused { status, why: parts.join(": ") })
}
