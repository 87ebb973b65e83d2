//! Webhooks: delivers events to endpoints by HTTP, signed according to the Standard Webhooks
//! specification.
//!
//! Each endpoint is a sink of its own, so an unavailable one does not hold up the others. Messages
//! of an order are sent one after the other, those of different orders concurrently. A message is
//! delivered if the response has a 2xx status within the time limit; nothing else in the response
//! matters.
//!
//! | an endpoint that | is |
//! |---|---|
//! | does not answer in time, or answers anything not listed here | retried with exponential backoff |
//! | answers with `Retry-After` | given that pause, at most an hour |
//! | answers 413 or 422 | refusing this message, which is parked with its order's later ones |
//! | answers 410, or accepts nothing for days | disabled, and operators are alerted |
//!
//! `runtime::http::outside` checks the destination: an endpoint's creator could name an address
//! inside the shop's own network (SSRF).
//!
//! [docs/webhooks.md](../../../docs/webhooks.md) is written for receivers.

mod answer;
mod asked;
mod body;
mod endpoint;
mod request;
pub(crate) mod signature;
mod store;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use metrics::{counter, describe_counter, describe_gauge, gauge};
use reqwest::Client;
use runtime::chain;
use runtime::http::outside::{InternalHosts, outside_client};
use runtime::metrics::count;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use endpoint::WebhookEndpoint;

use crate::source::SourceError;
use crate::{Begins, Listed, Sink, SinkSource};

/// Delivery attempts to endpoints, by outcome.
const ATTEMPTS: &str = "ordersaga_webhook_attempts_total";

/// Endpoints, by state.
const ENDPOINTS: &str = "ordersaga_webhook_endpoints";

/// The type of a trial message.
const TRIAL: &str = "ordersaga.webhook.trial.v1";

/// How often operators' requests are polled, and endpoints counted.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The batch size.
const BATCH: u16 = 100;

/// The prefix of a sink's name; the endpoint's id follows.
const SINK: &str = "webhook:";

/// How many log rows are deleted at a time.
const SWEPT_AT_ONCE: i32 = 1_000;

/// The settings of webhooks.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct WebhookSettings {
    /// Timeout of connecting to an endpoint, in seconds.
    #[arg(id = "webhook_connect_seconds", long = "webhook-connect-seconds",
          env = "WEBHOOK_CONNECT_SECONDS", default_value_t = 5,
          value_parser = clap::value_parser!(u64).range(1..=30))]
    pub connect_seconds: u64,

    /// Timeout of an endpoint's answer, including the connection, in seconds.
    #[arg(id = "webhook_answer_seconds", long = "webhook-answer-seconds",
          env = "WEBHOOK_ANSWER_SECONDS", default_value_t = 15,
          value_parser = clap::value_parser!(u64).range(1..=60))]
    pub answer_seconds: u64,

    /// How many orders' messages are sent to an endpoint concurrently.
    #[arg(id = "webhook_concurrency", long = "webhook-concurrency", env = "WEBHOOK_CONCURRENCY",
          default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub concurrency: u8,

    /// An endpoint that has accepted nothing for this many days, despite repeated attempts, is
    /// disabled.
    #[arg(id = "webhook_disable_after_days", long = "webhook-disable-after-days",
          env = "WEBHOOK_DISABLE_AFTER_DAYS", default_value_t = 5,
          value_parser = clap::value_parser!(u16).range(1..=90))]
    pub disable_after_days: u16,

    /// Days to keep the log of attempts.
    #[arg(id = "webhook_log_days", long = "webhook-log-days", env = "WEBHOOK_LOG_DAYS",
          default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=365))]
    pub log_days: u16,

    /// Hosts inside the shop's own network that webhooks may call, separated by commas, with or
    /// without a port. The API needs the same setting.
    #[arg(
        id = "webhook_internal_hosts",
        long = "webhook-internal-hosts",
        env = "WEBHOOK_INTERNAL_HOSTS",
        default_value = ""
    )]
    pub internal_hosts: InternalHosts,
}

/// All endpoints.
#[derive(Clone)]
pub struct Webhooks(Arc<Parts>);

