//! Orders while everything is killed again and again, and what came of them.

mod checks;
mod report;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Utc};
use clap::Args;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use super::ChaosError;
use super::faults::{Fault, schedule};
use super::launcher::Launcher;
use super::records::{Records, RecordsError};
use super::recovery::{Death, Life, recoveries};
use crate::ordersaga::{Answered, ApiArgs, ApiError, Order, Ordersaga};
use crate::plan::{Planned, Twist};
use crate::prove::prove;
use crate::retail::RetailOrders;
use crate::screen::say;

/// Places real orders without a pause while workers, starter, Postgres and Temporal are killed
/// and started again, then looks at what came of them.
///
/// Ends with 0 only if nothing is lost, doubled, stuck or out of balance, and orders went on soon
/// enough after each death.
#[derive(Clone, Debug, Args)]
pub(crate) struct Storm {
    /// How many seconds the killing goes on.
    #[arg(long, env = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(10..))]
    seconds: u64,

    /// Decides who dies when, and for how long: the same seed, the same deaths. Without it, a
    /// new one.
    #[arg(long, env = "SEED")]
    seed: Option<u64>,

    /// How many orders are placed a second.
    #[arg(long, env = "PER_SECOND", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    per_second: u32,

    #[command(flatten)]
    api: ApiArgs,

    /// The shop's database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,

    /// How many seconds to repeat a request that nobody answers, and to wait for the next order
    /// to end.
    #[arg(long, default_value_t = 120)]
    patience_seconds: u64,
}

/// A request, and what was heard of it.
#[derive(Debug)]
struct Asked {
    planned: Planned,
    key: String,
    accepted: Result<Answered<Order>, ApiError>,
    /// When the shop heard of it.
    answered_at: DateTime<Utc>,
    /// What else went wrong on the shop's side.
    trouble: Option<String>,
}

impl Storm {
    /// Runs it; whether everything that was promised held.
    pub(crate) async fn run(&self) -> Result<bool, ChaosError> {
        let mut launcher = Launcher::reach()?;
        let records = Records::at(&self.database_url).await?;
        let seed = self.seed.unwrap_or_else(new_seed);
        let length = Duration::from_secs(self.seconds);
        let faults = schedule(seed, length);
        report::opening(self, seed, faults.len())?;

        let began = Instant::now();
        let (sender, receiver) = unbounded_channel();
        let killing = carry_out(&mut launcher, faults, began);
        let placing = self.place_all(length, sender);
        let watching = until_heard(receiver, began);
        let (deaths, placed, asked) = tokio::join!(killing, placing, watching);
        let (deaths, asked) = (deaths?, asked?);
        placed?;
        say("everything is up again; waiting until every order has ended")?;
        let patience = Duration::from_secs(self.patience_seconds);
        let statuses = until_ended(&records, patience).await?;

        let shop = Ordersaga::at(&self.api, patience)?;
        let held = checks::all(&shop, &records, &asked, &statuses).await?;
        let soon = report::recovery(&recoveries(&deaths, &lives(&records, &asked).await?))?;
        let proven = prove().await?;
        report::closing(seed, held, soon, proven)?;
        Ok(held && soon && proven)
    }

    /// Places orders at an even pace until the end, whoever is down.
    async fn place_all(
        &self,
        length: Duration,
        heard: UnboundedSender<Asked>,
    ) -> Result<(), ChaosError> {
        let began = Instant::now();
        let patient = Ordersaga::at(&self.api, Duration::from_secs(self.patience_seconds))?;
        let hasty = Ordersaga::at(&self.api, Duration::ZERO)?;
        let many = usize::try_from(self.seconds).unwrap_or(usize::MAX);
        let many = many.saturating_mul(usize::try_from(self.per_second).unwrap_or(usize::MAX));
        let orders = RetailOrders::read(None, many)?.orders;
        let run = format!("{:x}", new_seed());
        let mut pace =
            interval(Duration::from_secs(1).checked_div(self.per_second).unwrap_or_default());
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for (position, order) in orders {
            pace.tick().await;
            if began.elapsed() >= length {
                break;
            }
            let planned = Planned::of(position, order);
            let key = format!("chaos-{run}-{}", planned.invoice);
            let walks_away = position.checked_rem(WALKS_AWAY_ONE_IN) == Some(7);
            let shop = if walks_away { hasty.clone() } else { patient.clone() };
            tokio::spawn(place(shop, planned, key, heard.clone()));
        }
        Ok(())
    }
}

