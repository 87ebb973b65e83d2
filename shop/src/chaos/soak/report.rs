//! Prints the results of a soak.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use rust_decimal::Decimal;

use super::plan::quarter;
use super::sample::Sample;
use super::slope::{Point, mean, per_hour};
use super::tables::{Growth, growth as growth_of_tables};
use super::{Fault, Seen, Soak};
use crate::latency::{ratio, rounded};
use crate::screen::{heading, say};

/// Whether something grows that should not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Flat,
    Grows,
    /// The soak was too short to tell.
    TooShort,
}

/// Ordersaga's own programs. The development server and Postgres are only shown.
const OWN: [&str; 4] = ["worker", "second-worker", "starter", "relay"];

/// The minimum length of the counted time, for growth per hour to be meaningful: that of a soak of
/// 20 minutes without its first quarter and the sample after it.
const JUDGED_FROM: Duration = Duration::from_mins(14);

const MB: u32 = 1_000_000;

pub(super) fn opening(soak: &Soak, per_second: u32, seed: u64, deaths: &[Fault]) -> io::Result<()> {
    heading("steady load, and deaths now and then")?;
    say(format_args!(
        "{per_second} orders a second for {} min, and {} times somebody dies: everybody in the first \
         quarter, which does not count, and then the second worker and Postgres in turn; SEED={seed}",
        soak.minutes,
        deaths.len(),
    ))
}

/// The line for a sample.
pub(super) fn line(sample: &Sample) -> io::Result<()> {
    let taken = sample.programs.iter().map(|(name, (_, taken))| match taken {
        Some(taken) => format!("{name} {}", megabytes(taken.memory)),
        None => format!("{name} is gone"),
    });
    let taken = taken.collect::<Vec<_>>().join(", ");
    let waits = sample.shop.as_ref().map_or_else(
        || "Postgres is down".to_owned(),
        |shop| {
            format!(
                "{} orders, {} open, {} to launch, {} to tell",
                shop.orders, shop.open, shop.to_launch, shop.to_tell
            )
        },
    );
    say(format_args!("{:>5} s  {waits}; MB: {taken}", sample.at.as_secs()))
}

/// Prints and judges the growth.
pub(super) fn growth(soak: &Soak, length: Duration, seen: &Seen) -> io::Result<Judged> {
    let counted = seen.samples.iter().filter(|sample| sample.at >= quarter(length));
    let counted = counted.collect::<Vec<_>>();
    let lasted = match (counted.first(), counted.last()) {
        (Some(first), Some(last)) => last.at.saturating_sub(first.at),
        _ => Duration::ZERO,
    };
    let orders = orders(&counted);
    let gone = gone(&seen.samples)?;
    let flat = programs(soak, &counted, lasted, orders)?;
    waiting(&counted)?;
    let bounded = tables(&growth_of_tables(&counted, seen), orders)?;
    if gone || !bounded {
        return Ok(Judged::Grows);
    }
    if lasted < JUDGED_FROM {
        say(format_args!(
            "\nNOTE: {} s are too short to say whether memory is flat: it takes {} min after the first \
             quarter",
            lasted.as_secs(),
            JUDGED_FROM.as_secs() / 60,
        ))?;
        return Ok(Judged::TooShort);
    }
    Ok(if flat { Judged::Flat } else { Judged::Grows })
}

/// The number of orders between the first and the last of these samples.
fn orders(counted: &[&Sample]) -> u64 {
    let mut all = counted.iter().filter_map(|sample| sample.shop.as_ref()).map(|shop| shop.orders);
    let first = all.next().unwrap_or_default();
    all.next_back().unwrap_or(first).saturating_sub(first)
}

/// Prints programs that have ended without being killed. Returns whether there are any.
fn gone(samples: &[Sample]) -> io::Result<bool> {
    let mut is_any = false;
    for sample in samples {
        for (name, _) in sample.programs.iter().filter(|(_, (_, taken))| taken.is_none()) {
            say(format_args!("✘ {name} had ended by itself at {} s", sample.at.as_secs()))?;
            is_any = true;
        }
    }
    Ok(is_any)
}

