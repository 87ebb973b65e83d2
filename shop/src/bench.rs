//! What an order costs: beside the least that the same server takes for any workflow, and
//! beside the same saga as textbooks write it. One machine, one run.

mod accepts;
mod bare;
mod contender;
mod database;
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

/// Measures orders against the same server's empty workflow and the textbook's saga.
#[derive(Clone, Debug, Args)]
pub(crate) struct Bench {
    /// How many seconds each measurement counts.
    #[arg(long, default_value_t = 15)]
    seconds: u64,

    /// How often each is measured; the medians are shown.
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// How many clients go round at once.
    #[arg(long, default_value_t = 100)]
    at_once: usize,

    /// How many are started at a stretch, to see what each takes of the database.
    #[arg(long, default_value_t = 500)]
    burst: usize,

    #[command(flatten)]
    arrivals: Arrivals,

    #[command(flatten)]
    api: ApiArgs,

    /// The shop's database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,

    /// The shop's database, as the starter uses it.
    #[arg(long, env = "STARTER_DATABASE_URL", hide_env_values = true)]
    starter_database_url: String,

    /// Where Kafka is, or who stands for it; without it, the relay is not measured.
    #[arg(long, env = "ORDERSAGA_KAFKA_BROKERS")]
    kafka_brokers: Option<String>,

    /// That broker keeps its records in memory alone, which is said of what was measured with it.
    #[arg(long, env = "ORDERSAGA_KAFKA_IN_MEMORY")]
    kafka_in_memory: bool,

    /// With how many events the outbox is filled for the relay.
    #[arg(long, default_value_t = 200_000)]
    relay_events: i64,

    /// The shop's database, as the relay uses it.
    #[arg(long, env = "RELAY_DATABASE_URL", hide_env_values = true)]
    relay_database_url: Option<String>,

    /// The shop's database, as the owner of its schemas, who fills the outbox.
    #[arg(long, env = "MIGRATE_DATABASE_URL", hide_env_values = true)]
    owner_database_url: Option<String>,

    /// The process ids of the programs that are measured, as
    /// `{"temporal":1,"postgres":2,"worker":3,"starter":[4,5]}`; without it, processor time is not
    /// told.
    #[arg(long, env = "ORDERSAGA_PIDS", value_parser = programs)]
    pids: Option<Programs>,

    /// Measure a debug build all the same.
    #[arg(long)]
    allow_debug: bool,

    /// Measure a database with orders in it, or a server with open workflows, all the same.
    #[arg(long)]
    allow_used: bool,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// What is there is not measured.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// Temporal does not say how many workflows are open.
    #[error("Temporal does not say how many workflows are open: {0}")]
    Counting(String),
    /// There are no orders to measure with.
    #[error(transparent)]
    Goods(#[from] GoodsError),
    /// An order or workflow went wrong.
    #[error(transparent)]
    Spoiled(#[from] Spoiled),
    /// Ordersaga cannot be spoken to.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A request was not answered as it should be.
    #[error("a request was not answered as it should be")]
    Wire(#[from] WireError),
    /// Orders that were accepted are not on record.
    #[error("{0} orders that were accepted are not on record")]
    Lost(i64),
    /// Orders have ended otherwise than they should.
    #[error("{0} orders that were accepted have ended, and are not completed")]
    NotCompleted(i64),
    /// Orders are not carried out.
    #[error("{0} orders that were accepted have not ended, and nothing goes on")]
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
    /// Latencies cannot be counted.
    #[error("cannot count latencies")]
    Latencies(#[from] hdrhistogram::CreationError),
    /// The terminal, or a process, does not do as it should.
    #[error("cannot write to the terminal or start the benchmark's worker")]
    Process(#[from] io::Error),
    /// The benchmark's worker does not run.
    #[error("the benchmark's worker: {0}")]
    Worker(String),
    /// The relay has ended instead of delivering.
    #[error("`ordersaga relay` has ended: {0}")]
    Relay(String),
}

/// Everything that was measured.
struct Findings {
    many: Vec<(Contender, Measured)>,
    one: Vec<(Contender, Measured)>,
    bursts: Vec<(Contender, BurstCost)>,
}

/// What a burst took.
struct BurstCost {
    burst: Burst,
    footprints: Vec<Footprint>,
    /// Committed transactions for each, beyond what the idle system commits; told for what
    /// writes to the database.
    commits: Option<Decimal>,
}

/// Measures, and shows what was found. Whether the targets are reached does not matter to its
/// exit code: a slow machine is no fault.
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
    report::opening(bench, &arena, &database).await?;

    // First, because the server still tidies up long after a burst of workflows.
    reads::measured(&arena, "before any load").await?;
    say("warming up")?;
    rounds(&arena, &programs, 1, bench.many(Duration::from_secs(3))).await?;
    let one = Loop {
        at_once: 1,
        lead: Duration::from_secs(1),
        window: Duration::from_secs(bench.seconds.div_ceil(3)),
    };
    say(format_args!("one at a time: {} rounds of {} s each", bench.rounds, one.window.as_secs()))?;
    let one = rounds(&arena, &programs, bench.rounds, one).await?;
    say(format_args!(
        "{} at once: {} rounds of {} s each",
        bench.at_once, bench.rounds, bench.seconds
    ))?;
    let many = bench.many(Duration::from_secs(bench.seconds));
    let many = rounds(&arena, &programs, bench.rounds, many).await?;
    say(format_args!("{} of each at a stretch, and what they take", bench.burst))?;
    let bursts = bursts(bench, &arena, &database).await?;
    report::closing(bench, &Findings { many, one, bursts })?;
    reads::measured(&arena, "after that load").await?;
    popular::measured(&arena, bench).await?;
    relay::measured(bench, &arena, &programs).await?;
    // Last, because what it leaves to be carried out takes longest.
    accepts::measured(bench.arrivals, &arena, &programs, &database).await
}

impl Bench {
    fn many(&self, window: Duration) -> Loop {
        Loop { at_once: self.at_once, lead: Duration::from_secs(5), window }
    }
}

/// Measures each in turn, again and again: what slows the machine for a while slows them all.
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
    // The system looks around for work even when there is none; that is not the orders' doing.
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

/// How many of a burst are asked what they took of the server; they all take much the same.
const DESCRIBED: usize = 50;

fn commits_each(counted: i64, idle: i64, lasted: Duration, orders: usize) -> Option<Decimal> {
    let idle_second = Decimal::from(idle).checked_div(COUNT_DELAY.as_secs().into())?;
    let idle = idle_second.checked_mul(Decimal::from(lasted.as_secs()))?;
    let of_orders = Decimal::from(counted).checked_sub(idle)?.max(Decimal::ZERO);
    of_orders.checked_div(orders.into())
}

/// As the worker and the starter connect.
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
