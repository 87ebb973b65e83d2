//! A receiver of webhooks, and its endpoint.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use chrono::DateTime;
use domain::event::EventType;
use futures::stream;
use relay::webhooks::{WebhookSettings, Webhooks};
use relay::{Message, Sink as _, Verdict};
use serde_json::Value;
use serde_json::value::RawValue;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::{Barrier, Notify, oneshot};
use uuid::Uuid;

/// The signing key of every endpoint here.
pub(crate) const KEY: [u8; 32] = [7; 32];

/// The receiver's response to one request.
pub(crate) enum Answer {
    /// With this status.
    Status(u16),
    /// With this status, and `Retry-After`.
    After(u16, &'static str),
    /// With a redirect to there.
    Redirect(String),
    /// With this status, when it is told to; it reports when it was called.
    OnceTold(Arc<Notify>, Arc<Notify>),
    /// When as many concurrent requests as the barrier needs have arrived.
    Together(Arc<Barrier>),
    /// Never.
    Never,
    /// With a body of a gigabyte.
    Gigabyte(Arc<Poured>),
}

/// How much of a body was sent, and whether sending has stopped.
pub(crate) struct Poured {
    pub(crate) bytes: AtomicUsize,
    ended: Mutex<Option<oneshot::Sender<()>>>,
}

/// A request as received.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

#[derive(Default)]
struct Parts {
    /// Its next responses; afterwards 204.
    answers: Mutex<VecDeque<Answer>>,
    seen: Mutex<Vec<Seen>>,
}

/// A server with planned responses, which records requests.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    parts: Arc<Parts>,
}

impl Receiver {
    pub(crate) async fn answering(answers: impl IntoIterator<Item = Answer>) -> Self {
        let parts = Arc::new(Parts::default());
        parts.answers.lock().unwrap().extend(answers);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        let router = Router::new().fallback(receive).with_state(Arc::clone(&parts));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, parts }
    }

    /// The requests received, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.parts.seen.lock().unwrap().clone()
    }

    /// The ids of the messages received, in order.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.seen().iter().map(|seen| seen.header("webhook-id")).collect()
    }
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> String {
        self.headers[name].to_str().unwrap().to_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

async fn receive(State(parts): State<Arc<Parts>>, headers: HeaderMap, body: String) -> Response {
    parts.seen.lock().unwrap().push(Seen { headers, body });
    let answer = parts.answers.lock().unwrap().pop_front();
    let status = |status| StatusCode::from_u16(status).unwrap();
    match answer {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(Answer::Status(code)) => status(code).into_response(),
        Some(Answer::After(code, pause)) => {
            (status(code), [(header::RETRY_AFTER, pause)]).into_response()
        }
        Some(Answer::Redirect(to)) => {
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response()
        }
        Some(Answer::OnceTold(asked, told)) => {
            asked.notify_one();
            told.notified().await;
            StatusCode::OK.into_response()
        }
        Some(Answer::Together(barrier)) => {
            barrier.wait().await;
            StatusCode::OK.into_response()
        }
        Some(Answer::Never) => std::future::pending().await,
        Some(Answer::Gigabyte(poured)) => gigabyte(poured),
    }
}

/// Reports when sending the body has stopped.
struct Pouring(Arc<Poured>);

impl Drop for Pouring {
    fn drop(&mut self) {
        let ended = self.0.ended.lock().unwrap().take();
        let _told = ended.map(|ended| ended.send(()));
    }
}

impl Poured {
    /// A body to send, and a signal for when sending has stopped.
    pub(crate) fn watched() -> (Arc<Self>, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        let ended = Mutex::new(Some(sender));
        (Arc::new(Self { bytes: AtomicUsize::new(0), ended }), receiver)
    }
}

fn gigabyte(poured: Arc<Poured>) -> Response {
    static PART: [u8; 65_536] = [b'a'; 65_536];
    const PARTS: usize = 16_384;
    let parts = stream::iter(0..PARTS);
    let pouring = Pouring(poured);
    let body = futures::StreamExt::map(parts, move |_part| {
        let pouring: &Pouring = &pouring;
        pouring.0.bytes.fetch_add(PART.len(), Ordering::Relaxed);
        Ok::<_, Infallible>(Bytes::from_static(&PART))
    });
    Body::from_stream(body).into_response()
}

/// Settings that allow this machine, with limits that a test can reach.
pub(crate) fn settings() -> WebhookSettings {
    WebhookSettings {
        connect_seconds: 5,
        answer_seconds: 10,
        concurrency: 8,
        disable_after_days: 5,
        log_days: 30,
        internal_hosts: "127.0.0.1".parse().unwrap(),
    }
}

/// A recorded endpoint, and the relay that delivers to it.
pub(crate) struct Endpoint {
    pub(crate) database: PgPool,
    pub(crate) webhooks: Webhooks,
    pub(crate) id: Uuid,
}

impl Endpoint {
    /// An endpoint that gets all events from now on.
    pub(crate) async fn at(database: PgPool, url: &str) -> Self {
        Self::with(database, url, &[], settings()).await
    }

    pub(crate) async fn with(
        database: PgPool,
        url: &str,
        events: &[EventType],
        settings: WebhookSettings,
    ) -> Self {
        let endpoint_id = Uuid::now_v7();
        let events: Vec<_> = events.iter().map(|event| event.name().to_owned()).collect();
        let answer = sqlx::query_scalar!(
            r#"select webhooks.create_endpoint($1, $2, null, $3, $4, false, 'v1', 'eve', 100)
               as "answer!""#,
            endpoint_id,
            url,
            events.as_slice(),
            &KEY[..],
        );
        assert_eq!(answer.fetch_one(&database).await.unwrap(), "created");
        let relays = testkit::as_role(&database, "ordersaga_relay");
        let source = "https://shop.example".to_owned();
        let webhooks = Webhooks::new(relays, settings, source).unwrap();
        Self { database, webhooks, id: endpoint_id }
    }

    pub(crate) async fn deliver(&self, batch: &[Message]) -> Vec<Verdict> {
        self.webhooks.endpoint(self.id).deliver(batch).await
    }

    /// Why it is disabled, if it is, and whether its sink is paused.
    pub(crate) async fn standing(&self) -> (Option<String>, bool) {
        let row = sqlx::query!(
            r#"select disabled_because, paused_at is not null as "is_paused!"
               from webhooks.endpoints join outbox.sinks on sink = 'webhook:' || endpoint_id
               where endpoint_id = $1"#,
            self.id,
        );
        let row = row.fetch_one(&self.database).await.unwrap();
        (row.disabled_because, row.is_paused)
    }
}

/// Sends a trial message; returns its number.
pub(crate) async fn tried_out(endpoint: &Endpoint) -> i64 {
    let number =
        sqlx::query_scalar!(r#"select webhooks.try_out($1, 'eve') as "number!""#, endpoint.id);
    number.fetch_one(&endpoint.database).await.unwrap()
}

/// An event of an order.
pub(crate) fn message_of(order: &str, sequence: i32, event: EventType) -> Message {
    Message {
        position: sequence.into(),
        id: format!("{order}:{sequence}"),
        aggregate_type: "order".to_owned(),
        aggregate_id: order.to_owned(),
        sequence,
        event_type: event.cloud_event_type(),
        payload: RawValue::from_string(r#"{"note": "a.b"}"#.to_owned()).unwrap(),
        created_at: DateTime::from_timestamp(1_767_225_600, 0).unwrap(),
    }
}

/// An event of any kind.
pub(crate) fn message(order: &str, sequence: i32) -> Message {
    message_of(order, sequence, EventType::OrderPlaced)
}
