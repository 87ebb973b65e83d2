//! Chaos tests of a Temporal cluster: faults of its nodes, its database and the network, and a
//! rolling upgrade of the programs, one after another, while orders are placed.

mod course;
mod tally;

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use clap::{ArgAction, Args};
use strum::IntoEnumIterator as _;
use tokio::time::sleep;

use super::ChaosError;
use super::checks::{self, Check};
use super::customers::Asked;
use super::disasters::commands::{Recovered, prove, recover};
use super::disasters::{now, whether};
use super::ground::{Ground, GroundArgs};
use super::hangs::{usual, while_orders_come_in};
use super::launcher::{Launcher, LauncherError};
use super::records::Happened;
use super::stalls::{Span, between};
use crate::screen::{heading, say};
use course::{Course, Fault, Step};
use tally::Row;

/// How long orders are still placed after a fault, to see when they continue.
const AFTER: Duration = Duration::from_secs(15);

/// The time limit for a restarted node to rejoin.
const WHOLE_WITHIN: Duration = Duration::from_mins(1);

/// Longer than a node needs to hand over its shards.
const BETWEEN_NODES: Duration = Duration::from_secs(5);

const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Places real orders continuously while faults are injected into a Temporal cluster, one by one,
/// and reports the results for each.
///
/// Exits with 0 only if after each fault every accepted order has ended correctly, none was lost,
/// duplicated or rejected, the cluster is complete again, and `ordersaga prove` holds.
#[derive(Clone, Args)]
pub(crate) struct ClusterChaos {
    /// Only these faults, separated by commas. By default all, one after another
    #[arg(long, env = "FAULT", value_enum, value_delimiter = ',')]
    faults: Vec<Fault>,

    /// The network can be cut, because each node has its own network namespace
    #[arg(long, env = "ORDERSAGA_CLUSTER_CAN_BE_CUT", action = ArgAction::Set, default_value_t = false)]
    can_be_cut: bool,

    /// The running programs are those of an earlier release
    #[arg(long, env = "ORDERSAGA_UPGRADES", action = ArgAction::Set, default_value_t = false)]
    upgrades: bool,

    /// Number of starters
    #[arg(long, env = "ORDERSAGA_STARTERS", default_value_t = 1)]
    starters: usize,

    #[command(flatten)]
    ground: GroundArgs,
}

/// The timing and immediate results of a fault.
struct Struck {
    /// From the fault's first step to its last.
    fault: Span,
    /// From its first step until no more orders were placed.
    watched: Span,
    /// The output of `ordersaga recover`, if it was part of the fault.
    recovered: Option<Recovered>,
}

impl ClusterChaos {
    /// Runs the faults. Returns whether all guarantees held.
    pub(crate) async fn run(&self) -> Result<bool, ChaosError> {
        let faults = self.played()?;
        if faults.is_empty() {
            return Err(ChaosError::NothingToPlay);
        }
        let mut launcher = Launcher::reach()?;
        let ground = Ground::of(&self.ground).await?;
        let (mut held, mut rows) = (true, Vec::new());
        for fault in faults {
            let course = fault.course(self.starters);
            let row = Box::pin(play(&ground, &mut launcher, fault, &course)).await?;
            held &= row.is_well();
            rows.push(row);
        }
        tally::table(&rows)?;
        Ok(held)
    }

    /// The requested faults that can be injected here; prints why the others cannot.
    fn played(&self) -> Result<Vec<Fault>, ChaosError> {
        let mut played = Vec::new();
        for fault in Fault::iter().filter(|one| self.faults.is_empty() || self.faults.contains(one))
        {
            match self.why_not(fault) {
                Some(why_not) => say(format_args!("NOT PLAYED: {}: {why_not}", fault.told()))?,
                None => played.push(fault),
            }
        }
        Ok(played)
    }

    fn why_not(&self, fault: Fault) -> Option<&'static str> {
        match fault {
            Fault::Upgrade => {
                (!self.upgrades).then_some("name the earlier release's commit in UPGRADE_FROM")
            }
            Fault::HostCutOff | Fault::TwoHostsCut => (!self.can_be_cut)
                .then_some("the nodes have no namespaces of their own; the launcher has said why"),
            Fault::NodeKilled
            | Fault::NodeLost
            | Fault::NodeHangs
            | Fault::AllNodesKilled
            | Fault::TemporalPostgresKilled
            | Fault::ShopPostgresKilled
            | Fault::RollingRestart
            | Fault::TemporalPostgresSetBack => None,
        }
    }
}

async fn play(
    ground: &Ground,
    launcher: &mut Launcher,
    fault: Fault,
    course: &Course,
) -> Result<Row, ChaosError> {
    heading(format_args!("{}, while {} orders a second come in", fault.told(), ground.per_second))?;
    let striking = strike(ground, launcher, &course.steps);
    let (asked, struck) = Box::pin(while_orders_come_in(ground, striking)).await?;
    say("waiting until every order has ended")?;
    until_records_answer(ground).await?;
    let statuses = ground.until_ended().await?;
    let mut found = Vec::from(usual(ground, &asked, &statuses).await);
    let ended_otherwise = found.get(AS_PLANNED).map_or(0, |check| check.complaints.len());
    found.push(whole(launcher, course.members).await?);
    if let Some(recovered) = &struck.recovered {
        found.extend(settled(recovered, &recover().await?));
    }
    for step in &course.afterwards {
        carry_out(ground, launcher, step, Instant::now()).await?;
    }
    if !course.afterwards.is_empty() {
        found.push(whole(launcher, NODES).await?);
    }
    let events = ground.records.events().await?;
    let held = checks::show(&found)?;
    let proven = prove().await?.is_content;
    Ok(row(fault, &struck, &asked, &events, (ended_otherwise, held, proven)))
}

