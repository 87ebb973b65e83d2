//! Runs the relay: reads the outbox for every sink until shutdown.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use runtime::chain;
use runtime::database::PoolWatch;
use runtime::metrics::{UPKEEP_EVERY, recorder};
use runtime::schema::{SchemaFault, SchemaGate};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::amqp::{self, AmqpArgs, UnusableAmqp};
use crate::database::{NoDatabase, RelayDatabaseArgs, schema_gate};
use crate::invoices::{self, InvoiceArgs, InvoiceError, Invoices};
use crate::kafka::{self, KafkaArgs, UnusableKafka};
use crate::leases::{self, RENEW_EVERY};
use crate::mail::{self, Mail, MailArgs, MailError};
use crate::name::NotASinkName;
use crate::ops::Ops;
use crate::reader::Reader;
use crate::source::SourceError;
use crate::webhooks::{WebhookSettings, Webhooks};
use crate::{Begins, Fixed, Listed, Sink, SinkName, SinkSource, news, telemetry};

/// How often the list of sinks is read.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often the relay checks whether the database's schema has become too new for it.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// How long deliveries in progress may take after a shutdown signal.
const GRACE: Duration = Duration::from_secs(20);

/// The batch size for brokers.
const BATCH_OF_BROKERS: u16 = 2_000;

/// The batch size for mails.
const BATCH_OF_MAILS: u16 = 500;

/// The batch size for invoices: each document is a transaction.
const BATCH_OF_INVOICES: u16 = 100;

/// The error for a database that was restored from a dump, with the remedy.
pub(crate) const RESTORED: &str = "the database was restored from a dump: its messages were \
    numbered by another cluster, so nobody can tell which of them each sink has had. Nothing is \
    delivered until `ordersaga relay rebase` has all that is kept delivered again";

/// The settings of the relay, wherever it runs.
#[derive(Clone, Debug, clap::Args)]
pub struct RelayArgs {
    /// Identifies the shop: the source of its `CloudEvents`, a URI reference
    #[arg(long, env = "RELAY_SOURCE", default_value = "/ordersaga",
        value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub relay_source: String,
    /// Apache Kafka.
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// RabbitMQ.
    #[command(flatten)]
    pub amqp: AmqpArgs,
    /// Webhook endpoints.
    #[command(flatten)]
    pub webhooks: WebhookSettings,
    /// Mails to customers.
    #[command(flatten)]
    pub mail: MailArgs,
    /// Invoices and credit notes.
    #[command(flatten)]
    pub invoices: InvoiceArgs,
    /// The database.
    #[command(flatten)]
    pub database: RelayDatabaseArgs,
}

/// The settings of `ordersaga relay`.
#[derive(Clone, Debug, clap::Args)]
pub struct RelayProgramArgs {
    /// The address of `/health`, `/ready` and `/metrics`
    #[arg(long, env = "RELAY_OPS_LISTEN", default_value = "127.0.0.1:9467")]
    pub relay_ops_listen: SocketAddr,
    /// The relay's settings.
    #[command(flatten)]
    pub relay: RelayArgs,
}