/// One customer in so many does not ask again when no answer comes.
const WALKS_AWAY_ONE_IN: usize = 10;

async fn place(shop: Ordersaga, planned: Planned, key: String, heard: UnboundedSender<Asked>) {
    let accepted = shop.place(&key, &planned.request).await;
    let answered_at = DateTime::from(SystemTime::now());
    let mut trouble = None;
    if let (Ok(placed), Twist::Cancelled) = (&accepted, planned.twist) {
        let cancelled = shop.cancel(&placed.answer.id, "the customer has changed their mind").await;
        trouble = cancelled.err().map(|error| error.to_string());
    }
    // Whoever counts the answers listens until all are heard.
    let told = heard.send(Asked { planned, key, accepted, answered_at, trouble });
    debug_assert!(told.is_ok(), "an order was placed and not counted");
}

/// Kills and starts, as planned; all are up when this returns.
async fn carry_out(
    launcher: &mut Launcher,
    faults: Vec<Fault>,
    began: Instant,
) -> Result<Vec<Death>, ChaosError> {
    let mut deaths = Vec::new();
    for Fault { at, programs, down } in faults {
        sleep(at.saturating_sub(began.elapsed())).await;
        let mut pids = Vec::new();
        for program in &programs {
            pids.push(format!("{} (pid {})", program.name(), launcher.kill(*program).await?));
        }
        let killed_at = DateTime::from(SystemTime::now());
        say(format_args!(
            "{:>5.1} s  kill -9 {}, down for {:.1} s",
            at.as_secs_f32(),
            pids.join(" and "),
            down.as_secs_f32(),
        ))?;
        sleep(at.saturating_add(down).saturating_sub(began.elapsed())).await;
        for program in &programs {
            launcher.start(*program).await?;
        }
        deaths.push(Death { programs, killed_at, started_at: DateTime::from(SystemTime::now()) });
    }
    Ok(deaths)
}

/// Every request that was sent, once each has been answered or given up.
async fn until_heard(
    mut receiver: UnboundedReceiver<Asked>,
    began: Instant,
) -> Result<Vec<Asked>, ChaosError> {
    let mut asked = Vec::<Asked>::new();
    let mut lines = interval(LINE_INTERVAL);
    lines.tick().await;
    loop {
        tokio::select! {
            heard = receiver.recv() => match heard {
                Some(heard) => asked.push(heard),
                None => return Ok(asked),
            },
            _ = lines.tick() => {
                let accepted = asked.iter().filter(|asked| asked.accepted.is_ok()).count();
                say(format_args!(
                    "{:>5.1} s  {} requests answered, {accepted} of them accepted",
                    began.elapsed().as_secs_f32(),
                    asked.len(),
                ))?;
            }
        }
    }
}

const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Waits until no order is open any more, or none has ended for as long as the patience.
async fn until_ended(
    records: &Records,
    patience: Duration,
) -> Result<BTreeMap<Uuid, String>, RecordsError> {
    let (mut open_before, mut last_end) = (usize::MAX, Instant::now());
    loop {
        let statuses = records.statuses().await?;
        let workflows = records.workflows().await?;
        let open = workflows.values().filter(|open| **open).count();
        let missing = workflows.keys().filter(|order| !statuses.contains_key(order)).count();
        if open < open_before {
            (open_before, last_end) = (open, Instant::now());
        }
        if open.saturating_add(missing) == 0 || last_end.elapsed() > patience {
            return Ok(statuses);
        }
        sleep(BETWEEN_LOOKS).await;
    }
}

const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// The lives of the orders whose plan has no waits of its own, so that only a death can have
/// held them up.
async fn lives(records: &Records, asked: &[Asked]) -> Result<BTreeMap<Uuid, Life>, RecordsError> {
    let mut lives = BTreeMap::<Uuid, Life>::new();
    for asked in asked {
        if let Some(id) = asked.order_id().filter(|_| !asked.planned.twist.waits()) {
            lives.entry(id).or_default().accepted_at = Some(asked.answered_at);
        }
    }
    for (order, at) in records.events().await? {
        if let Some(life) = lives.get_mut(&order) {
            life.events.push(at);
        }
    }
    Ok(lives)
}

impl Asked {
    /// The order that the shop was told of.
    fn order_id(&self) -> Option<Uuid> {
        self.accepted.as_ref().ok().and_then(|placed| placed.answer.id.parse().ok())
    }
}

/// Another one each second, and short enough to be typed.
fn new_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_secs()
}
