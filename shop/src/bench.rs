//! Benchmark: the throughput and cost of an order, compared with an empty workflow on the same
//! server and with the textbook version of the same saga. One machine, one run.

mod accepts;
mod bare;
mod contender;
mod database;
mod floor;
mod goods;
mod load;
mod machine;
mod popular;
mod reads;
mod relay;
mod report;
mod textbook;
mod unfit;
mod wire;
mod worker;

use std::io;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, SystemTime};

use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use runtime::temporal::{BadSettings, NotReady, Temporal};
use rust_decimal::Decimal;
use temporalio_client::Client;
use tokio::time::sleep;

use crate::ordersaga::{ApiArgs, ApiError, Ordersaga};
use crate::screen::say;
use accepts::Arrivals;
pub(crate) use bare::{BenchBare, serve as serve_bare};
use contender::{Arena, Contender, Footprint, Spoiled};
use database::{COUNT_DELAY, Database};
use goods::GoodsError;
use load::{Burst, Loop, Measured, burst};
use machine::Programs;
use unfit::Unfit;
pub(crate) use wire::WireError;
pub(crate) use worker::{BenchWorker, serve};

/// Measures orders against the same server's empty workflow and the textbook saga.
#[derive(Clone, Debug, Args)]
pub(crate) struct Bench {
    /// Seconds per measurement
    #[arg(long, default_value_t = 15)]
    seconds: u64,

    /// Rounds of each measurement; the medians are shown
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// Concurrent clients
    #[arg(long, default_value_t = 100)]
    at_once: usize,

    /// Number started in a burst, to measure the database's share of each
    #[arg(long, default_value_t = 500)]
    burst: usize,

    #[command(flatten)]
    arrivals: Arrivals,

    #[command(flatten)]
    api: ApiArgs,

    /// The shop's database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,

    /// The shop's database, as the starter's role
    #[arg(long, env = "STARTER_DATABASE_URL", hide_env_values = true)]
    starter_database_url: String,

    /// Kafka's brokers; without them, the relay is not measured
    #[arg(long, env = "ORDERSAGA_KAFKA_BROKERS")]
    kafka_brokers: Option<String>,

    /// The broker keeps its records in memory only, which the output mentions
    #[arg(long, env = "ORDERSAGA_KAFKA_IN_MEMORY")]
    kafka_in_memory: bool,

    /// Number of events with which the outbox is filled for the relay
    #[arg(long, default_value_t = 200_000)]
    relay_events: i64,

    /// The shop's database, as the relay's role
    #[arg(long, env = "RELAY_DATABASE_URL", hide_env_values = true)]
    relay_database_url: Option<String>,

    /// The shop's database, as the owner of its schemas, who fills the outbox
    #[arg(long, env = "MIGRATE_DATABASE_URL", hide_env_values = true)]
    owner_database_url: Option<String>,

    /// Process ids of the measured programs, as
    /// `{"temporal":1,"postgres":2,"worker":3,"starter":[4,5]}`; without it, CPU time is not
    /// reported
    #[arg(long, env = "ORDERSAGA_PIDS", value_parser = programs)]
    pids: Option<Programs>,

    /// Measure a debug build anyway
    #[arg(long)]
    allow_debug: bool,

    /// Measure even if the database has orders, or the server has open workflows
    #[arg(long)]
    allow_used: bool,
}

