//! Serves the task queues until shutdown.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use activities::Activities;
use activities::party::{Capabilities, Guarded};
use activities::shipping::sandbox::SandboxCarrier;
use activities::stock::ArticleQueues;
use domain::Party;
use runtime::chain;
use runtime::database::{BadUrl, Database, PoolWatch};
use runtime::schema::{SchemaFault, SchemaGate};
use runtime::temporal::Temporal;
use sqlx::PgPool;
use temporalio_client::Client;
use temporalio_sdk::interceptors::ActivityInboundInterceptor;
use temporalio_sdk::runtime::PollerBehavior;
use temporalio_sdk::runtime::worker_tuner::{FixedSizeSlotSupplier, TunerHolder, WorkerTuner};
use temporalio_sdk::{
    Runtime, Worker, WorkerCreateError, WorkerOptions, WorkerRunError, WorkflowRegistrationError,
};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use workflows::Queue;

use crate::activity_metrics::{self, ActivityMetrics};
use crate::database::{self, DatabaseArgs};
use crate::housekeeping::{self, Retention};
use crate::inbox::{Inbox, TemporalProcesses};
use crate::ops::{Ops, Parties, Polling};
use crate::order_metrics;
use crate::parties::{self, Breakers};
use crate::pausable_queue::{self, Wear};
use crate::payment::{PaymentArgs, PaymentError};
use crate::reconcile::{self, ScheduleArgs};
use crate::release::Release;
use crate::telemetry::Telemetry;
use crate::waiting::until_there;

/// How often the worker checks whether the database's schema has become too new for it.
const SCHEMA_CHECK_EVERY: Duration = Duration::from_secs(5);

/// The settings for one queue.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// The release that the worker reports.
    #[command(flatten)]
    pub release: Option<Release>,
    /// Concurrent workflow tasks; default: 50, in `ordersaga all` 200
    #[arg(long, env = "WORKER_WORKFLOW_TASKS")]
    pub workflow_tasks: Option<NonZeroUsize>,
    /// Concurrent quick steps (local activities)
    #[arg(long, env = "WORKER_LOCAL_STEPS", default_value_t = Self::DEFAULT.local_steps)]
    pub local_steps: usize,
    /// Concurrent patient steps (regular activities) for each queue
    #[arg(long, env = "WORKER_PATIENT_STEPS", default_value_t = Self::DEFAULT.patient_steps)]
    pub patient_steps: usize,
    /// Orders cached in memory between their workflow tasks
    #[arg(long, env = "WORKER_CACHED_ORDERS", default_value_t = Self::DEFAULT.cached_orders)]
    pub cached_orders: usize,
    /// Concurrent polls for workflow tasks of orders that no worker has cached, at least as many as
    /// the queue has partitions; SDK default if neither this nor the next one is set: 1
    #[arg(long, env = "WORKER_FRESH_POLLERS", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub fresh_pollers: Option<u16>,
    /// Concurrent polls for workflow tasks of orders that this worker has cached; SDK default: 4
    #[arg(long, env = "WORKER_CACHED_POLLERS", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub cached_pollers: Option<u16>,
    /// Concurrent polls for patient steps, for each queue; SDK default: 5
    #[arg(long, env = "WORKER_STEP_POLLERS", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub step_pollers: Option<u16>,
    /// Activities after which a queue's worker is replaced by a new one within the process, because
    /// the SDK keeps some memory of each
    #[arg(long, env = "WORKER_REPLACED_AFTER", default_value_t = Self::DEFAULT.replaced_after,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub replaced_after: u32,
    /// Seconds that running tasks may still take after a shutdown signal
    #[arg(long, env = "WORKER_GRACE_SECONDS", default_value_t = Self::DEFAULT.grace_seconds)]
    pub grace_seconds: u32,
}

impl Settings {
    const DEFAULT: Self = Self {
        release: None,
        workflow_tasks: None,
        local_steps: 500,
        patient_steps: 200,
        cached_orders: 2_000,
        fresh_pollers: None,
        cached_pollers: None,
        step_pollers: None,
        // Each leaks about 600 bytes.
        replaced_after: 100_000,
        grace_seconds: 10,
    };

