//! The shared state of HTTP handlers, and the limits on requests.

use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use axum::http::HeaderValue;
use domain::{CaptureAt, ProviderName, Screening};
use metrics_exporter_prometheus::PrometheusHandle;
use runtime::http::outside::InternalHosts;
use runtime::schema::SchemaGate;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::app::webhooks::signature::StripeWebhooks;
use crate::app::{App, Settings};
#[cfg(feature = "graphql")]
use crate::graphql::GraphqlSchema;
use crate::http::forwarded::ProxyHeader;
use crate::http::observe;
use crate::http::ops::{self, ready};
use crate::http::rate_limit::Gate;
use crate::identity::Identity;
use crate::temporal::Temporal;

/// The shared state. Cheap to clone, because every layer around a route clones it for every
/// request.
#[derive(Clone, Debug)]
pub struct State(Arc<Parts>);

/// The parts of a [`State`].
#[derive(Clone, Debug)]
pub struct Parts {
    /// The shop's commands and queries.
    pub(crate) app: Arc<App>,
    /// Checks that the starter and the database's schema fit together.
    pub(crate) schema: SchemaGate,
    pub(crate) identity: Identity,
    pub(crate) limits: Limits,
    pub(crate) metrics: PrometheusHandle,
    #[cfg(feature = "graphql")]
    pub(crate) graphql: GraphqlSchema,
    pub(crate) gate: Gate,
    /// The origins from which browsers may call.
    pub(crate) cors_origins: Arc<[HeaderValue]>,
    /// The settings for verifying Stripe's webhooks; without them, webhooks are refused.
    pub(crate) webhooks: Option<Arc<StripeWebhooks>>,
    /// Hosts inside the shop's own network that webhooks may be sent to.
    pub(crate) internal_hosts: Arc<InternalHosts>,
    /// Cancelled when the process is asked to stop.
    pub(crate) leaving: CancellationToken,
}

/// Ten times the orders that one core can accept.
pub(crate) const RATE_PER_TOKEN: NonZeroU32 = NonZeroU32::new(1_000).unwrap();
pub(crate) const RATE_PER_ADDRESS: NonZeroU32 = NonZeroU32::new(2_000).unwrap();
/// More than a starter's machine can process beside accepting.
pub(crate) const BURST_PER_SECOND: NonZeroU32 = NonZeroU32::new(250).unwrap();
/// More than a household needs, and too few to search for known e-mail addresses.
pub(crate) const REGISTRATIONS_PER_ADDRESS: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// The defaults and limits for requests.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The maximum size of a body, in bytes.
    pub body_bytes_max: usize,
    /// The time limit of a request.
    pub request_timeout: Duration,
    /// How long a client may take to send the headers of its first request; also the idle timeout
    /// of connections while many are open.
    pub headers_timeout: Duration,
    /// How long a client may take to send a body.
    pub body_timeout: Duration,
    /// How long a client may take to read the next part of a response.
    pub send_timeout: Duration,
    /// The idle timeout of a connection.
    pub idle_timeout: Duration,
    /// The maximum number of open connections.
    pub connections_max: usize,
    /// The maximum number of connections per address, where no proxies are trusted.
    pub connections_per_address: usize,
    /// The maximum number of concurrent requests.
    pub requests_max: usize,
    /// The maximum number of those per address, and per token.
    pub requests_per_caller: usize,
    /// The rate limit per address, in requests per second.
    pub rate_per_address: NonZeroU32,
    /// The rate limit per token, in requests per second.
    pub rate_per_token: NonZeroU32,
    /// The rate limit of registrations per address, per minute.
    pub registrations_per_address: NonZeroU32,
    /// The number of trusted proxies in front of the starter.
    pub trusted_proxies: usize,
    /// The header in which they write the client's address.
    pub proxy_header: ProxyHeader,
    /// How long requests are still accepted after the process was asked to stop.
    pub notice: Duration,
    /// The maximum number of open event streams.
    pub streams_max: usize,
    /// The maximum number of those per address, and per customer or program.
    pub streams_per_caller: usize,
    /// The maximum number of requests that wait for an order; further ones are answered at once.
    pub waits_max: usize,
    /// The maximum number of those per address, and per customer or program.
    pub waits_per_caller: usize,
    /// The default cancel window.
    pub cancel_window_seconds: u32,
    /// The default patience.
    pub patience_seconds: Option<u32>,
    /// When payments are captured.
    pub capture_at: CaptureAt,
    /// The payment provider.
    pub payment_provider: ProviderName,
    /// How long a customer may take to approve a payment.
    pub approval_seconds: u32,
    /// The default time in which a declined payment may be replaced.
    pub payment_retry_seconds: u32,
    /// The terms of fraud screening, if it is on.
    pub screening: Option<Screening>,
    /// The backlog at which no more orders are accepted.
    pub backlog_max: u64,
    /// The rate of orders per second from which launching yields to accepting.
    pub burst_per_second: NonZeroU32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 1_048_576,
            request_timeout: Duration::from_secs(40),
            headers_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(15),
            send_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            connections_max: 4_096,
            connections_per_address: 1_024,
            requests_max: 1_024,
            requests_per_caller: 512,
            rate_per_address: RATE_PER_ADDRESS,
            rate_per_token: RATE_PER_TOKEN,
            registrations_per_address: REGISTRATIONS_PER_ADDRESS,
            trusted_proxies: 0,
            proxy_header: ProxyHeader::XForwardedFor,
            notice: Duration::from_secs(2),
            streams_max: 256,
            streams_per_caller: 128,
            waits_max: 256,
            waits_per_caller: 128,
            cancel_window_seconds: 0,
            patience_seconds: None,
            capture_at: CaptureAt::HandOver,
            payment_provider: ProviderName::Sandbox,
            approval_seconds: 900,
            payment_retry_seconds: 0,
            screening: None,
            backlog_max: 100_000,
            burst_per_second: BURST_PER_SECOND,
        }
    }
}