/// The number of nodes.
const NODES: u32 = 3;

/// The index of the check that compares each order's end with its plan.
const AS_PLANNED: usize = 3;

async fn strike(
    ground: &Ground,
    launcher: &mut Launcher,
    steps: &[Step],
) -> Result<Struck, ChaosError> {
    let (from, began, mut recovered) = (now(), Instant::now(), None);
    for step in steps {
        let said = carry_out(ground, launcher, step, began).await?;
        recovered = said.or(recovered);
    }
    let to = now();
    say(format_args!("{:>5.1} s  it is over", began.elapsed().as_secs_f32()))?;
    sleep(AFTER).await;
    Ok(Struck { fault: Span { from, to }, watched: Span { from, to: now() }, recovered })
}

/// Performs a step; returns the output of `recover`, if that was the step.
async fn carry_out(
    ground: &Ground,
    launcher: &mut Launcher,
    step: &Step,
    began: Instant,
) -> Result<Option<Recovered>, ChaosError> {
    match *step {
        Step::Wish(wish, whom) => {
            let pid = launcher.ask(wish, whom).await?;
            let at = began.elapsed().as_secs_f32();
            say(format_args!("{at:>5.1} s  {wish} {whom} (pid {pid})"))?;
            Ok(None)
        }
        Step::Wait(time) => {
            sleep(time).await;
            Ok(None)
        }
        Step::Recover => {
            until_records_answer(ground).await?;
            ground.until_a_worker_serves().await?;
            Ok(Some(recover().await?))
        }
    }
}

/// Waits until the records in Postgres and Temporal can be read.
async fn until_records_answer(ground: &Ground) -> Result<(), ChaosError> {
    let began = Instant::now();
    loop {
        let postgres = ground.records.statuses().await;
        let (Ok(_), Ok(_)) = (postgres, ground.records.workflows().await) else {
            if began.elapsed() > ground.patience {
                let (what, seconds) = ("Postgres and Temporal answer", ground.patience.as_secs());
                return Err(ChaosError::Never { what, seconds });
            }
            sleep(BETWEEN_LOOKS).await;
            continue;
        };
        return Ok(());
    }
}

/// Checks that every membership ring of the cluster has this many members. A node that came back in
/// a ring of its own stays alone until it is restarted, as an operator would do then.
async fn whole(launcher: &mut Launcher, members: u32) -> Result<Check, ChaosError> {
    let mut seen = until_whole(launcher, members).await?;
    let mut looked_at = format!("{seen} of {members} nodes");
    if seen != members {
        say(format_args!("only {looked_at} in a ring: each node is restarted, one by one"))?;
        for node in course::NODES {
            launcher.ask("restart", node).await?;
            sleep(BETWEEN_NODES).await;
        }
        seen = until_whole(launcher, members).await?;
        looked_at = format!("{seen} of {members} nodes, after each was restarted");
    }
    Ok(whether("the cluster is whole", looked_at, seen == members))
}

async fn until_whole(launcher: &mut Launcher, members: u32) -> Result<u32, ChaosError> {
    let began = Instant::now();
    loop {
        let seen = match launcher.ask("count-members", "temporal").await {
            Ok(seen) => seen,
            // No node answers yet.
            Err(LauncherError::Refused { .. }) => 0,
            Err(error) => return Err(error.into()),
        };
        if seen == members || began.elapsed() > WHOLE_WITHIN {
            return Ok(seen);
        }
        sleep(BETWEEN_LOOKS).await;
    }
}

fn settled(recovered: &Recovered, again: &Recovered) -> [Check; 2] {
    [
        whether(
            "`recover` leaves nothing unsettled",
            format!("{} launched again", recovered.launched.len()),
            recovered.is_content,
        ),
        whether(
            "a second `recover` finds nothing to do",
            format!("{} launched again", again.launched.len()),
            again.is_content && again.launched.is_empty(),
        ),
    ]
}

fn row(
    fault: Fault,
    struck: &Struck,
    asked: &[Asked],
    events: &[Happened],
    (ended_otherwise, held, proven): (usize, bool, bool),
) -> Row {
    let ends = || events.iter().filter(|one| one.is_end());
    let ended_at = |one: &Asked| {
        let order = one.order_id()?;
        ends().find(|end| end.order_id == order).map(|end| end.at)
    };
    let plain = asked.iter().filter(|one| !one.planned.twist.waits());
    let took = plain.filter_map(|one| Some(between(sent_at(one)?, ended_at(one)?)));
    let accepted = asked.iter().filter(|one| one.accepted.is_ok()).count();
    let again = asked.iter().filter_map(|one| Some(one.accepted.as_ref().ok()?.repeats));
    Row {
        fault: fault.told(),
        down: struck.fault.length(),
        accepted,
        ended: accepted.saturating_sub(ended_otherwise),
        worst: took.max().unwrap_or_default(),
        none_ended_for: struck.watched.longest_gap(ends().map(|end| end.at)),
        asked_again: again.fold(0, u32::saturating_add),
        held,
        proven,
    }
}

/// When the customer's first request was sent.
fn sent_at(asked: &Asked) -> Option<DateTime<Utc>> {
    let took = chrono::TimeDelta::from_std(asked.accepted.as_ref().ok()?.took).ok()?;
    asked.answered_at.checked_sub_signed(took)
}