    /// Tasks that wait here use up their time limit; those that wait in Temporal do not.
    const WORKFLOW_TASKS: NonZeroUsize = NonZeroUsize::new(50).unwrap();

    /// The default for a worker in the process that starts the orders. Each eager start holds a slot
    /// from the request on. An order for which none is free goes to Temporal's queue, where those
    /// that start eagerly overtake it for as long as the machine is saturated. So there are slots for
    /// all starts under way (64) and for the orders whose tasks end as fast as others start.
    pub const EAGER_WORKFLOW_TASKS: NonZeroUsize = NonZeroUsize::new(200).unwrap();

    /// The SDK's defaults.
    const FRESH_POLLERS: u16 = 1;
    const CACHED_POLLERS: u16 = 4;

    /// Tasks of cached orders go to this worker's own (sticky) queue. If the worker dies, Temporal
    /// gives them to another one only after this timeout.
    const STICKY: Duration = Duration::from_secs(2);

    /// The maximum number of concurrent polls for workflow tasks, and the share of them for orders
    /// that no worker has cached; `None` leaves both to the SDK.
    fn workflow_pollers(&self) -> Option<(usize, f32)> {
        if self.fresh_pollers.is_none() && self.cached_pollers.is_none() {
            return None;
        }
        let fresh = self.fresh_pollers.unwrap_or(Self::FRESH_POLLERS);
        let all = fresh.saturating_add(self.cached_pollers.unwrap_or(Self::CACHED_POLLERS));
        Some((all.into(), share(fresh, all)))
    }

    fn tuner(&self) -> WorkerTuner {
        let workflow_tasks = self.workflow_tasks.unwrap_or(Self::WORKFLOW_TASKS);
        TunerHolder::builder()
            .workflow_task_slot_supplier(FixedSizeSlotSupplier::new(workflow_tasks.get()))
            .local_activity_task_slot_supplier(FixedSizeSlotSupplier::new(self.local_steps))
            .activity_task_slot_supplier(FixedSizeSlotSupplier::new(self.patient_steps))
            .nexus_task_slot_supplier(FixedSizeSlotSupplier::new(1))
            .build()
            .into()
    }
}

/// The share from which the SDK computes this part of the whole, rounding down.
#[expect(clippy::float_arithmetic, reason = "the SDK asks for a share, where it means a number")]
fn share(part: u16, whole: u16) -> f32 {
    (f32::from(part) + 0.5) / f32::from(whole)
}

