//! Observability of every request: its id, its log line, its metrics.

use std::any::Any;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics_exporter_prometheus::PrometheusHandle;
use runtime::metrics::recorder;
use tokio::time::timeout;
use tracing::{Instrument, info_span};
use uuid::Uuid;

use crate::app::launch::{
    BACKLOG, BACKLOG_OLDEST, BACKLOG_SEEN_AT, LAUNCHED, LAUNCHES_FAILED, MAKES_WAY, STOPPED,
    TEMPORAL_AWAY,
};
use crate::app::orders::place::ORDERS_ACCEPTED;
use crate::app::orders::store::ORDERS_ENDED;
use crate::error::Problem;
use crate::http::extract::visible_ascii;
use crate::http::ops::metrics::{STREAMS, WAITS};
use crate::serve::CONNECTIONS_REFUSED;
use crate::temporal;

const TRACE_PARENT: &str = "traceparent";

const REQUEST_ID: &str = "x-request-id";
const REQUESTS_TOTAL: &str = "http_requests_total";
const REQUEST_DURATION: &str = "http_request_duration_seconds";

#[derive(Debug, thiserror::Error)]
#[error("the request was not done within {} s", .0.as_secs())]
struct TooSlow(Duration);

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Panicked(String);

/// Assigns the request an id, and logs its outcome.
///
/// The log contains the route, never the query string or the body: those can contain whatever a
/// customer typed.
pub(crate) async fn request(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let route = route.to_owned();
    // Machines call these every few seconds; their results are reported elsewhere.
    let is_probe = matches!(route.as_str(), "/health" | "/ready" | "/metrics");
    let id = request.headers().get(REQUEST_ID).and_then(|id| visible_ascii(id, 128));
    let id = id.unwrap_or_else(|| Uuid::now_v7().to_string());

    let is_grpc = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|declared| declared.as_bytes().starts_with(b"application/grpc"));
    let trace = request.headers().get(TRACE_PARENT).and_then(TraceParent::read);
    let (trace_id, parent_id) = trace.map(|trace| (trace.trace_id, trace.parent_id)).unzip();
    let span = info_span!("request", id, trace_id);
    let mut response = next.run(request).instrument(span).await;

    if is_grpc {
        response = in_grpc(response);
    }
    let (status, took) = (response.status(), begun.elapsed());
    let code = status.as_u16();
    // Outside of the span, whose fields would be repeated here.
    if is_probe {
        tracing::debug!(id, method, route, status = code, ?took, "answered");
    } else {
        tracing::info!(id, trace_id, parent_id, method, route, status = code, ?took, "answered");
    }
    let labels =
        [("method", method.to_owned()), ("route", route), ("status", status.as_str().to_owned())];
    metrics::counter!(REQUESTS_TOTAL, &labels).increment(1);
    metrics::histogram!(REQUEST_DURATION, &labels).record(took);
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(REQUEST_ID, id);
    }
    // Responses about orders and money must not be cached, unless the operation says otherwise.
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// The response, or 503 after the time limit.
pub(super) async fn in_time(limit: Duration, answer: impl Future<Output = Response>) -> Response {
    timeout(limit, answer).await.unwrap_or_else(|_elapsed| {
        Problem::unavailable("answering in time", &TooSlow(limit)).into_response()
    })
}

/// The methods that appear by name in logs and metrics. All others share one label value: callers
/// can invent any number of methods, and each label value is kept for the life of the process.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

fn method_label(method: &Method) -> &'static str {
    METHODS.into_iter().find(|name| *name == method.as_str()).unwrap_or("other")
}

/// Translates an error of the middleware for gRPC callers.
fn in_grpc(mut response: Response) -> Response {
    let Some(status) = response.extensions_mut().remove::<tonic::Status>() else {
        return response;
    };
    let mut told = std::mem::take(response.headers_mut());
    told.remove(CONTENT_TYPE);
    told.remove(CONTENT_LENGTH);
    let mut response = status.into_http::<Body>();
    response.headers_mut().extend(told);
    response
}