/// The shared parts.
struct Parts {
    db: PgPool,
    client: Client,
    settings: WebhookSettings,
    source: String,
}

impl Webhooks {
    /// Creates the source of sinks, without connecting. `source` identifies the shop, as a URI
    /// reference.
    ///
    /// **Errors.** TLS cannot be set up.
    pub fn new(db: PgPool, settings: WebhookSettings, source: String) -> reqwest::Result<Self> {
        let seconds = Duration::from_secs;
        let (connect, answer) = (settings.connect_seconds, settings.answer_seconds);
        let client = outside_client(&settings.internal_hosts, seconds(connect), seconds(answer))?;
        describe_metrics();
        Ok(Self(Arc::new(Parts { db, client, settings, source })))
    }

    /// The sink of this endpoint, whether or not the endpoint exists.
    #[must_use]
    pub fn endpoint(&self, endpoint_id: Uuid) -> WebhookEndpoint {
        WebhookEndpoint { parts: Arc::clone(&self.0), endpoint_id }
    }

    /// Sends what operators request, counts the endpoints and sweeps the log, until `stop`.
    pub async fn look_after(self, stop: CancellationToken) {
        tokio::join!(self.keep_sending(&stop), self.keep_count(&stop));
    }

    async fn keep_count(&self, stop: &CancellationToken) {
        while let Some(looked) = stop.run_until_cancelled(self.look()).await {
            if let Err(error) = looked {
                tracing::warn!(error = chain(&error), "maintenance of webhooks failed; retrying");
            }
            let _stopped = tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_ok();
        }
    }

    async fn look(&self) -> sqlx::Result<()> {
        self.count().await?;
        self.sweep().await?;
        Ok(())
    }

    /// Counts the endpoints by state.
    async fn count(&self) -> sqlx::Result<()> {
        let counts = store::counts(&self.0.db).await?;
        let store::Counts { enabled, failing, disabled, given_up } = counts;
        for (state, endpoints) in STATES.into_iter().zip([enabled, failing, disabled, given_up]) {
            gauge!(ENDPOINTS, "state" => state).set(count(endpoints));
        }
        Ok(())
    }

    /// Deletes log rows past their retention; returns how many.
    ///
    /// **Errors.** The database does not answer.
    pub async fn sweep(&self) -> sqlx::Result<i64> {
        store::sweep(&self.0.db, self.0.settings.log_days, SWEPT_AT_ONCE).await
    }
}

/// Operators create and remove endpoints while the relay runs. An endpoint's first position is
/// recorded when it is created, and the sink of a disabled one is paused.
#[async_trait]
impl SinkSource for Webhooks {
    async fn list(&self) -> Result<Vec<Listed>, SourceError> {
        let listed = |endpoint_id: Uuid| -> Result<Listed, SourceError> {
            let name = format!("{SINK}{endpoint_id}").parse()?;
            // Each batch reads the current settings, so an endpoint never has to be opened again.
            Ok(Listed { name, revision: 0, begins: Begins::Now, batch: BATCH })
        };
        store::all(&self.0.db).await?.into_iter().map(listed).collect()
    }

    async fn open(&self, listed: &Listed) -> Result<Arc<dyn Sink>, SourceError> {
        let endpoint_id = listed.name.as_str().trim_start_matches(SINK).parse()?;
        Ok(Arc::new(self.endpoint(endpoint_id)))
    }
}

/// The states: enabled, enabled and failing, disabled by an operator, disabled by the relay.
const STATES: [&str; 4] = ["enabled", "failing", "disabled", "given-up"];

fn describe_metrics() {
    describe_counter!(ATTEMPTS, "Attempts to deliver a message to a webhook endpoint, by outcome");
    // Starting at zero makes the first failure an increase.
    for outcome in ["delivered", "refused", "unavailable", "gone"] {
        counter!(ATTEMPTS, "outcome" => outcome).absolute(0);
    }
    describe_gauge!(ENDPOINTS, "Webhook endpoints, by state");
    for state in STATES {
        gauge!(ENDPOINTS, "state" => state).set(0.0);
    }
}
