//! Hangs: something is there and does not answer. Only those who depend on it may wait.

mod article;
mod frontend;
mod provider;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::try_join;
use tokio::sync::oneshot;
use tokio::time::sleep;
use uuid::Uuid;

pub(super) use article::run as article;
pub(super) use frontend::run as frontend;
pub(super) use provider::run as provider;

use super::checks::{self, Check};
use super::customers::Asked;
use super::disasters::{about, now, whether};
use super::records::Happened;
use super::stalls::{Span, Stall, between};
use super::{ChaosError, Ground};
use crate::latency::Took;

const BEFORE_AND_AFTER: Duration = Duration::from_secs(5);

/// What does not depend on the hang may pause for no longer than after a worker's death.
const OTHERS_WITHIN: Duration = Duration::from_secs(5);

/// Those who waited continue as soon as after a restart of Postgres or Temporal.
const BACK_WITHIN: Duration = Duration::from_secs(10);

const SECOND: Duration = Duration::from_secs(1);

/// Something that continues during a hang, and when it happened.
struct GoesOn {
    promise: &'static str,
    at: Vec<DateTime<Utc>>,
}

/// Places orders before, during and after a hang.
pub(super) async fn while_orders_come_in<T>(
    ground: &Ground,
    hang: impl Future<Output = Result<T, ChaosError>>,
) -> Result<(Vec<Asked>, T), ChaosError> {
    let (enough, until_enough) = oneshot::channel::<()>();
    let customers = ground.customers();
    let ordering = customers.order_until(async { until_enough.await.unwrap_or_default() });
    let hanging = async {
        sleep(BEFORE_AND_AFTER).await;
        let came = hang.await?;
        sleep(BEFORE_AND_AFTER).await;
        drop(enough);
        Ok::<_, ChaosError>(came)
    };
    try_join!(ordering, hanging)
}

fn accepted(asked: &[Asked]) -> GoesOn {
    let accepted = asked.iter().filter(|one| one.accepted.is_ok());
    let at = accepted.map(|one| one.answered_at).collect();
    GoesOn { promise: "orders are accepted meanwhile", at }
}

fn happened(
    promise: &'static str,
    events: &[Happened],
    is_it: impl Fn(&Happened) -> bool,
) -> GoesOn {
    let at = events.iter().filter(|one| is_it(one)).map(|one| one.at).collect();
    GoesOn { promise, at }
}

/// Whether each continued without too long a pause; and the longest pause.
fn went_on(all: &[GoesOn], span: Span, within: Duration) -> (Vec<Check>, Duration) {
    let (mut found, mut longest) = (Vec::new(), Duration::ZERO);
    for GoesOn { promise, at } in all {
        let gap = span.longest_gap(at.iter().copied());
        let times = at.iter().filter(|at| span.contains(**at)).count();
        let looked_at = format!("{times} times, none for {} at worst", Took(gap));
        found.push(whether(promise, looked_at, gap <= within));
        longest = longest.max(gap);
    }
    (found, longest)
}

/// The row of the table.
fn stall(
    what_hung: &'static str,
    span: Span,
    asked: &[Asked],
    events: &[Happened],
    (others_stood_still_for, within): (Duration, Duration),
) -> Stall {
    let ends = events.iter().filter(|one| one.is_end());
    let ended_at: BTreeMap<Uuid, _> = ends.clone().map(|one| (one.order_id, one.at)).collect();
    let lasted = asked.iter().filter(|one| !one.planned.twist.waits()).filter_map(|one| {
        let placed_at = one.accepted.as_ref().ok()?.answer.placed_at;
        Some(between(placed_at, *ended_at.get(&one.order_id()?)?))
    });
    Stall {
        what_hung,
        down: span.length(),
        none_ended_for: span.longest_gap(ends.map(|one| one.at)),
        worst_order: lasted.max().unwrap_or_default(),
        others_stood_still_for,
        within,
    }
}

/// Checks that the first waiting order continues soon after the hang.
fn back(promise: &'static str, waited: usize, after: &[Duration], within: Duration) -> Check {
    let first = after.iter().min().copied().unwrap_or(Duration::MAX);
    let last = after.iter().max().copied().unwrap_or_default();
    let looked_at =
        format!("{waited} orders, the first {} and the last {} after", Took(first), Took(last));
    whether(promise, looked_at, waited > 0 && after.len() == waited && first <= within)
}

/// The checks for all orders, whatever hung.
pub(super) async fn usual(
    ground: &Ground,
    asked: &[Asked],
    statuses: &BTreeMap<Uuid, String>,
) -> [Check; 5] {
    [
        checks::on_record_once(asked, statuses),
        checks::unrefused(asked),
        checks::ended(statuses),
        checks::as_planned(&ground.shop, asked).await,
        checks::met_again(&ground.shop, asked).await,
    ]
}

/// Those of some orders that have not ended with this status.
fn not_ended_as<'a>(
    end: &str,
    orders: &'a [Uuid],
    statuses: &BTreeMap<Uuid, String>,
) -> Vec<&'a Uuid> {
    orders.iter().filter(|order| statuses.get(*order).is_none_or(|is| is != end)).collect()
}
