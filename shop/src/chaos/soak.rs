//! Hours of steady load: nothing may grow that is not meant to.
//!
//! A long-lived process is judged by its growth after warm-up. So in the first quarter, which is
//! not counted, every program is killed once; afterwards only the second worker and Postgres are,
//! while worker, starter and relay live to the end and experience the others' restarts.

mod capacity;
mod plan;
mod processes;
mod report;
mod sample;
mod slope;
mod tables;

use std::collections::BTreeMap;
use std::env;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::customers::{Asked, Customers, new_seed};
use super::faults::Fault;
use super::ground::{Ground, GroundArgs};
use super::hearers::Hearers;
use super::launcher::Launcher;
use super::{ChaosError, checks};
use crate::prove::prove;
use crate::screen::say;
use report::Judged;
use sample::{Rows, Sample};

/// Places real orders at a constant rate while programs are occasionally killed, and samples memory
/// and files of every program, the size of every table, histories and backlogs; then reports what
/// has grown.
///
/// Exits with 0 only if every accepted order has ended correctly, `ordersaga prove` holds, none of
/// the shop's programs keeps growing, and no table grows except those that keep history.
#[derive(Clone, Args)]
pub(crate) struct Soak {
    /// Minutes of load
    #[arg(long, env = "MINUTES", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1_440))]
    minutes: u32,

    /// Determines which program is killed when, and for how long. By default a new one
    #[arg(long, env = "SEED")]
    seed: Option<u64>,

    /// Maximum growth of a program's memory per hour, in percent, that still counts as flat
    #[arg(long, default_value_t = 5)]
    flat_percent: u32,

    /// Maximum growth in MB per hour that still counts as flat, whatever the program's size
    #[arg(long, default_value_t = 16)]
    flat_mb: u32,

    #[command(flatten)]
    ground: GroundArgs,
}

/// Maximum number of orders, for which the most popular article is in stock.
const ORDERS_MAX: u32 = 200_000;

/// The process ids of the launcher's programs, by name.
type Pids = BTreeMap<String, u32>;

/// The current process of every program; a restart changes it.
struct Programs(Mutex<Pids>);

impl Programs {
    fn from_env() -> Result<Self, ChaosError> {
        let pids = env::var("ORDERSAGA_PIDS").ok();
        let pids = pids.and_then(|pids| serde_json::from_str(&pids).ok());
        pids.map(|pids| Self(Mutex::new(pids))).ok_or(ChaosError::NoPids)
    }

    fn now(&self) -> Pids {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A killed program has no process.
    fn died(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn is_up(&self, name: &str, pid: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), pid);
    }
}

/// What was observed during the load.
struct Seen {
    samples: Vec<Sample>,
    /// Every table's rows after the first quarter, and at the end.
    rows: (Rows, Rows),
}

impl Soak {
    /// Runs the soak. Returns whether all guarantees held.
    pub(crate) async fn run(&self) -> Result<bool, ChaosError> {
        if !processes::can_be_seen() {
            return Err(ChaosError::NoProcesses);
        }
        let (mut launcher, programs) = (Launcher::reach()?, Programs::from_env()?);
        let ground = Ground::of(&self.ground).await?;
        let length = Duration::from_secs(u64::from(self.minutes).saturating_mul(60));
        let (per_second, mut asked) = match self.ground.per_second {
            Some(per_second) => (per_second, Vec::new()),
            None => capacity::half(&ground).await?,
        };
        self.refuse_too_many(per_second)?;
        let hearers = Hearers::reach(&ground).await?;
        let seed = self.seed.unwrap_or_else(new_seed);
        let deaths = plan::deaths(seed, length);
        report::opening(self, per_second, seed, &deaths)?;

        let (samples, ordered) =
            last(&ground, &mut launcher, &programs, Load { per_second, length, deaths }).await?;
        asked.extend(ordered);
        say("the load is over; waiting until every order has ended")?;
        let statuses = ground.until_ended().await?;
        let (told, _inbox) = Box::pin(hearers.checks(&ground, None)).await?;
        let held = checks::after_storm(&ground, &asked, &statuses, told).await?;
        let judged = report::growth(self, length, &samples)?;
        let proven = prove().await?;
        report::closing(seed, held, judged, proven)?;
        Ok(held && proven && judged != Judged::Grows)
    }

