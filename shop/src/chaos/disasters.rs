//! Disasters: not a process that is killed and restarted, but something that is gone for long or
//! permanently.

pub(super) mod commands;
mod namespace_lost;
mod postgres_set_back;
mod temporal_stopped;

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};

pub(super) use namespace_lost::run as namespace_lost;
pub(super) use postgres_set_back::run as postgres_set_back;
pub(super) use temporal_stopped::run as temporal_stopped;

use super::checks::Check;
use super::customers::Asked;

/// The number of orders of each particular kind.
const OF_EACH: usize = 3;

/// Longer than any disaster.
pub(super) const LONG_WINDOW: Duration = Duration::from_hours(1);

pub(super) fn now() -> DateTime<Utc> {
    DateTime::from(SystemTime::now())
}

/// Checks that every request answered in this period was accepted at the first attempt.
fn accepted_at_once(asked: &[Asked], from: DateTime<Utc>, to: DateTime<Utc>) -> Check {
    let meanwhile = || asked.iter().filter(|one| one.answered_at > from && one.answered_at < to);
    let mut complaints: Vec<_> = meanwhile()
        .filter_map(|one| match &one.accepted {
            Ok(placed) if placed.repeats == 0 => None,
            Ok(placed) => Some(format!("{} was refused {} times", one.key, placed.repeats)),
            Err(error) => Some(format!("{}: {error}", one.key)),
        })
        .collect();
    let slowest = meanwhile().filter_map(|one| Some(one.accepted.as_ref().ok()?.took)).max();
    if slowest.is_none() {
        complaints.push("nothing was asked meanwhile, which shows nothing".to_owned());
    }
    let looked_at = format!(
        "{} requests, the slowest answered in {} ms",
        meanwhile().count(),
        slowest.unwrap_or_default().as_millis()
    );
    let promise = "orders are accepted meanwhile, each at its first request";
    Check { promise, looked_at, complaints }
}

/// The check of a promise about some orders, with the orders that violate it.
pub(super) fn about<T: ToString>(
    promise: &'static str,
    looked_at: usize,
    complaints: impl IntoIterator<Item = T>,
) -> Check {
    let mut complaints: Vec<_> = complaints.into_iter().map(|one| one.to_string()).collect();
    if looked_at == 0 {
        complaints.push("there was nothing to look at, which shows nothing".to_owned());
    }
    Check { promise, looked_at: format!("{looked_at} orders"), complaints }
}

/// The check of a promise that holds or does not.
pub(super) fn whether(promise: &'static str, looked_at: String, holds: bool) -> Check {
    let complaints = if holds { Vec::new() } else { vec!["it does not".to_owned()] };
    Check { promise, looked_at, complaints }
}
