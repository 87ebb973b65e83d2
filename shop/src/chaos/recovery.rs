//! Measures how soon orders continue after a process was killed.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use strum::IntoEnumIterator;
use uuid::Uuid;

use super::launcher::Program;

/// A kill.
#[derive(Clone, Debug)]
pub(super) struct Death {
    pub(super) programs: Vec<Program>,
    pub(super) killed_at: DateTime<Utc>,
    pub(super) started_at: DateTime<Utc>,
}

/// What was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::EnumIter)]
pub(super) enum Kind {
    /// One of two workers: its orders go to the other one, or back to it once it is restarted.
    Worker,
    /// The starter: new orders need it, orders in progress do not.
    Starter,
    Postgres,
    Temporal,
    /// Two programs at once.
    Pair,
}

impl Kind {
    pub(super) const fn told(self) -> &'static str {
        match self {
            Self::Worker => "worker, from its death",
            Self::Starter => "starter, until it takes an order",
            Self::Postgres => "Postgres, from its restart",
            Self::Temporal => "Temporal, from its restart",
            Self::Pair => "two at once, from their restart",
        }
    }

    /// The target.
    pub(super) const fn target(self) -> Duration {
        match self {
            Self::Worker => Duration::from_secs(5),
            Self::Starter | Self::Postgres | Self::Temporal | Self::Pair => Duration::from_secs(10),
        }
    }
}

impl Death {
    pub(super) fn kind(&self) -> Kind {
        match self.programs[..] {
            [Program::Worker | Program::SecondWorker] => Kind::Worker,
            [Program::Starter] => Kind::Starter,
            [Program::Postgres] => Kind::Postgres,
            [Program::Temporal] => Kind::Temporal,
            _ => Kind::Pair,
        }
    }

    /// When the measurement starts. For a worker at its kill, because another worker takes over.
    fn clock(&self) -> DateTime<Utc> {
        if self.kind() == Kind::Worker { self.killed_at } else { self.started_at }
    }
}

/// The relevant times of an order.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    /// When the shop got its acceptance, if it did.
    pub(super) accepted_at: Option<DateTime<Utc>>,
    /// The times of its events, in order; the last one ends the order.
    pub(super) events: Vec<DateTime<Utc>>,
}

/// The results of one kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recovery {
    pub(super) kind: Kind,
    /// Orders that were in progress and had time to continue.
    pub(super) under_way: usize,
    /// Until the first of them continued.
    pub(super) first: Duration,
    /// Until the last of them continued.
    pub(super) last: Duration,
}

/// The results by kind of kill.
pub(super) fn by_kind(recoveries: &[Recovery]) -> BTreeMap<Kind, Vec<Recovery>> {
    let of = |kind| recoveries.iter().filter(move |one| one.kind == kind).copied();
    Kind::iter().map(|kind| (kind, of(kind).collect())).collect()
}

/// The results of each kill after which any order was in progress.
pub(super) fn recoveries(deaths: &[Death], lives: &BTreeMap<Uuid, Life>) -> Vec<Recovery> {
    let mut found = Vec::new();
    for (index, death) in deaths.iter().enumerate() {
        let next = deaths.get(index.saturating_add(1)).map(|next| next.killed_at);
        let waits: Vec<_> = if death.kind() == Kind::Starter {
            let accepted = lives.values().filter_map(|life| life.accepted_at);
            Vec::from_iter(accepted.filter_map(|at| since(death.clock(), at)).min())
        } else {
            lives.values().filter_map(|life| wait(death, next, life)).collect()
        };
        if let (Some(first), Some(last)) = (waits.iter().min(), waits.iter().max()) {
            let (first, last) = (*first, *last);
            found.push(Recovery { kind: death.kind(), under_way: waits.len(), first, last });
        }
    }
    found
}

/// How long an order in progress waited for its next event. If the next kill came first, the wait
/// up to then counts only if it already was too long.
fn wait(death: &Death, next: Option<DateTime<Utc>>, life: &Life) -> Option<Duration> {
    let first = life.events.first().copied();
    let began = first.into_iter().chain(life.accepted_at).min()?;
    if began >= death.killed_at {
        return None;
    }
    let went_on = life.events.iter().find(|at| **at > death.clock())?;
    match next {
        Some(next) if next < *went_on => {
            since(death.clock(), next).filter(|wait| *wait > death.kind().target())
        }
        Some(_) | None => since(death.clock(), *went_on),
    }
}

fn since(from: DateTime<Utc>, to: DateTime<Utc>) -> Option<Duration> {
    to.signed_duration_since(from).to_std().ok()
}

/// The median; for an even number of values, the greater of the two in the middle.
pub(super) fn median(waits: impl Iterator<Item = Duration>) -> Duration {
    let mut waits = waits.collect::<Vec<_>>();
    waits.sort_unstable();
    waits.get(waits.len().div_euclid(2)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn death(program: Program, killed: i64, started: i64) -> Death {
        let programs = vec![program];
        Death { programs, killed_at: at(killed), started_at: at(started) }
    }

    fn life(accepted: i64, events: &[i64]) -> Life {
        Life { accepted_at: Some(at(accepted)), events: events.iter().map(|s| at(*s)).collect() }
    }

    fn seconds(deaths: &[Death], lives: &[Life]) -> Vec<(usize, u64, u64)> {
        let lives = (1..).map(Uuid::from_u128).zip(lives.iter().cloned()).collect();
        let told = |one: &Recovery| (one.under_way, one.first.as_secs(), one.last.as_secs());
        recoveries(deaths, &lives).iter().map(told).collect()
    }

    #[test]
    fn a_workers_clock_runs_from_its_death_and_a_servers_from_its_restart() {
        let lives = [life(8, &[9, 15, 16]), life(9, &[17]), life(11, &[12, 13]), life(1, &[2, 3])];
        assert_eq!(seconds(&[death(Program::Worker, 10, 13)], &lives), [(2, 5, 7)]);
        assert_eq!(seconds(&[death(Program::Postgres, 10, 13)], &lives), [(2, 2, 4)]);
    }

    #[test]
    fn a_wait_that_the_next_death_cuts_short_counts_only_if_it_was_too_long() {
        let lives = [life(8, &[40])];
        let temporal = death(Program::Temporal, 10, 12);
        let after = |seconds| death(Program::Starter, seconds, seconds + 1);
        assert_eq!(seconds(&[temporal.clone(), after(20)], &lives), []);
        assert_eq!(seconds(&[temporal, after(23)], &lives), [(1, 11, 11)]);
    }

    #[test]
    fn a_starter_is_back_when_it_takes_an_order() {
        let lives = [life(9, &[10]), life(14, &[15]), life(19, &[20])];
        assert_eq!(seconds(&[death(Program::Starter, 10, 12)], &lives), [(1, 2, 2)]);
    }
}
