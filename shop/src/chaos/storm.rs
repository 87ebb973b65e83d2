//! Orders while everything is killed again and again, and what came of them.

mod report;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use chrono::DateTime;
use clap::Args;
use tokio::time::sleep;
use uuid::Uuid;

use super::customers::{Asked, Customers, new_seed};
use super::faults::{Fault, schedule};
use super::launcher::Launcher;
use super::records::{Happened, Records, RecordsError};
use super::recovery::{Death, Life, recoveries};
use super::{ChaosError, Ground, checks};
use crate::ordersaga::Ordersaga;
use crate::prove::prove;
use crate::screen::say;

/// How long everything is killed, and when.
#[derive(Clone, Debug, Args)]
pub(crate) struct Storm {
    /// How many seconds the killing goes on.
    #[arg(long, env = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(10..))]
    seconds: u64,

    /// Decides who dies when, and for how long: the same seed, the same deaths. Without it, a
    /// new one.
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
}

impl Storm {
    /// Runs it; whether everything that was promised held.
    pub(super) async fn run(
        &self,
        ground: &Ground,
        launcher: &mut Launcher,
    ) -> Result<bool, ChaosError> {
        let seed = self.seed.unwrap_or_else(new_seed);
        let length = Duration::from_secs(self.seconds);
        let faults = schedule(seed, length);
        report::opening(self, ground.per_second, seed, faults.len())?;

        let hasty = Some(Ordersaga::at(&ground.api, Duration::ZERO)?);
        let customers = Customers { hasty, ..ground.customers() };
        let killing = carry_out(launcher, faults, Instant::now());
        let (deaths, asked) = tokio::join!(killing, customers.order_until(sleep(length)));
        let (deaths, asked) = (deaths?, asked?);
        say("everything is up again; waiting until every order has ended")?;
        let statuses = ground.until_ended().await?;

        let held = checks::after_storm(&ground.shop, &ground.records, &asked, &statuses).await?;
        let soon = report::recovery(&recoveries(&deaths, &lives(&ground.records, &asked).await?))?;
        let proven = prove().await?;
        report::closing(seed, held, soon, proven)?;
        Ok(held && soon && proven)
    }
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

/// The lives of the orders whose plan has no waits of its own, so that only a death can have
/// held them up.
async fn lives(records: &Records, asked: &[Asked]) -> Result<BTreeMap<Uuid, Life>, RecordsError> {
    let mut lives = BTreeMap::<Uuid, Life>::new();
    for asked in asked {
        if let Some(id) = asked.order_id().filter(|_| !asked.planned.twist.waits()) {
            lives.entry(id).or_default().accepted_at = Some(asked.answered_at);
        }
    }
    for Happened { order_id, at, .. } in records.events().await? {
        if let Some(life) = lives.get_mut(&order_id) {
            life.events.push(at);
        }
    }
    Ok(lives)
}