/// The trace that this request belongs to (W3C Trace Context).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TraceParent {
    pub(super) trace_id: String,
    pub(super) parent_id: String,
}

impl TraceParent {
    /// Parses the header; an invalid one is ignored, as the standard requires.
    pub(super) fn read(header: &HeaderValue) -> Option<Self> {
        let mut fields = header.to_str().ok()?.split('-');
        let mut hexadecimal = |length: usize| {
            let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            fields.next().filter(|field| field.len() == length && field.bytes().all(lower))
        };
        let (version, trace_id) = (hexadecimal(2)?, hexadecimal(32)?);
        let (parent_id, _flags) = (hexadecimal(16)?, hexadecimal(2)?);
        // A later version may append fields.
        let ends = version != "00" || fields.next().is_none();
        let named = |id: &str| id.bytes().any(|digit| digit != b'0');
        let valid = ends && version != "ff" && named(trace_id) && named(parent_id);
        valid.then(|| Self { trace_id: trace_id.to_owned(), parent_id: parent_id.to_owned() })
    }
}

/// A panic is handled like any other bug: the caller gets an incident id, and the process
/// continues.
#[expect(clippy::needless_pass_by_value, reason = "the layer hands the panic over by value")]
pub(crate) fn panicked(payload: Box<dyn Any + Send>) -> Response {
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned());
    Problem::internal("answering a request", &Panicked(message)).into_response()
}

/// The process's metrics, with the starter's series described and every counter at zero.
pub(crate) fn metrics() -> PrometheusHandle {
    let handle = recorder();
    describe();
    temporal::describe_metrics();
    for counter in [LAUNCHED, LAUNCHES_FAILED, CONNECTIONS_REFUSED] {
        metrics::counter!(counter).absolute(0);
    }
    for repeat in ["no", "yes"] {
        metrics::counter!(ORDERS_ACCEPTED, "repeat" => repeat).absolute(0);
    }
    metrics::counter!(ORDERS_ENDED, "status" => "cancelled").absolute(0);
    // Incrementing by zero creates the series without overwriting values set by another part of the
    // process.
    for gauge in [TEMPORAL_AWAY, STOPPED, MAKES_WAY] {
        metrics::gauge!(gauge).increment(0.0);
    }
    handle
}

fn describe() {
    metrics::describe_counter!(REQUESTS_TOTAL, "Requests answered");
    metrics::describe_histogram!(REQUEST_DURATION, "Time to the answer");
    metrics::describe_gauge!(STREAMS, "Orders that are being watched");
    metrics::describe_gauge!(WAITS, "Callers that wait for their order to be decided");
    metrics::describe_counter!(CONNECTIONS_REFUSED, "Connections closed: too many of one address");
    metrics::describe_counter!(ORDERS_ACCEPTED, "Orders accepted, and repeats of them");
    metrics::describe_counter!(LAUNCHED, "Orders whose workflow was started");
    metrics::describe_counter!(LAUNCHES_FAILED, "Launches that failed for the order's own reason");
    metrics::describe_gauge!(BACKLOG, "Orders that wait for their launch");
    metrics::describe_gauge!(BACKLOG_OLDEST, "How long the oldest of them has waited");
    metrics::describe_gauge!(BACKLOG_SEEN_AT, "When the backlog was last read");
    metrics::describe_gauge!(STOPPED, "1 while an operator has stopped launching");
    metrics::describe_gauge!(
        MAKES_WAY,
        "1 while few orders are launched, because a burst comes in"
    );
    metrics::describe_gauge!(TEMPORAL_AWAY, "1 while Temporal starts no workflows");
    metrics::describe_counter!(ORDERS_ENDED, "Orders that have ended, by how");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_joined_only_if_its_header_is_of_the_form() {
        let read = |header: &'static str| TraceParent::read(&HeaderValue::from_static(header));
        let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = read(given).unwrap();
        assert_eq!(trace.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace.parent_id, "00f067aa0ba902b7");
        assert!(read("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more").is_some());
        for unusable in [
            "",
            "nonsense",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(read(unusable), None, "{unusable}");
        }
    }
}
