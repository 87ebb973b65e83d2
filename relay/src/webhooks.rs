//! Webhooks: tells endpoints of events by HTTP, signed as the Standard Webhooks specification says.
//!
//! Each endpoint is a sink of its own, so one that is away holds up nobody else. Messages of an order
//! are sent one after the other, those of different orders at once. What counts as delivered is a
//! status of 2xx within the time limit, and nothing else of the answer counts.
//!
//! | an endpoint that | is |
//! |---|---|
//! | does not answer in time, or with anything not named here | asked again, later and later |
//! | answers with `Retry-After` | left alone for so long, an hour at most |
//! | answers 413 or 422 | refusing this message, which is parked with its order |
//! | answers 410, or takes nothing for days | disabled, which operators are told |
//!
//! Where a message goes is checked by `runtime::http::outside`: an endpoint's creator could name an
//! address inside the shop's own network.
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

/// Attempts to deliver a message to an endpoint, by what came of them.
const ATTEMPTS: &str = "ordersaga_webhook_attempts_total";

/// Endpoints, by how they do.
const ENDPOINTS: &str = "ordersaga_webhook_endpoints";

/// The type of a message that only tries an endpoint out.
const TRIAL: &str = "ordersaga.webhook.trial.v1";

/// How often it is looked what operators have asked for, and how the endpoints do.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How many messages an endpoint is given at once.
const BATCH: u16 = 100;

/// What the name of an endpoint's sink begins with; the endpoint's id follows.
const SINK: &str = "webhook:";

/// How much of the log is removed at a time.
const SWEPT_AT_ONCE: i32 = 1_000;

/// The settings of webhooks.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct WebhookSettings {
    /// Seconds that connecting to an endpoint may take.
    #[arg(id = "webhook_connect_seconds", long = "webhook-connect-seconds",
          env = "WEBHOOK_CONNECT_SECONDS", default_value_t = 5,
          value_parser = clap::value_parser!(u64).range(1..=30))]
    pub connect_seconds: u64,

    /// Seconds that an endpoint may take to answer, including the connection.
    #[arg(id = "webhook_answer_seconds", long = "webhook-answer-seconds",
          env = "WEBHOOK_ANSWER_SECONDS", default_value_t = 15,
          value_parser = clap::value_parser!(u64).range(1..=60))]
    pub answer_seconds: u64,

    /// How many orders' messages are sent to an endpoint concurrently.
    #[arg(id = "webhook_concurrency", long = "webhook-concurrency", env = "WEBHOOK_CONCURRENCY",
          default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub concurrency: u8,

    /// After how many days in which it takes nothing, though it is sent something again and again, an
    /// endpoint is disabled.
    #[arg(id = "webhook_disable_after_days", long = "webhook-disable-after-days",
          env = "WEBHOOK_DISABLE_AFTER_DAYS", default_value_t = 5,
          value_parser = clap::value_parser!(u16).range(1..=90))]
    pub disable_after_days: u16,

    /// Days for which the log of attempts is kept.
    #[arg(id = "webhook_log_days", long = "webhook-log-days", env = "WEBHOOK_LOG_DAYS",
          default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=365))]
    pub log_days: u16,

    /// Hosts inside the shop's own network that webhooks may go to, too, with commas between, each
    /// with its port or without. The API has to be told the same.
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

/// What is needed to send something.
struct Parts {
    db: PgPool,
    client: Client,
    settings: WebhookSettings,
    source: String,
}

impl Webhooks {
    /// Brings the parts together, and connects to nobody yet. `source` says which shop it is, as a
    /// URI reference.
    ///
    /// **Errors.** There is no TLS to be had.
    pub fn new(db: PgPool, settings: WebhookSettings, source: String) -> reqwest::Result<Self> {
        let seconds = Duration::from_secs;
        let (connect, answer) = (settings.connect_seconds, settings.answer_seconds);
        let client = outside_client(&settings.internal_hosts, seconds(connect), seconds(answer))?;
        describe_metrics();
        Ok(Self(Arc::new(Parts { db, client, settings, source })))
    }

    /// The endpoint of this id, whether there is one or not.
    #[must_use]
    pub fn endpoint(&self, endpoint_id: Uuid) -> WebhookEndpoint {
        WebhookEndpoint { parts: Arc::clone(&self.0), endpoint_id }
    }

    /// Sends what operators ask for, counts the endpoints and sweeps the log, until it is told to
    /// stop.
    pub async fn look_after(self, stop: CancellationToken) {
        tokio::join!(self.keep_sending(&stop), self.keep_count(&stop));
    }

    async fn keep_count(&self, stop: &CancellationToken) {
        while let Some(looked) = stop.run_until_cancelled(self.look()).await {
            if let Err(error) = looked {
                tracing::warn!(error = chain(&error), "webhooks are not looked after");
            }
            let _stopped = tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_ok();
        }
    }

    async fn look(&self) -> sqlx::Result<()> {
        self.count().await?;
        self.sweep().await?;
        Ok(())
    }

    /// Counts the endpoints by how they do.
    async fn count(&self) -> sqlx::Result<()> {
        let counts = store::counts(&self.0.db).await?;
        let store::Counts { enabled, failing, disabled, given_up } = counts;
        for (state, endpoints) in STATES.into_iter().zip([enabled, failing, disabled, given_up]) {
            gauge!(ENDPOINTS, "state" => state).set(count(endpoints));
        }
        Ok(())
    }

    /// Removes what is on record of attempts that were made too long ago; how many of them.
    ///
    /// **Errors.** The database does not answer.
    pub async fn sweep(&self) -> sqlx::Result<i64> {
        store::sweep(&self.0.db, self.0.settings.log_days, SWEPT_AT_ONCE).await
    }
}

/// Operators create and remove endpoints while the relay runs. Where an endpoint begins is put on
/// record when it is created, and the sink of one that is disabled is paused.
#[async_trait]
impl SinkSource for Webhooks {
    async fn list(&self) -> Result<Vec<Listed>, SourceError> {
        let listed = |endpoint_id: Uuid| -> Result<Listed, SourceError> {
            let name = format!("{SINK}{endpoint_id}").parse()?;
            // What an operator changes is read with each batch, so no endpoint is opened anew.
            Ok(Listed { name, revision: 0, begins: Begins::Now, batch: BATCH })
        };
        store::all(&self.0.db).await?.into_iter().map(listed).collect()
    }

    async fn open(&self, listed: &Listed) -> Result<Arc<dyn Sink>, SourceError> {
        let endpoint_id = listed.name.as_str().trim_start_matches(SINK).parse()?;
        Ok(Arc::new(self.endpoint(endpoint_id)))
    }
}

/// How endpoints can do: enabled, enabled and failing, disabled by an operator, or by the relay.
const STATES: [&str; 4] = ["enabled", "failing", "disabled", "given-up"];

fn describe_metrics() {
    describe_counter!(ATTEMPTS, "Attempts to deliver a message to a webhook endpoint, by outcome");
    // Starting at zero makes the first failure a rise.
    for outcome in ["delivered", "refused", "unavailable", "gone"] {
        counter!(ATTEMPTS, "outcome" => outcome).absolute(0);
    }
    describe_gauge!(ENDPOINTS, "Webhook endpoints, by how they do");
    for state in STATES {
        gauge!(ENDPOINTS, "state" => state).set(0.0);
    }
}