impl Default for Settings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The settings of `ordersaga worker`.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// The task queues to serve; only `orders` has workflow tasks
    #[arg(long, env = "WORKER_QUEUES", value_delimiter = ',', value_parser = queue,
        default_value = "orders,payments,fulfilment")]
    pub queues: Vec<Queue>,
    /// The address of `/health`, `/ready` and `/metrics`
    #[arg(long, env = "WORKER_OPS_LISTEN", default_value = "127.0.0.1:9464")]
    pub ops_listen: SocketAddr,
    /// The payment provider.
    #[command(flatten)]
    pub payment: PaymentArgs,
    /// Seconds for which goods stay reserved for an order that does not ship
    #[arg(long, env = "WORKER_RESERVATION_SECONDS", default_value_t = 86_400)]
    pub reservation_seconds: u32,
    /// Seconds for which a party is retried that gives invalid answers, before it counts as broken;
    /// 0: not retried
    #[arg(long, env = "WORKER_INVALID_ANSWER_SECONDS", default_value_t = 300,
        value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub invalid_answer_seconds: u32,
    /// When provider and shop are reconciled.
    #[command(flatten)]
    pub reconciliation: ScheduleArgs,
    /// Retention periods.
    #[command(flatten)]
    pub retention: Retention,
    /// The settings for each queue.
    #[command(flatten)]
    pub settings: Settings,
    /// The database.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// Why the worker cannot start, or has stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// `DATABASE_URL` cannot be used.
    #[error("DATABASE_URL")]
    Database(#[from] BadUrl),
    /// There is no usable payment provider.
    #[error(transparent)]
    Payment(#[from] PaymentError),
    /// A migration excludes programs as old as this one.
    #[error("the worker cannot continue with this database")]
    Schema(#[source] SchemaFault),
    /// The address is in use, or cannot be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// A workflow is registered twice.
    #[error("a workflow cannot be registered")]
    Workflow(#[from] WorkflowRegistrationError),
    /// The SDK refuses the settings.
    #[error("a worker cannot be created")]
    Create(#[from] WorkerCreateError),
    /// A queue is no longer served.
    #[error("queue {queue} is no longer served")]
    Stopped {
        /// Which.
        queue: &'static str,
        /// Why.
        source: WorkerRunError,
    },
    /// A queue's thread panicked.
    #[error("a queue's thread panicked")]
    Thread(#[from] JoinError),
}

fn queue(name: &str) -> Result<Queue, String> {
    name.trim().parse().map_err(|_unknown| {
        let names: Vec<_> = Queue::all().map(Queue::name).collect();
        format!("the queues are {}", names.join(", "))
    })
}

/// Makes the worker of one queue. `watch` intercepts every attempt at an activity, before and
/// after.
pub fn build_worker(
    runtime: &Runtime,
    client: Client,
    queue: Queue,
    activities: &Activities,
    settings: &Settings,
    watch: impl ActivityInboundInterceptor,
    wear: Wear,
) -> Result<Worker, RunError> {
    Ok(Worker::new(runtime, client, worker_options(queue, activities, settings, watch, wear)?)?)
}

/// The options of one queue's worker: the activities, and on `orders` also the workflows.
pub fn worker_options(
    queue: Queue,
    activities: &Activities,
    settings: &Settings,
    watch: impl ActivityInboundInterceptor,
    wear: Wear,
) -> Result<WorkerOptions, WorkflowRegistrationError> {
    let mut options = WorkerOptions::new(queue.name())
        .maybe_deployment_options(settings.release.as_ref().map(Release::deployment_options))
        .tuner(settings.tuner())
        .max_cached_workflows(settings.cached_orders)
        .sticky_queue_schedule_to_start_timeout(Settings::STICKY)
        .graceful_shutdown_period(Duration::from_secs(settings.grace_seconds.into()))
        .activity_inbound_interceptor(wear)
        .activity_inbound_interceptor(watch)
        .build();
    if let Some((all, fresh)) = settings.workflow_pollers() {
        options.workflow_task_poller_behavior = Some(PollerBehavior::SimpleMaximum(all));
        options.nonsticky_to_sticky_poll_ratio = fresh;
    }
    if let Some(pollers) = settings.step_pollers {
        options.activity_task_poller_behavior = Some(PollerBehavior::SimpleMaximum(pollers.into()));
    }
    register(&mut options, queue, activities)?;
    Ok(options)
}

/// Registers the activities, and the workflows if the queue has any. This function is not generic,
/// so that their code is compiled only in this crate.
fn register(
    options: &mut WorkerOptions,
    queue: Queue,
    activities: &Activities,
) -> Result<(), WorkflowRegistrationError> {
    options.register_activities(activities.clone());
    if queue == Queue::Orders {
        macro_rules! register {
            ($workflow:ty) => {
                options.register_workflow::<$workflow>()?;
            };
        }
        workflows::for_each_process!(register);
    }
    Ok(())
}

/// Serves the queues until `stop`, and then until running tasks have finished.
///
/// `temporal` has to be counted by `telemetry`'s meter; several programs in one process share both.
pub async fn run(
    args: RunArgs,
    temporal: &Temporal,
    telemetry: Telemetry,
    stop: CancellationToken,
) -> Result<(), RunError> {
    activity_metrics::begin();
    let database = args.database.database()?;
    // Fail on invalid settings before waiting for any server.
    let breakers = Breakers::default();
    let activities = args.activities(&database, &breakers)?;
    let events = args.payment.event_source(Arc::clone(&breakers.provider))?;
    let pool = database.transactions().clone();
    let watches =
        [PoolWatch::of(&pool, "worker"), PoolWatch::of_statements(&database, "worker-statements")];
    let ops = Ops::new(telemetry.metrics.clone(), watches.clone(), args.queues.len());
    serve_ops(args.ops_listen, &ops, &stop).await?;
    for watch in watches {
        tokio::spawn(stop.clone().run_until_cancelled_owned(watch.run()));
    }

    let found = stop.run_until_cancelled(Box::pin(find(pool, temporal))).await;
    let Some(Parties { pool, gate, client }) = found.transpose()? else { return Ok(()) };
    if let Some(release) = args.settings.release.clone() {
        tokio::spawn(release.tell_whether_it_takes_orders(client.clone()));
    }
    ops.found(Parties { pool: pool.clone(), gate: gate.clone(), client: client.clone() });

    tell_of(Party::PaymentProvider, activities.provider.capabilities());
    tell_of(Party::Carrier, activities.carrier.capabilities());
    if args.queues.contains(&Queue::Orders) {
        tokio::spawn(housekeeping::run(pool.clone(), args.retention, stop.clone()));
        tokio::spawn(order_metrics::run(pool.clone(), stop.clone()));
        keep_schedule(args.reconciliation, &client, &stop);
    }
    if let Some(provider) = events.filter(|_| args.queues.contains(&Queue::Payments)) {
        let processes = Arc::new(TemporalProcesses { client: client.clone() });
        let (pool, poll_every) = (pool.clone(), args.payment.poll_every());
        tokio::spawn(Inbox { pool, provider, processes, poll_every }.run(stop.clone()));
    }
    let mut served = JoinSet::new();
    served.spawn(until_too_old(pool.clone(), gate, stop.clone()));
    let parties = parties::run(pool.clone(), breakers, stop.clone());
    served.spawn(async move {
        parties.await;
        Ok(())
    });
    let worn_after = args.settings.replaced_after;
    let making = Arc::new((telemetry.runtime, client, activities, args.settings));
    for queue in args.queues.iter().copied() {
        let making = Arc::clone(&making);
        let make = move |wear| {
            let (runtime, client, activities, settings) = &*making;
            let client = client.clone();
            build_worker(runtime, client, queue, activities, settings, ActivityMetrics, wear)
        };
        serve(&mut served, (make, worn_after), (pool.clone(), queue), ops.polls(), &stop);
    }
    let queues: Vec<_> = args.queues.iter().map(|queue| queue.name()).collect();
    info!(queues = queues.join(","), "serving");
    until_all_ended(served, &stop).await
}

impl RunArgs {
    /// Provider and carrier get separate connections, so that they fail independently. While one of
    /// them is unavailable or stopped, it is not called.
    fn activities(&self, db: &Database, breakers: &Breakers) -> Result<Activities, RunError> {
        let party = || self.database.sandbox_database();
        let provider = self.payment.provider(party, Arc::clone(&breakers.provider))?;
        let carrier = SandboxCarrier::new(party()?);
        Ok(Activities {
            db: db.clone(),
            articles: ArticleQueues::default(),
            provider,
            carrier: Arc::new(Guarded::new(carrier, Arc::clone(&breakers.carrier))),
            settings: activities::Settings {
                reservation_ttl: Duration::from_secs(self.reservation_seconds.into()),
                ask_again_for: Duration::from_secs(self.invalid_answer_seconds.into()),
            },
        })
    }
}

/// Schedules reconciliations, if the settings ask for them.
fn keep_schedule(
    ScheduleArgs { reconcile_every, reconcile_days }: ScheduleArgs,
    client: &Client,
    stop: &CancellationToken,
) {
    let Some(every) = reconcile_every else { return };
    let kept = reconcile::keep_schedule(client.clone(), every, reconcile_days);
    let stopped = stop.clone().cancelled_owned();
    tokio::spawn(async move {
        tokio::select! {
            () = kept => {}
            () = stopped => {}
        }
    });
}

/// Logs the limits of a party.
fn tell_of(party: Party, Capabilities { may_lag, keys_last, cannot }: Capabilities) {
    info!(party = party.name(), ?may_lag, ?keys_last, ?cannot, "the party can be called");
}

async fn serve_ops(
    address: SocketAddr,
    ops: &Ops,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let listening = |source| RunError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listening)?;
    let address = listener.local_addr().map_err(listening)?;
    info!(%address, "answering /health, /ready and /metrics");
    let router = ops.clone().router();
    let stop = stop.clone();
    tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            error!(error = chain(&error), "the health endpoint has failed");
        }
    });
    Ok(())
}

/// Waits for Postgres and Temporal. A schema that is too old may be migrated at this moment; one
/// that is too new is an error, because waiting cannot change it.
async fn find(pool: PgPool, temporal: &Temporal) -> Result<Parties, RunError> {
    let at = format!("Temporal at {}", temporal.address());
    let gate = database::schema_gate();
    let (client, fits) = tokio::join!(
        until_there(&at, async || temporal.connect().await),
        until_there("the database", async || match database::reach(&pool, &gate).await {
            Ok(_usable) => Ok(Ok(())),
            Err(fault @ SchemaFault::TooOld { .. }) => Ok(Err(RunError::Schema(fault))),
            Err(fault) => Err(fault),
        }),
    );
    fits?;
    Ok(Parties { pool, gate, client })
}

/// Waits until `stop`, or until a migration excludes programs as old as this one: such a worker
/// would write what later releases do not expect. `/ready`, and the steps that fail, report all
/// other faults of the database.
async fn until_too_old(
    pool: PgPool,
    gate: SchemaGate,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let mut due = tokio::time::interval(SCHEMA_CHECK_EVERY);
    while stop.run_until_cancelled(due.tick()).await.is_some() {
        if let Err(fault @ SchemaFault::TooOld { .. }) = gate.check(&pool).await {
            return Err(RunError::Schema(fault));
        }
    }
    Ok(())
}

/// Gives a queue's worker a thread of its own, which runs all its workflows; activities run on the
/// process's other threads.
fn serve(
    served: &mut JoinSet<Result<(), RunError>>,
    (make, worn_after): (impl Fn(Wear) -> Result<Worker, RunError> + Send + 'static, u32),
    (pool, queue): (PgPool, Queue),
    polling: Polling,
    stop: &CancellationToken,
) {
    let (stop, handle) = (stop.clone(), Handle::current());
    let tell = move |serving| info!(queue = queue.name(), serving, "queue");
    served.spawn_blocking(move || {
        let _polling = polling;
        handle.block_on(pausable_queue::serve(worn_after, &pool, queue, make, tell, &stop))
    });
}

/// If one queue fails, all are shut down in order, so that a supervisor restarts the process.
async fn until_all_ended(
    mut served: JoinSet<Result<(), RunError>>,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let mut outcome = Ok(());
    while let Some(ended) = served.join_next().await {
        let ended = ended.map_err(RunError::from).flatten();
        stop.cancel();
        outcome = outcome.and(ended);
    }
    info!("stopped");
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pollers(fresh: Option<u16>, cached: Option<u16>) -> Option<(usize, f32)> {
        let settings =
            Settings { fresh_pollers: fresh, cached_pollers: cached, ..Settings::DEFAULT };
        settings.workflow_pollers()
    }

    #[test]
    fn the_sdk_decides_until_it_is_told() {
        assert_eq!(pollers(None, None), None);
        assert_eq!(pollers(Some(4), None).map(|(all, _)| all), Some(8));
        assert_eq!(pollers(None, Some(7)).map(|(all, _)| all), Some(8));
    }

    #[test]
    fn as_many_ask_for_orders_that_nobody_has_as_were_asked_for() {
        for fresh in 1..=40_u16 {
            for cached in 1..=40_u16 {
                let (_, share) = pollers(Some(fresh), Some(cached)).unwrap();
                let asking = f32::from(fresh + cached) * share;
                let wanted = f32::from(fresh);
                assert!(wanted < asking && asking < wanted + 1.0, "{fresh} {cached}: {asking}");
            }
        }
    }
}