/// Each program's resources, by process lifetime.
struct Lives {
    memory: Vec<Vec<Point>>,
    files: Vec<Vec<Point>>,
}

impl Lives {
    /// The first sample of a lifetime that began meanwhile does not count: it has not warmed up.
    fn of(name: &str, counted: &[&Sample]) -> Self {
        let mut lives = BTreeMap::<u32, Vec<(u64, u64, u64)>>::new();
        for sample in counted {
            if let Some((pid, Some(taken))) = sample.programs.get(name) {
                let looks = lives.entry(*pid).or_default();
                looks.push((sample.at.as_secs(), taken.memory, taken.files));
            }
        }
        let began_before = counted.first().and_then(|sample| sample.programs.get(name));
        let began_before = began_before.map(|(pid, _)| *pid);
        let warm = lives.into_iter().map(|(pid, mut looks)| {
            if Some(pid) != began_before {
                looks.remove(0);
            }
            looks
        });
        let warm = warm.collect::<Vec<_>>();
        let points = |value: fn(&(u64, u64, u64)) -> Point| {
            warm.iter().map(|life| life.iter().map(value).collect()).collect()
        };
        Self { memory: points(|look| (look.0, look.1)), files: points(|look| (look.0, look.2)) }
    }
}

/// Prints the programs' resources. Returns whether the shop's own are flat.
fn programs(soak: &Soak, counted: &[&Sample], lasted: Duration, orders: u64) -> io::Result<bool> {
    heading("memory and open files, after the first quarter")?;
    say(format_args!(
        "{:<20} {:>6} {:>9} {:>9} {:>11} {:>12} {:>8} {:>9}",
        "program", "lives", "MB, mean", "MB, most", "MB an hour", "B an order", "files", "an hour"
    ))?;
    let mut names = counted.iter().flat_map(|sample| sample.programs.keys()).collect::<Vec<_>>();
    names.sort_unstable();
    names.dedup();
    let mut flat = true;
    for name in names {
        let lives = Lives::of(name, counted);
        let all = lives.memory.iter().flatten().map(|(_, memory)| *memory).collect::<Vec<_>>();
        let taken = mean(all.iter().copied()).unwrap_or_default();
        let hourly = per_hour(lives.memory.iter().map(Vec::as_slice)).unwrap_or_default();
        let files_hourly = per_hour(lives.files.iter().map(Vec::as_slice)).unwrap_or_default();
        let files = lives.files.iter().flatten().map(|(_, files)| *files).max().unwrap_or_default();
        let is_flat = is_flat(soak, taken, hourly);
        let is_own = OWN.contains(&name.as_str());
        flat &= is_flat || !is_own;
        let mark = if is_flat {
            "✔"
        } else if is_own {
            "✘"
        } else {
            "·"
        };
        say(format_args!(
            "{mark} {name:<18} {:>6} {:>9} {:>9} {:>11} {:>12} {files:>8} {:>9}",
            lives.memory.len(),
            in_mb(taken),
            megabytes(all.iter().copied().max().unwrap_or_default()),
            in_mb(hourly),
            an_order(hourly, lasted, orders),
            rounded(files_hourly, 1),
        ))?;
    }
    say(format_args!(
        "✔ is less than {} % or {} MB an hour, whatever is more; · is no program of Ordersaga's",
        soak.flat_percent, soak.flat_mb,
    ))?;
    Ok(flat)
}

/// Whether a growth of memory per hour counts as flat, for a program of this size.
fn is_flat(soak: &Soak, taken: Decimal, hourly: Decimal) -> bool {
    let percent = Decimal::from(soak.flat_percent).checked_mul(taken);
    let share = percent.and_then(|share| share.checked_div(Decimal::ONE_HUNDRED));
    let allowed = Decimal::from(soak.flat_mb).checked_mul(Decimal::from(MB)).unwrap_or_default();
    hourly <= share.unwrap_or_default().max(allowed)
}

