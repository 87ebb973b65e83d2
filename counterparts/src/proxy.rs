//! The stages of a request in the proxy: key, fault, judge, work, answer.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::{Json, Router};
use reqwest::Client;
use serde::Deserialize;
use serde_json::Value;

use crate::answer::Answer;
use crate::balance::Balance;
use crate::control;
use crate::events::Events;
use crate::faults::{Fault, Plan, Planned, hold_up};
use crate::idempotency::{Begun, Keys};
use crate::params::Params;
use crate::serve::Cut;
use crate::shape::{Notes, Shape};
use crate::upstream::Judged;
use crate::webhooks::{Delivered, Delivery, Webhook};

const BODY_MAX: usize = 1 << 20;
const KEY_MAX: usize = 255;
/// Stripe's capture window for most cards.
const SEVEN_DAYS: i64 = 604_800;

/// The proxy's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The proxy's own URL, for the page on which a customer approves a payment.
    pub public_url: String,
    /// localstripe's URL.
    pub localstripe: String,
    /// stripe-mock's URL.
    pub judge: Option<String>,
}

/// Settings that a test may change while the proxy runs; omitted ones get their default.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long an authorisation is valid.
    pub capture_window_seconds: i64,
    /// Whether the remainder of a partial capture is listed among the refunds, as at Stripe.
    pub remainder_is_a_refund: bool,
    /// Where events are delivered.
    pub webhook: Option<Webhook>,
    /// Whether every event is delivered as it happens, in addition to on command.
    pub deliver_at_once: bool,
    /// How they are then delivered: the events of each type use these in rotation. By default, each
    /// once.
    pub deliveries: Vec<Delivery>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            capture_window_seconds: SEVEN_DAYS,
            remainder_is_a_refund: true,
            webhook: None,
            deliver_at_once: false,
            deliveries: Vec::new(),
        }
    }
}

/// The proxy as a router; serve it with [`crate::serve()`].
///
/// **Errors.** The HTTP client cannot be built.
pub fn router(config: Config) -> Result<Router, reqwest::Error> {
    let http =
        runtime::http::client_builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
    let proxy =
        Proxy { config, http, memory: Mutex::default(), work: tokio::sync::Mutex::default() };
    let routes = Router::new().nest("/_proxy", control::routes()).fallback(handle);
    Ok(routes.with_state(Arc::new(proxy)))
}

/// The proxy, shared by its requests.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) config: Config,
    pub(crate) http: Client,
    memory: Mutex<Memory>,
    /// Held across check and action, because localstripe locks no object.
    pub(crate) work: tokio::sync::Mutex<()>,
}

/// The proxy's state.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) settings: Settings,
    pub(crate) keys: Keys,
    pub(crate) plan: Plan,
    pub(crate) judged: Judged,
    pub(crate) events: Events,
    pub(crate) delivered: Delivered,
    pub(crate) balance: Balance,
    pub(crate) notes: Notes,
    pub(crate) disputes: Vec<Value>,
    /// The values in payments' metadata, by payment, as created.
    pub(crate) marks: BTreeMap<String, Vec<String>>,
    /// The number of requests that met a fault.
    pub(crate) struck: u64,
    answered: u64,
}

impl Memory {
    /// The fault for this request.
    fn strike(&mut self, asked: &Asked) -> Option<Planned> {
        let mut marks = asked.params.list("metadata");
        let payment = asked.params.get("payment_intent").or_else(|| asked.path.split('/').nth(3));
        let of_payment = payment.and_then(|id| self.marks.get(id));
        marks.extend(of_payment.into_iter().flatten().map(String::as_str));
        let struck = self.plan.strike(asked.method.as_str(), &asked.path, &marks);
        self.struck = self.struck.saturating_add(u64::from(struck.is_some()));
        struck
    }
}

/// A parsed request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// Path and query.
    pub(crate) uri: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Of the body, or of the query if there is no body.
    pub(crate) params: Params,
}

async fn handle(State(proxy): State<Arc<Proxy>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    match to_bytes(body, BODY_MAX).await {
        Ok(body) => proxy.answered(Asked::of(head, body)).await,
        Err(_) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
    }
}