    fn refuse_too_many(&self, per_second: u32) -> Result<(), ChaosError> {
        let orders = self.minutes.saturating_mul(60).saturating_mul(per_second);
        if orders > ORDERS_MAX {
            return Err(ChaosError::TooManyOrders { orders, at_most: ORDERS_MAX });
        }
        Ok(())
    }
}

/// The load.
struct Load {
    per_second: u32,
    length: Duration,
    deaths: Vec<Fault>,
}

/// Runs customers, kills and sampling until the load is over.
async fn last(
    ground: &Ground,
    launcher: &mut Launcher,
    programs: &Programs,
    load: Load,
) -> Result<(Seen, Vec<Asked>), ChaosError> {
    let Load { per_second, length, deaths } = load;
    let lasts_seconds = u32::try_from(length.as_secs()).unwrap_or(u32::MAX);
    let customers =
        Customers { per_second, lasts_seconds, says_every: SAYS_EVERY, ..ground.customers() };
    let (enough, until_enough) = oneshot::channel::<()>();
    let ordering = async {
        let asked = customers.order_until(sleep(length)).await;
        drop(enough);
        asked
    };
    let (asked, died, seen) = tokio::join!(
        Box::pin(ordering),
        Box::pin(carry_out(ground, launcher, programs, deaths)),
        Box::pin(look_until(ground, programs, length, until_enough)),
    );
    died?;
    Ok((seen?, asked?))
}

const SAYS_EVERY: Duration = Duration::from_mins(1);

/// Kills and restarts programs by the plan; all are up when this returns.
async fn carry_out(
    ground: &Ground,
    launcher: &mut Launcher,
    programs: &Programs,
    deaths: Vec<Fault>,
) -> Result<(), ChaosError> {
    let began = Instant::now();
    for Fault { at, programs: who, down } in deaths {
        sleep(at.saturating_sub(began.elapsed())).await;
        for program in &who {
            programs.died(program.name());
            let pid = launcher.kill(*program).await?;
            say(format_args!(
                "{:>5} s  kill -9 {} (pid {pid}), down for {} ms",
                at.as_secs(),
                program.name(),
                down.as_millis(),
            ))?;
        }
        sleep(at.saturating_add(down).saturating_sub(began.elapsed())).await;
        for program in &who {
            launcher.start(*program).await?;
        }
        // Postgres refuses to start while a process of the killed server still lives; then the
        // launcher starts it again.
        ground.until_postgres_answers().await?;
        for program in &who {
            programs.is_up(program.name(), launcher.pid(*program).await?);
        }
    }
    Ok(())
}

/// Takes samples repeatedly.
async fn look_until(
    ground: &Ground,
    programs: &Programs,
    length: Duration,
    mut enough: oneshot::Receiver<()>,
) -> Result<Seen, ChaosError> {
    let (began, mut samples, mut first_rows) = (Instant::now(), Vec::new(), None);
    let mut due = tokio::time::interval(sample::every(length));
    loop {
        tokio::select! {
            _ = &mut enough => break,
            _ = due.tick() => {}
        }
        let sample = Sample::take(ground, programs.now(), began.elapsed()).await;
        report::line(&sample)?;
        if first_rows.is_none() && sample.at >= plan::quarter(length) {
            first_rows = sample::rows(ground).await;
        }
        samples.push(sample);
    }
    // Postgres has been up for a while by now.
    let last_rows = sample::rows(ground).await.unwrap_or_default();
    Ok(Seen { samples, rows: (first_rows.unwrap_or_default(), last_rows) })
}
