//! Hours of steady load: nothing may grow but what has to.
//!
//! What lives on is judged by what it takes once it has warmed up. So in the first quarter, which is
//! not counted, everybody dies once; after it only the second worker and Postgres do, and worker,
//! starter and relay live to the end and have to do with others' deaths.

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

/// Places real orders at an even rate for as long as it is told to, while programs are killed now and
/// then, and looks again and again at the memory and files of every program, the size of every table,
/// histories and what waits; then tells what has grown.
///
/// Ends with 0 only if every accepted order has ended as it must, `ordersaga prove` holds, no program
/// of the shop's keeps growing, and no table does but those that keep what has happened.
#[derive(Clone, Args)]
pub(crate) struct Soak {
    /// How many minutes the load lasts.
    #[arg(long, env = "MINUTES", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1_440))]
    minutes: u32,

    /// Decides who dies when, and for how long. Without it, a new one.
    #[arg(long, env = "SEED")]
    seed: Option<u64>,

    /// By how many percent of what it takes a program's memory may grow in an hour and still be flat.
    #[arg(long, default_value_t = 5)]
    flat_percent: u32,

    /// By how many MB it may, whatever it takes.
    #[arg(long, default_value_t = 16)]
    flat_mb: u32,

    #[command(flatten)]
    ground: GroundArgs,
}

/// So many orders at most: the most popular article of the data then lasts.
const ORDERS_MAX: u32 = 200_000;

/// What is asked of the launcher's programs, by their names.
type Pids = BTreeMap<String, u32>;

/// Where every program is at this moment; it moves with each death.
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

    /// One is dead, and has no process.
    fn died(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn is_up(&self, name: &str, pid: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), pid);
    }
}

/// What was seen while the load lasted.
struct Seen {
    samples: Vec<Sample>,
    /// Every table's rows once the first quarter is over, and at the end.
    rows: (Rows, Rows),
}

impl Soak {
    /// Runs it; whether everything that was promised held.
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

/// What the shop is put under.
struct Load {
    per_second: u32,
    length: Duration,
    deaths: Vec<Fault>,
}

/// Has customers order, programs die and everything looked at, until the load is over.
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
        Box::pin(carry_out(launcher, programs, deaths)),
        Box::pin(look_until(ground, programs, length, until_enough)),
    );
    died?;
    Ok((seen?, asked?))
}

const SAYS_EVERY: Duration = Duration::from_mins(1);

/// Kills and starts, as planned; all are up when this returns.
async fn carry_out(
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
            let pid = launcher.start(*program).await?;
            programs.is_up(program.name(), pid);
        }
    }
    Ok(())
}

/// Looks at everything again and again.
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