impl Proxy {
    /// Must not be held across an await.
    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Converts objects to Stripe's form.
    pub(crate) fn shaped<T>(&self, shape: impl FnOnce(Shape<'_>) -> T) -> T {
        let memory = self.memory();
        let public_url = &self.config.public_url;
        shape(Shape { notes: &memory.notes, settings: &memory.settings, public_url })
    }

    async fn answered(self: Arc<Self>, asked: Asked) -> Response {
        if !asked.is_authenticated() {
            return self.response(&asked, &Answer::unauthorised());
        }
        let struck = self.memory().strike(&asked);
        if let Some(planned) = &struck
            && planned.strikes_first()
            && let Some(response) = self.instead(&asked, &planned.fault).await
        {
            return response;
        }
        self.judge(&asked).await;
        // A caller that disconnects does not cancel the work.
        let working = tokio::spawn(Arc::clone(&self).worked(asked.clone(), struck.clone()));
        let (answer, replayed) =
            working.await.unwrap_or_else(|_panicked| (Answer::server_error(), false));
        if let Some(planned) = &struck
            && !planned.strikes_first()
            && let Some(response) = self.instead(&asked, &planned.fault).await
        {
            return response;
        }
        let mut response = self.response(&asked, &answer);
        if replayed {
            response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
        }
        response
    }

    /// The response that replaces an answer.
    async fn instead(&self, asked: &Asked, fault: &Fault) -> Option<Response> {
        match fault {
            Fault::LoseAnswer => Some(Cut::Closed.response()),
            Fault::Reset => Some(Cut::Reset.response()),
            Fault::Hang => pending().await,
            Fault::TooManyRequests(seconds) => {
                let mut response = self.response(asked, &Answer::rate_limited());
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
                Some(response)
            }
            Fault::HtmlPage(status) => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY);
                Some((status, Html("<html><h1>Bad gateway</h1></html>")).into_response())
            }
            // These depend on the key.
            Fault::ServerError | Fault::DelayMs(_) | Fault::RefundPends => None,
        }
    }

    /// The answer, and whether it is a stored one.
    async fn worked(self: Arc<Self>, asked: Asked, struck: Option<Planned>) -> (Answer, bool) {
        let Some(key) = asked.key() else {
            return (self.work_or_fail(&asked, struck.as_ref()).await, false);
        };
        if key.len() > KEY_MAX {
            return (Answer::key_too_long(), false);
        }
        let begun = self.memory().keys.begin(&key, &asked.fingerprint());
        match begun {
            Begun::First => {}
            Begun::Again(answer) => return (answer, true),
            Begun::UnderWay => return (Answer::key_in_use(), false),
            Begun::OfAnother => return (Answer::key_of_another_request(), false),
        }
        let answer = self.work_or_fail(&asked, struck.as_ref()).await;
        self.memory().keys.end(&key, &answer);
        (answer, false)
    }

    async fn work_or_fail(self: &Arc<Self>, asked: &Asked, struck: Option<&Planned>) -> Answer {
        let fails = struck.is_some_and(|planned| planned.fault == Fault::ServerError);
        if fails && struck.is_some_and(Planned::strikes_first) {
            return Answer::server_error();
        }
        if let Some(Planned { fault: Fault::DelayMs(delay), .. }) = struck {
            hold_up(*delay).await;
        }
        let mut answer = self.effect(asked).await;
        if struck.is_some_and(|planned| planned.fault == Fault::RefundPends) {
            self.has_refund_pend(&mut answer);
        }
        if fails { Answer::server_error() } else { answer }
    }

    fn response(&self, asked: &Asked, answer: &Answer) -> Response {
        let number = {
            let mut memory = self.memory();
            memory.answered = memory.answered.saturating_add(1);
            memory.answered
        };
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let id = [("request-id", format!("req_{number}"))];
        let mut response = (status, id, Json(&answer.body)).into_response();
        for name in ["idempotency-key", "stripe-version"] {
            if let Some(value) = asked.headers.get(name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }
}

impl Asked {
    fn of(head: Parts, body: Bytes) -> Self {
        let query = head.uri.query().unwrap_or_default();
        let given = if head.method == Method::POST { &body[..] } else { query.as_bytes() };
        Self {
            params: Params::parse(given),
            path: head.uri.path().to_owned(),
            uri: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            method: head.method,
            headers: head.headers,
            body,
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn is_authenticated(&self) -> bool {
        let key = self.header("authorization").and_then(|given| given.strip_prefix("Bearer "));
        key.and_then(|key| key.strip_prefix("sk_test_")).is_some_and(|rest| !rest.is_empty())
    }

    /// Only requests that change something have one.
    fn key(&self) -> Option<String> {
        let key = self.header("idempotency-key").filter(|_| self.method == Method::POST)?;
        Some(key.to_owned())
    }

    fn fingerprint(&self) -> String {
        format!("{} {} {}", self.method, self.path, self.params.canonical())
    }
}

/// Unix seconds.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or_default()
}