impl Limits {
    fn settings(&self) -> Settings {
        Settings {
            cancel_window_seconds: self.cancel_window_seconds,
            patience_seconds: self.patience_seconds,
            capture_at: self.capture_at,
            payment_provider: self.payment_provider,
            approval_seconds: self.approval_seconds,
            payment_retry_seconds: self.payment_retry_seconds,
            screening: self.screening,
            wait_seconds_max: self.wait_seconds_max(),
            streams_max: self.streams_max,
            streams_per_caller: self.streams_per_caller,
            waits_max: self.waits_max,
            waits_per_caller: self.waits_per_caller,
            backlog_max: self.backlog_max,
            burst_per_second: self.burst_per_second,
        }
    }

    /// The longest wait for an order: half a minute, and always less than the request's time limit,
    /// which would turn an accepted order into an error.
    fn wait_seconds_max(&self) -> u32 {
        let left = self.request_timeout.as_secs().saturating_sub(10).min(30);
        u32::try_from(left).unwrap_or(0)
    }
}

impl Deref for State {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl FromRef<State> for Identity {
    fn from_ref(state: &State) -> Self {
        state.identity.clone()
    }
}

impl State {
    /// Creates the state without connecting to anything.
    #[must_use]
    pub fn new(database: PgPool, temporal: Temporal, identity: Identity, limits: Limits) -> Self {
        let app = App::new(database, temporal, limits.settings());
        Self(Arc::new(Parts {
            leaving: app.leaving.clone(),
            app: Arc::new(app),
            schema: SchemaGate::new(ready::RIGHTS),
            identity,
            limits,
            metrics: observe::metrics(),
            #[cfg(feature = "graphql")]
            graphql: GraphqlSchema::new(),
            gate: Gate::of(&limits),
            cors_origins: Arc::new([]),
            webhooks: None,
            internal_hosts: Arc::default(),
        }))
    }

    /// Allows pages of these origins to call the API from a browser.
    #[must_use]
    pub fn open_to_pages_of(mut self, origins: &[HeaderValue]) -> Self {
        Arc::make_mut(&mut self.0).cors_origins = origins.into();
        self
    }

    /// Accepts Stripe's webhooks.
    #[must_use]
    pub fn taking_webhooks(mut self, webhooks: StripeWebhooks) -> Self {
        Arc::make_mut(&mut self.0).webhooks = Some(Arc::new(webhooks));
        self
    }

    /// Allows webhook endpoints on these hosts inside the shop's own network.
    #[must_use]
    pub fn sending_webhooks_to(mut self, internal: InternalHosts) -> Self {
        Arc::make_mut(&mut self.0).internal_hosts = Arc::new(internal);
        self
    }

    /// Folds recorded latencies into their histograms, updates the gauges of callers, and drops the
    /// state of idle callers. Call it every few seconds, or memory grows.
    pub fn tidy_up(&self) {
        ops::metrics::look_at(self);
        self.metrics.run_upkeep();
        self.gate.forget_idle();
    }
}