/// Why the relay cannot start, or has stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It has no database.
    #[error(transparent)]
    Database(#[from] NoDatabase),
    /// A migration excludes programs as old as this one.
    #[error("the relay cannot continue with this database")]
    Schema(#[source] SchemaFault),
    /// Kafka's settings are invalid.
    #[error("Kafka's settings cannot be used")]
    Kafka(#[from] UnusableKafka),
    /// RabbitMQ's settings are invalid.
    #[error("RabbitMQ's settings cannot be used")]
    Amqp(#[from] UnusableAmqp),
    /// TLS for webhooks cannot be set up.
    #[error("webhooks cannot be sent")]
    Webhooks(#[source] reqwest::Error),
    /// The settings of mails are invalid.
    #[error("mails cannot be sent")]
    Mail(#[from] MailError),
    /// The settings of invoices are invalid.
    #[error("invoices cannot be issued")]
    Invoices(#[from] InvoiceError),
    /// A sink's name is invalid.
    #[error(transparent)]
    Name(#[from] NotASinkName),
    /// The address is in use, or cannot be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
}

/// The program `ordersaga relay`: the relay and its operations endpoints.
pub async fn run_program(args: RelayProgramArgs, stop: CancellationToken) -> Result<(), RunError> {
    let pool = args.relay.database.pool()?;
    let watch = PoolWatch::of(&pool, "relay");
    tokio::spawn(async move {
        let mut due = interval(UPKEEP_EVERY);
        loop {
            due.tick().await;
            recorder().run_upkeep();
        }
    });
    let ops = Ops { pool: pool.clone(), gate: schema_gate(), watch: watch.clone() };
    serve_ops(args.relay_ops_listen, ops, &stop).await?;
    let watched = stop.clone();
    tokio::spawn(async move { watched.run_until_cancelled(watch.run()).await });
    run(args.relay, stop).await
}

/// Reads for every configured sink, until `stop`.
pub async fn run(args: RelayArgs, stop: CancellationToken) -> Result<(), RunError> {
    telemetry::describe();
    let pool = args.database.pool()?;
    let Sinks { sources, webhooks, mail } = sinks(&args, &pool)?;
    let gate = schema_gate();
    let fits = stop.run_until_cancelled(until_there(&pool, &gate)).await;
    let Some(()) = fits.transpose()? else { return Ok(()) };
    let too_old = until_too_old(&pool, &gate, &stop);
    let mails = async {
        if let Some(mail) = &mail {
            mail.run(stop.clone()).await;
        }
    };
    let webhooks = Box::pin(webhooks.look_after(stop.clone()));
    let (ended, (), (), ()) =
        tokio::join!(too_old, read(&pool, &sources, &stop), webhooks, Box::pin(mails));
    ended
}

/// The sinks, and the tasks beside their delivery.
struct Sinks {
    sources: Vec<Arc<dyn SinkSource>>,
    webhooks: Webhooks,
    /// `None` if no mail server is set.
    mail: Option<Mail>,
}

/// All sinks by the settings.
fn sinks(args: &RelayArgs, pool: &PgPool) -> Result<Sinks, RunError> {
    let RelayArgs { relay_source, kafka, amqp, webhooks, mail, invoices, database: _ } = args;
    let webhooks = Webhooks::new(pool.clone(), webhooks.clone(), relay_source.clone())
        .map_err(RunError::Webhooks)?;
    let mut sources: Vec<Arc<dyn SinkSource>> = vec![Arc::new(webhooks.clone())];
    if let Some(sink) = kafka::sink(kafka, relay_source)? {
        sources.push(fixed(kafka::NAME, Begins::First, BATCH_OF_BROKERS, sink)?);
    }
    if let Some(sink) = amqp::sink(amqp, relay_source)? {
        sources.push(fixed(amqp::NAME, Begins::First, BATCH_OF_BROKERS, sink)?);
    }
    let mail = Mail::open(mail, pool.clone())?;
    if let Some(mail) = &mail {
        // Customers get no mails about earlier events.
        sources.push(fixed(mail::SINK, Begins::Now, BATCH_OF_MAILS, mail.sink())?);
    }
    if let Some(sink) = Invoices::open(invoices, pool.clone())? {
        // Earlier sales are not invoiced, either.
        let sink = Arc::new(sink);
        sources.push(fixed(invoices::SINK, Begins::Now, BATCH_OF_INVOICES, sink)?);
    }
    Ok(Sinks { sources, webhooks, mail })
}

fn fixed(
    name: &str,
    begins: Begins,
    batch: u16,
    sink: Arc<dyn Sink>,
) -> Result<Arc<dyn SinkSource>, NotASinkName> {
    Ok(Arc::new(Fixed::new(name.parse()?, begins, batch, sink)))
}

/// Waits for the database. A schema that is too old may be migrated at this moment; one that is too
/// new is an error, because waiting cannot change it.
async fn until_there(pool: &PgPool, gate: &SchemaGate) -> Result<(), RunError> {
    loop {
        match gate.check(pool).await {
            Ok(_usable) => return Ok(()),
            Err(fault @ SchemaFault::TooOld { .. }) => return Err(RunError::Schema(fault)),
            Err(fault) => warn!(error = chain(&fault), "waiting for the database"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until `stop`, or until a migration excludes programs as old as this one. Meanwhile logs
/// whether the database was restored, for which the worker has an alarm, too.
async fn until_too_old(
    pool: &PgPool,
    gate: &SchemaGate,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let mut due = interval(CHECK_EVERY);
    let mut was_restored = false;
    while stop.run_until_cancelled(due.tick()).await.is_some() {
        if let Err(fault @ SchemaFault::TooOld { .. }) = gate.check(pool).await {
            stop.cancel();
            return Err(RunError::Schema(fault));
        }
        let Ok(is_restored) = is_restored(pool).await else { continue };
        if is_restored && !was_restored {
            error!("{RESTORED}");
        }
        was_restored = is_restored;
    }
    Ok(())
}

/// Whether the database was restored from another cluster's dump.
pub(crate) async fn is_restored(pool: &PgPool) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select outbox.is_restored() as "is_restored!""#).fetch_one(pool).await
}

/// A running reader.
struct Running {
    listed: Listed,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Reads for all current sinks until `stop`; then finishes deliveries in progress and releases the
/// shards.
pub async fn read(pool: &PgPool, sources: &[Arc<dyn SinkSource>], stop: &CancellationToken) {
    let reader = Uuid::now_v7();
    let (tell, news) = watch::channel(0);
    let (tend, ended) = (CancellationToken::new(), CancellationToken::new());
    let watching = tokio::spawn(news::watch(pool.clone(), tell, tend.clone()));
    let renewing = tokio::spawn(renew(pool.clone(), reader, ended.clone()));
    let mut relay = Relay {
        pool: pool.clone(),
        reader,
        sources: sources.to_vec(),
        listed: vec![Vec::new(); sources.len()],
        running: BTreeMap::new(),
        news,
    };
    info!(sources = sources.len(), %reader, "relaying");
    let mut due = interval(LOOK_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(due.tick()).await.is_some() {
        relay.look().await;
    }
    tend.cancel();
    relay.end().await;
    // Only now: deliveries in progress have kept their shards.
    ended.cancel();
    for task in [watching, renewing] {
        task.await.unwrap_or_else(|error| warn!(%error, "a task panicked"));
    }
    info!("the relay has stopped");
}

/// Renews the leases of this process until `stop`.
async fn renew(pool: PgPool, reader: Uuid, stop: CancellationToken) {
    let mut due = interval(RENEW_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(due.tick()).await.is_some() {
        if let Err(error) = leases::renew(&pool, reader).await {
            warn!(
                error = chain(&error),
                "leases were not renewed; other processes take them over when they expire"
            );
        }
    }
}

/// One process that reads for sinks.
struct Relay {
    pool: PgPool,
    reader: Uuid,
    sources: Vec<Arc<dyn SinkSource>>,
    /// The last list of each source.
    listed: Vec<Vec<Listed>>,
    running: BTreeMap<SinkName, Running>,
    news: watch::Receiver<u64>,
}

impl Relay {
    /// Reads the list of sinks, starts readers for new ones, and stops those whose sinks are gone
    /// or have other settings; the latter are started again once they have stopped.
    async fn look(&mut self) {
        for (source, listed) in self.sources.iter().zip(&mut self.listed) {
            match source.list().await {
                Ok(now) => *listed = now,
                Err(error) => warn!(error = chain(&*error), "cannot list the sinks"),
            }
        }
        self.let_go().await;
        let wanted = self.sources.iter().zip(&self.listed);
        let new = wanted.flat_map(|(source, listed)| {
            listed.iter().map(move |listed| (Arc::clone(source), listed.clone()))
        });
        let new = new.filter(|(_, listed)| !self.running.contains_key(&listed.name));
        for (source, listed) in new.collect::<Vec<_>>() {
            match self.begin(&*source, &listed).await {
                Ok(running) => {
                    self.running.insert(listed.name.clone(), running);
                }
                Err(error) => {
                    let error = chain(&*error);
                    warn!(sink = %listed.name, error, "a sink cannot be opened yet");
                }
            }
        }
        telemetry::sinks(self.running.len());
    }

    /// Stops readers that are no longer wanted, and forgets those that have stopped.
    async fn let_go(&mut self) {
        for running in self.running.values() {
            if !self.listed.iter().flatten().any(|listed| *listed == running.listed) {
                running.stop.cancel();
            }
        }
        let ended = self.running.iter().filter(|(_, running)| running.task.is_finished());
        let ended: Vec<_> = ended.map(|(name, _)| name.clone()).collect();
        for name in ended {
            let Some(Running { task, .. }) = self.running.remove(&name) else { continue };
            if let Err(error) = task.await {
                telemetry::breach();
                error!(sink = %name, %error, "reading for a sink panicked; it is restarted");
            }
        }
    }

    async fn begin(
        &self,
        source: &dyn SinkSource,
        listed: &Listed,
    ) -> Result<Running, SourceError> {
        leases::register(&self.pool, listed).await?;
        let sink = source.open(listed).await?;
        let stop = CancellationToken::new();
        let name = listed.name.clone();
        let reader = Reader::new(self.pool.clone(), self.reader, name, listed.batch, sink);
        let task = tokio::spawn(reader.run(self.news.clone(), stop.clone()));
        info!(sink = %listed.name, "reading the outbox for a sink");
        Ok(Running { listed: listed.clone(), stop, task })
    }

    /// Lets every reader finish its batch within the grace period, and releases the remaining
    /// shards.
    async fn end(self) {
        let Self { pool, reader, running, .. } = self;
        for running in running.values() {
            running.stop.cancel();
        }
        let aborts: Vec<_> = running.values().map(|running| running.task.abort_handle()).collect();
        let all = async {
            for (name, running) in running {
                if running.task.await.is_err() {
                    warn!(sink = %name, "reading for a sink panicked");
                }
            }
        };
        if timeout(GRACE, all).await.is_err() {
            warn!("deliveries in progress take too long; other processes redeliver them");
            aborts.iter().for_each(AbortHandle::abort);
        }
        if let Err(error) = leases::leave(&pool, None, reader).await {
            warn!(
                error = chain(&error),
                "shards were not released; other processes take them over when their leases expire"
            );
        }
    }
}

async fn serve_ops(
    address: SocketAddr,
    ops: Ops,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let listening = |source| RunError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listening)?;
    let address = listener.local_addr().map_err(listening)?;
    info!(%address, "answering /health, /ready and /metrics");
    let stop = stop.clone();
    tokio::spawn(async move {
        let served =
            axum::serve(listener, ops.router()).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            error!(error = chain(&error), "the health endpoint has failed");
        }
    });
    Ok(())
}
