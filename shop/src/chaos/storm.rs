//! The storm: places orders while processes are killed again and again, and checks the results.

mod report;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Utc};
use clap::Args;
use domain::ProviderName;
use tokio::sync::{Mutex, oneshot};
use tokio::time::sleep;
use uuid::Uuid;

use super::customers::{Asked, Customers, new_seed};
use super::faults::{Fault, schedule};
use super::hearers::Hearers;
use super::launcher::{Launcher, OF_ORDERS, Program};
use super::records::{Happened, Records, RecordsError};
use super::recovery::{Death, Life, recoveries};
use super::{ChaosError, Ground, checks};
use crate::ordersaga::Ordersaga;
use crate::prove::prove_with;
use crate::screen::say;

/// The duration of the storm, and its seed.
#[derive(Clone, Debug, Args)]
pub(crate) struct Storm {
    /// Seconds during which programs are killed
    #[arg(long, env = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(10..))]
    seconds: u64,

    /// Determines which program is killed when, and for how long; the same seed reproduces a run.
    /// By default a new one
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
}

impl Storm {
    /// Runs the storm. Returns whether all guarantees held.
    pub(super) async fn run(
        &self,
        ground: &Ground,
        launcher: &mut Launcher,
    ) -> Result<bool, ChaosError> {
        let seed = self.seed.unwrap_or_else(new_seed);
        let length = Duration::from_secs(self.seconds);
        let hearers = Hearers::reach(ground).await?;
        // Kills that do not affect orders are planned separately: the time until orders continue is
        // measured after the others.
        let plans = Plans {
            of_orders: schedule(seed, length, &OF_ORDERS),
            of_hearers: schedule(!seed, length, &hearers.programs()),
        };
        report::opening(self, ground, seed, plans.deaths())?;

        let provider = &ground.provider;
        provider.begins_to_fail(self.orders(ground.per_second)).await?;
        let (deaths, of_hearers, asked) = strike(ground, launcher, plans, length).await?;
        say("everything is up again; waiting until every order has ended")?;
        let statuses = ground.until_ended().await?;
        provider.goes_well().await?;

        let broker_back = last_start(&of_hearers, Program::Broker);
        let (told, inbox) = Box::pin(hearers.checks(ground, broker_back)).await?;
        let held = checks::after_storm(ground, &asked, &statuses, told).await?;
        let paid = provider.account(&statuses).await?;
        // With other providers, orders also wait for their customers, or for planned faults.
        let is_measured = provider.name() == ProviderName::Sandbox;
        let soon = if is_measured {
            let lives = lives(&ground.records, &asked).await?;
            Some(report::recovery(&recoveries(&deaths, &lives))?)
        } else {
            None
        };
        let proven = prove_with(inbox.as_deref()).await?;
        let verdict = Verdict { held, paid, soon, proven };
        report::closing(seed, verdict)?;
        Ok(verdict.is_well())
    }

    /// The maximum number of orders placed during the storm.
    fn orders(&self, per_second: u32) -> usize {
        let orders = self.seconds.saturating_mul(per_second.into());
        usize::try_from(orders).unwrap_or(usize::MAX)
    }
}

/// The planned kills.
struct Plans {
    of_orders: Vec<Fault>,
    of_hearers: Vec<Fault>,
}

impl Plans {
    const fn deaths(&self) -> usize {
        self.of_orders.len().saturating_add(self.of_hearers.len())
    }
}

/// The last restart of a program, if it was killed.
fn last_start(deaths: &[Death], whose: Program) -> Option<DateTime<Utc>> {
    let deaths = deaths.iter().filter(|death| death.programs.contains(&whose));
    deaths.map(|death| death.started_at).max()
}

/// The results.
#[derive(Clone, Copy)]
struct Verdict {
    held: bool,
    /// By the provider's own records.
    paid: bool,
    /// Whether orders continued soon enough after each kill, if that is measured.
    soon: Option<bool>,
    proven: bool,
}

impl Verdict {
    const fn is_well(self) -> bool {
        self.held && self.paid && self.proven && !matches!(self.soon, Some(false))
    }
}

/// Kills programs while customers order and pay. Returns the kills that affect orders, those of
/// relay and receivers, and the requests.
async fn strike(
    ground: &Ground,
    launcher: &mut Launcher,
    plans: Plans,
    length: Duration,
) -> Result<(Vec<Death>, Vec<Death>, Vec<Asked>), ChaosError> {
    let customers = match ground.provider.name() {
        ProviderName::Sandbox | ProviderName::Stripe => {
            let hasty = Some(Ordersaga::at(&ground.api, Duration::ZERO)?);
            Customers { hasty, ..ground.customers() }
        }
        // A customer transfers money only for an order that they know of.
        ProviderName::BankTransfer => ground.customers(),
    };
    let (enough, until_enough) = oneshot::channel::<()>();
    let ordering = async {
        let asked = customers.order_until(sleep(length)).await;
        drop(enough);
        asked
    };
    let until_enough = async { until_enough.await.unwrap_or_default() };
    let (launcher, began) = (Mutex::new(launcher), Instant::now());
    let (deaths, of_hearers, asked, worked) = tokio::join!(
        carry_out(&launcher, plans.of_orders, began),
        carry_out(&launcher, plans.of_hearers, began),
        Box::pin(ordering),
        Box::pin(ground.provider.work_until(until_enough)),
    );
    worked?;
    Ok((deaths?, of_hearers?, asked?))
}

/// Kills and restarts programs by the plan; all are up when this returns.
async fn carry_out(
    launcher: &Mutex<&mut Launcher>,
    faults: Vec<Fault>,
    began: Instant,
) -> Result<Vec<Death>, ChaosError> {
    let mut deaths = Vec::new();
    for Fault { at, programs, down } in faults {
        sleep(at.saturating_sub(began.elapsed())).await;
        let mut pids = Vec::new();
        for program in &programs {
            let pid = launcher.lock().await.kill(*program).await?;
            pids.push(format!("{} (pid {pid})", program.name()));
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
            launcher.lock().await.start(*program).await?;
        }
        deaths.push(Death { programs, killed_at, started_at: DateTime::from(SystemTime::now()) });
    }
    Ok(deaths)
}

/// The times of orders whose plan has no waits, so that only a kill can have delayed them.
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