/// The growth per order.
fn an_order(hourly: Decimal, lasted: Duration, orders: u64) -> String {
    let orders_an_hour = Decimal::from(orders)
        .checked_mul(Decimal::from(3_600))
        .and_then(|orders| orders.checked_div(Decimal::from(lasted.as_secs())));
    let each = orders_an_hour.and_then(|orders| hourly.checked_div(orders));
    each.map_or_else(|| "-".to_owned(), |each| rounded(each, 0).to_string())
}

fn waiting(counted: &[&Sample]) -> io::Result<()> {
    heading("what waited, and histories")?;
    let shops = || counted.iter().filter_map(|sample| sample.shop.as_ref());
    let most = |of: fn(&super::sample::Counts) -> u64| shops().map(of).max().unwrap_or_default();
    say(format_args!(
        "at most {} orders open, {} to be launched, {} messages to be told",
        most(|shop| shop.open),
        most(|shop| shop.to_launch),
        most(|shop| shop.to_tell),
    ))?;
    let mut histories = counted.iter().filter_map(|sample| sample.histories);
    let Some(first) = histories.next() else {
        return say("no history was seen");
    };
    let last = histories.clone().next_back().unwrap_or(first);
    let largest = histories.map(|seen| seen.events_max).max().unwrap_or(first.events_max);
    say(format_args!(
        "a history has {} bytes in the mean at first, {} at last; the largest has {largest} events",
        first.bytes_mean, last.bytes_mean,
    ))
}

/// Prints the growth of tables. Returns whether those that keep no history are bounded.
fn tables(tables: &[Growth], orders: u64) -> io::Result<bool> {
    heading(format_args!("tables, after the first quarter: {orders} orders"))?;
    say(format_args!(
        "{:<34} {:>9} {:>9} {:>11} {:>11} {:>8}  {}",
        "table", "MB", "MB more", "B an order", "rows each", "dead", "kept"
    ))?;
    for one in tables.iter().filter(|one| one.more_rows > 0 || one.more_bytes > 0) {
        let mark = if one.is_bounded() { "✔" } else { "✘" };
        say(format_args!(
            "{mark} {:<32} {:>9} {:>9} {:>11} {:>11} {:>8}  {}",
            one.table,
            megabytes(one.bytes),
            megabytes(one.more_bytes),
            rounded(ratio(one.more_bytes, orders), 0),
            rounded(ratio(one.more_rows, orders), 2),
            one.dead_max,
            one.kept.unwrap_or("nothing"),
        ))?;
    }
    let more = tables.iter().map(|one| one.more_bytes).fold(0, u64::saturating_add);
    say(format_args!("together {} bytes an order", rounded(ratio(more, orders), 0)))?;
    Ok(tables.iter().all(Growth::is_bounded))
}

fn megabytes(bytes: u64) -> Decimal {
    in_mb(Decimal::from(bytes))
}

fn in_mb(bytes: Decimal) -> Decimal {
    rounded(bytes.checked_div(Decimal::from(MB)).unwrap_or_default(), 1)
}

pub(super) fn closing(seed: u64, held: bool, judged: Judged, proven: bool) -> io::Result<()> {
    if held && proven && judged != Judged::Grows {
        let flat = if judged == Judged::Flat { ", and nothing grows that should not" } else { "" };
        return say(format_args!("\n✔ Every order has ended as it must{flat}."));
    }
    for (held, fault) in [
        (held, "a promise is broken"),
        (judged != Judged::Grows, "something grows, or has ended by itself"),
        (proven, "`ordersaga prove` found a fault"),
    ] {
        if !held {
            say(format_args!("\n✘ {fault}; the same deaths again: SEED={seed}"))?;
        }
    }
    Ok(())
}