/// Why the benchmark has failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// The setup would give meaningless results.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// Temporal does not report the number of open workflows.
    #[error("Temporal does not say how many workflows are open: {0}")]
    Counting(String),
    /// The orders to measure with cannot be read.
    #[error(transparent)]
    Goods(#[from] GoodsError),
    /// An order or workflow failed.
    #[error(transparent)]
    Spoiled(#[from] Spoiled),
    /// The API cannot be called.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A response was not as expected.
    #[error("a request was not answered as it should be")]
    Wire(#[from] WireError),
    /// Accepted orders are missing from the record.
    #[error("{0} orders that were accepted are not on record")]
    Lost(i64),
    /// Orders have ended in a wrong status.
    #[error("{0} orders that were accepted have ended, and are not completed")]
    NotCompleted(i64),
    /// Orders make no progress.
    #[error("{0} orders that were accepted have not ended, and there is no progress")]
    Standstill(i64),
    /// Temporal's settings cannot be read.
    #[error(transparent)]
    Config(#[from] BadSettings),
    /// Temporal cannot be used.
    #[error("Temporal cannot be used")]
    Temporal(#[from] NotReady),
    /// The database does not answer.
    #[error("the database does not answer")]
    Database(#[from] sqlx::Error),
    /// The latency histogram cannot be created.
    #[error("cannot count latencies")]
    Latencies(#[from] hdrhistogram::CreationError),
    /// The terminal or a child process failed.
    #[error("cannot write to the terminal or start the benchmark's worker")]
    Process(#[from] io::Error),
    /// The benchmark's worker failed.
    #[error("the benchmark's worker: {0}")]
    Worker(String),
    /// The relay has ended instead of delivering.
    #[error("`ordersaga relay` has ended: {0}")]
    Relay(String),
}

/// All measurements.
struct Findings {
    many: Vec<(Contender, Measured)>,
    one: Vec<(Contender, Measured)>,
    bursts: Vec<(Contender, BurstCost)>,
}

/// The results of a burst.
struct BurstCost {
    burst: Burst,
    footprints: Vec<Footprint>,
    /// Committed transactions per order, above the idle system's rate; reported for contenders that
    /// write to the database.
    commits: Option<Decimal>,
}

/// Measures, and prints the results. The exit code does not depend on whether the targets are
/// reached: a slow machine is not a failure.
pub(crate) async fn run(bench: &Bench) -> Result<(), BenchError> {
    let database = Database::at(&bench.database_url)?;
    let arena = Arena {
        starter_database: Database::at(&bench.starter_database_url)?,
        client: connect().await?,
        shop: Ordersaga::at(&bench.api, Duration::from_secs(30))?,
        orders: goods::orders()?,
        run: time_of_day(),
        next: AtomicUsize::new(0),
    };
    unfit::refuse(bench, &arena.client, &database).await?;
    let worker = worker::started()?;
    let mut programs = bench.pids.clone().unwrap_or_default();
    programs.bench_worker = worker.id();
    let mut of_floor = floor::worker(&arena.client)?;
    tokio::select! {
        ended = of_floor.run() => {
            let why = ended.err().map_or_else(|| "it has ended".to_owned(), |error| error.to_string());
            Err(BenchError::Worker(why))
        }
        measured = measure(bench, &arena, &database, &programs) => measured,
    }
}

async fn measure(
    bench: &Bench,
    arena: &Arena,
    database: &Database,
    programs: &Programs,
) -> Result<(), BenchError> {
    report::opening(bench, arena, database).await?;

    // First, because the server is busy with cleanup long after a burst of workflows.
    reads::measured(arena, "before any load").await?;
    say("warming up")?;
    rounds(arena, programs, 1, bench.many(Duration::from_secs(3))).await?;
    let one = Loop {
        at_once: 1,
        lead: Duration::from_secs(1),
        window: Duration::from_secs(bench.seconds.div_ceil(3)),
    };
    say(format_args!("one at a time: {} rounds of {} s each", bench.rounds, one.window.as_secs()))?;
    let one = rounds(arena, programs, bench.rounds, one).await?;
    say(format_args!(
        "{} at once: {} rounds of {} s each",
        bench.at_once, bench.rounds, bench.seconds
    ))?;
    let many = bench.many(Duration::from_secs(bench.seconds));
    let many = rounds(arena, programs, bench.rounds, many).await?;
    say(format_args!("bursts of {} of each, and their cost", bench.burst))?;
    let bursts = bursts(bench, arena, database).await?;
    report::closing(bench, &Findings { many, one, bursts })?;
    reads::measured(arena, "after that load").await?;
    popular::measured(arena, bench).await?;
    relay::measured(bench, arena, programs).await?;
    // Last, because its backlog takes the longest to process.
    accepts::measured(bench.arrivals, arena, programs, database).await
}

impl Bench {
    fn many(&self, window: Duration) -> Loop {
        Loop { at_once: self.at_once, lead: Duration::from_secs(5), window }
    }
}

/// Measures the contenders in turn, round by round, so that a temporary slowdown affects all of
/// them.
async fn rounds(
    arena: &Arena,
    programs: &Programs,
    rounds: usize,
    each: Loop,
) -> Result<Vec<(Contender, Measured)>, BenchError> {
    let mut measured = Vec::new();
    for _round in 0..rounds {
        for contender in Contender::ALL {
            let counted = each.measure(arena, programs, contender).await?;
            measured.push((contender, counted?));
        }
    }
    Ok(measured)
}

async fn bursts(
    bench: &Bench,
    arena: &Arena,
    database: &Database,
) -> Result<Vec<(Contender, BurstCost)>, BenchError> {
    // Polling by the idle system must not be attributed to the orders.
    sleep(COUNT_DELAY).await;
    let idle_from = database.commits().await?;
    sleep(COUNT_DELAY).await;
    let mut before = database.commits().await?;
    let idle = before.saturating_sub(idle_from);
    let mut bursts = Vec::new();
    for contender in Contender::ALL {
        let burst = burst(arena, contender, bench.burst, bench.at_once).await?;
        sleep(COUNT_DELAY).await;
        let after = database.commits().await?;
        let lasted = burst.finished_within.saturating_add(COUNT_DELAY);
        let commits = commits_each(after.saturating_sub(before), idle, lasted, bench.burst);
        before = after;
        let some = burst.workflow_ids.iter().take(DESCRIBED).map(|id| arena.footprint(id));
        let footprints = stream::iter(some).buffer_unordered(4).try_collect().await?;
        bursts.push((contender, BurstCost { burst, footprints, commits }));
    }
    Ok(bursts)
}

/// How many workflows of a burst are examined for their cost on the server; they hardly differ.
const DESCRIBED: usize = 50;

fn commits_each(counted: i64, idle: i64, lasted: Duration, orders: usize) -> Option<Decimal> {
    let idle_second = Decimal::from(idle).checked_div(COUNT_DELAY.as_secs().into())?;
    let idle = idle_second.checked_mul(Decimal::from(lasted.as_secs()))?;
    let of_orders = Decimal::from(counted).checked_sub(idle)?.max(Decimal::ZERO);
    of_orders.checked_div(orders.into())
}

/// Connects like the worker and the starter.
async fn connect() -> Result<Client, BenchError> {
    Ok(Temporal::from_env("ordersaga-bench")?.connect().await?)
}

fn programs(json: &str) -> Result<Programs, serde_json::Error> {
    serde_json::from_str(json)
}

fn time_of_day() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}", now.as_secs())
}
