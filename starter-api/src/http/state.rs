//! What HTTP handlers work with, and the limits on requests.

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
use crate::graphql::GraphqlSchema;
use crate::http::forwarded::ProxyHeader;
use crate::http::observe;
use crate::http::ops::{self, ready};
use crate::http::rate_limit::Gate;
use crate::identity::Identity;
use crate::temporal::Temporal;

/// Everything that the starter works with. Cheap to clone, which every layer around a route does
/// with every request.
#[derive(Clone, Debug)]
pub struct State(Arc<Parts>);

/// What a [`State`] is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The shop's commands and queries.
    pub(crate) app: Arc<App>,
    /// Whether the starter can work with the database.
    pub(crate) schema: SchemaGate,
    pub(crate) identity: Identity,
    pub(crate) limits: Limits,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) graphql: GraphqlSchema,
    pub(crate) gate: Gate,
    /// From which origins browsers may call.
    pub(crate) cors_origins: Arc<[HeaderValue]>,
    /// How Stripe's webhooks are told from anybody else's; none are taken without.
    pub(crate) webhooks: Option<Arc<StripeWebhooks>>,
    /// Hosts inside the shop's own network that webhooks may go to.
    pub(crate) internal_hosts: Arc<InternalHosts>,
    /// Cancelled once the process was asked to stop.
    pub(crate) leaving: CancellationToken,
}

/// Ten times the orders that one core can take.
pub(crate) const RATE_PER_TOKEN: NonZeroU32 = NonZeroU32::new(1_000).unwrap();
pub(crate) const RATE_PER_ADDRESS: NonZeroU32 = NonZeroU32::new(2_000).unwrap();
/// More than the machine of a starter carries out beside it.
pub(crate) const BURST_PER_SECOND: NonZeroU32 = NonZeroU32::new(250).unwrap();
/// More than a household needs, and too little to search for known e-mail addresses.
pub(crate) const REGISTRATIONS_PER_ADDRESS: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// What a single request may ask for, and how many there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest body that is read.
    pub body_bytes_max: usize,
    /// The longest that a request may take.
    pub request_timeout: Duration,
    /// How long a caller may take to send the head of its first request; while connections are few,
    /// how long an idle one is kept.
    pub headers_timeout: Duration,
    /// How long a caller may take to send a body.
    pub body_timeout: Duration,
    /// How long a caller may take to read the next part of an answer.
    pub send_timeout: Duration,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// How many connections there may be at once.
    pub connections_max: usize,
    /// How many connections one address may have, where no proxies are trusted.
    pub connections_per_address: usize,
    /// How many requests may be under way at once.
    pub requests_max: usize,
    /// How many of those one address may have, and one token.
    pub requests_per_caller: usize,
    /// How many requests a second one address may send.
    pub rate_per_address: NonZeroU32,
    /// How many requests a second one token may be used for.
    pub rate_per_token: NonZeroU32,
    /// How many customers a minute one address may register.
    pub registrations_per_address: NonZeroU32,
    /// How many proxies in front of the starter write down where a request came from.
    pub trusted_proxies: usize,
    /// In which header they do.
    pub proxy_header: ProxyHeader,
    /// How long requests are still taken after the process was asked to stop.
    pub notice: Duration,
    /// How many orders can be watched at once.
    pub streams_max: usize,
    /// How many of those one address may watch, and one customer or program.
    pub streams_per_caller: usize,
    /// How many callers can wait for their orders at once; the next one is answered at once.
    pub waits_max: usize,
    /// How many of those one address may be, and one customer or program.
    pub waits_per_caller: usize,
    /// The cancel window of an order that does not name one.
    pub cancel_window_seconds: u32,
    /// The patience of an order that does not name one.
    pub patience_seconds: Option<u32>,
    /// When customers' money is taken.
    pub capture_at: CaptureAt,
    /// Who takes it.
    pub payment_provider: ProviderName,
    /// How long a customer may take to approve a payment.
    pub approval_seconds: u32,
    /// How long a declined payment of an order that does not say so may be replaced.
    pub payment_retry_seconds: u32,
    /// How orders are screened for fraud, if they are.
    pub screening: Option<Screening>,
    /// How many orders may wait for their launch before no more are accepted.
    pub backlog_max: u64,
    /// How many orders a second are a burst, for which launching makes way.
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

    /// How long an answer may be held back: half a minute, and never so long that the request's
    /// time limit would turn an order that was accepted into an error.
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
    /// Brings the parts together. Connects nothing yet.
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
            graphql: GraphqlSchema::new(),
            gate: Gate::of(&limits),
            cors_origins: Arc::new([]),
            webhooks: None,
            internal_hosts: Arc::default(),
        }))
    }

    /// Lets pages of these origins call the API from a browser.
    #[must_use]
    pub fn open_to_pages_of(mut self, origins: &[HeaderValue]) -> Self {
        Arc::make_mut(&mut self.0).cors_origins = origins.into();
        self
    }

    /// Takes Stripe's webhooks.
    #[must_use]
    pub fn taking_webhooks(mut self, webhooks: StripeWebhooks) -> Self {
        Arc::make_mut(&mut self.0).webhooks = Some(Arc::new(webhooks));
        self
    }

    /// Lets webhook endpoints be created on these hosts inside the shop's own network.
    #[must_use]
    pub fn sending_webhooks_to(mut self, internal: InternalHosts) -> Self {
        Arc::make_mut(&mut self.0).internal_hosts = Arc::new(internal);
        self
    }

    /// Folds the recorded latencies into their histograms, looks how many callers there are, and
    /// forgets idle ones. Call it every few seconds, or memory grows.
    pub fn tidy_up(&self) {
        ops::metrics::look_at(self);
        self.metrics.run_upkeep();
        self.gate.forget_idle();
    }
}
