//! Temporal is stopped for a minute while orders are placed.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::try_join;
use tokio::sync::oneshot;
use tokio::time::sleep;
use uuid::Uuid;

use super::{about, accepted_at_once, now};
use crate::chaos::checks::{self, Check};
use crate::chaos::customers::Asked;
use crate::chaos::launcher::{Launcher, Program};
use crate::chaos::records::{Happened, Records};
use crate::chaos::{ChaosError, Ground};
use crate::prove::prove;
use crate::screen::{heading, say};

const STOPPED: Duration = Duration::from_mins(1);
const BEFORE_AND_AFTER: Duration = Duration::from_secs(5);

/// The time limit of a launch: one begun so long before Temporal is back has failed by then.
const LAUNCH_LASTS: TimeDelta = TimeDelta::seconds(6);

/// How soon the first waiting order has to continue.
const FIRST_WITHIN: Duration = Duration::from_secs(10);

/// When Temporal was killed and restarted.
struct Stopped {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

pub(in crate::chaos) async fn run(
    ground: &Ground,
    launcher: &mut Launcher,
) -> Result<bool, ChaosError> {
    heading(format_args!(
        "Temporal is stopped for {} s while {} orders a second come in",
        STOPPED.as_secs(),
        ground.per_second
    ))?;
    let (enough, until_enough) = oneshot::channel::<()>();
    let customers = ground.customers();
    let ordering = customers.order_until(async { until_enough.await.unwrap_or_default() });
    let (asked, stopped) = try_join!(ordering, stop_temporal(launcher, enough))?;
    say("waiting until every order has ended")?;
    let statuses = ground.until_ended().await?;

    let held = checks::show(&[
        accepted_at_once(&asked, stopped.from, stopped.to),
        cancelled_at_once(&asked, &stopped),
        never_launched(&ground.records, &asked, &stopped).await?,
        went_on(&ground.records, &asked, &stopped).await?,
        checks::ended(&statuses),
        checks::as_planned(&ground.shop, &asked).await,
        checks::met_again(&ground.shop, &asked).await,
    ])?;
    Ok(prove().await? && held)
}

async fn stop_temporal(
    launcher: &mut Launcher,
    enough: oneshot::Sender<()>,
) -> Result<Stopped, ChaosError> {
    sleep(BEFORE_AND_AFTER).await;
    launcher.kill(Program::Temporal).await?;
    let from = now();
    say("Temporal is stopped")?;
    sleep(STOPPED).await;
    launcher.start(Program::Temporal).await?;
    let to = now();
    say("Temporal is started")?;
    sleep(BEFORE_AND_AFTER).await;
    drop(enough);
    Ok(Stopped { from, to })
}

/// Orders that were accepted while Temporal was stopped.
fn meanwhile<'a>(asked: &'a [Asked], stopped: &Stopped) -> impl Iterator<Item = &'a Asked> {
    let (from, to) = (stopped.from, stopped.to);
    asked.iter().filter(move |one| one.answered_at > from && one.answered_at < to)
}

/// Those that were also cancelled, so long before Temporal was back that no launch was in progress.
fn cancelled<'a>(asked: &'a [Asked], stopped: &Stopped) -> impl Iterator<Item = &'a Asked> {
    let by = stopped.to.checked_sub_signed(LAUNCH_LASTS).unwrap_or(stopped.from);
    meanwhile(asked, stopped).filter(move |one| one.cancelled.is_some() && one.answered_at < by)
}

fn cancelled_at_once(asked: &[Asked], stopped: &Stopped) -> Check {
    let complaints = cancelled(asked, stopped).filter_map(|one| match one.cancelled.as_ref()? {
        Ok(answered)
            if answered.repeats == 0
                && answered.answer.decision.as_deref() == Some("cancelled") =>
        {
            None
        }
        Ok(answered) => Some(format!("{}: {answered:?}", one.key)),
        Err(error) => Some(format!("{}: {error}", one.key)),
    });
    let promise = "a cancel of an order that waits to be launched ends it at once";
    about(promise, cancelled(asked, stopped).count(), complaints.collect::<Vec<_>>())
}

async fn never_launched(
    records: &Records,
    asked: &[Asked],
    stopped: &Stopped,
) -> Result<Check, ChaosError> {
    let workflows = records.workflows().await?;
    let cancelled: Vec<_> = cancelled(asked, stopped).filter_map(Asked::order_id).collect();
    let launched = cancelled.iter().filter(|order| workflows.contains_key(*order));
    Ok(about("… and it is never launched", cancelled.len(), launched))
}

/// Waiting orders are launched once Temporal is back, the first of them soon.
async fn went_on(
    records: &Records,
    asked: &[Asked],
    stopped: &Stopped,
) -> Result<Check, ChaosError> {
    let waited = meanwhile(asked, stopped).filter(|one| one.cancelled.is_none());
    let waited: BTreeSet<Uuid> = waited.filter_map(Asked::order_id).collect();
    let mut went_on = BTreeSet::new();
    let mut waits = Vec::new();
    for Happened { order_id, at, .. } in records.events().await? {
        if at > stopped.to && waited.contains(&order_id) && went_on.insert(order_id) {
            waits.extend(at.signed_duration_since(stopped.to).to_std());
        }
    }
    let mut complaints: Vec<_> = waited.difference(&went_on).map(ToString::to_string).collect();
    let (first, last) = (waits.iter().min().copied(), waits.iter().max().copied());
    let (first, last) = (first.unwrap_or(Duration::MAX), last.unwrap_or_default());
    if first > FIRST_WITHIN {
        complaints.push(format!("none of them went on within {} s", FIRST_WITHIN.as_secs()));
    }
    let looked_at = format!(
        "{} orders, the first {:.1} s and the last {:.1} s after",
        waited.len(),
        first.as_secs_f32(),
        last.as_secs_f32()
    );
    let promise = "orders that waited go on when Temporal is back";
    Ok(Check { promise, looked_at, complaints })
}
