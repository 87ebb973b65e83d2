//! Prints the results of the storm.

use std::io;

use domain::ProviderName;

use super::{Storm, Verdict};
use crate::chaos::Ground;
use crate::chaos::recovery::{Kind, Recovery, by_kind, median};
use crate::latency::Took;
use crate::screen::{heading, say};

pub(super) fn opening(storm: &Storm, ground: &Ground, seed: u64, deaths: usize) -> io::Result<()> {
    heading("everything is killed again and again")?;
    say(format_args!(
        "{} orders a second for {} s, and {deaths} times somebody dies; the same again: SEED={seed}",
        ground.per_second, storm.seconds,
    ))?;
    let paid = match ground.provider.name() {
        ProviderName::Sandbox => return Ok(()),
        ProviderName::Stripe => {
            "paid through a counterpart of Stripe, at which one request in four goes wrong"
        }
        ProviderName::BankTransfer => {
            "paid by transfer, some in parts, too much or under a wrong reference; the bank's files \
             come twice or torn"
        }
    };
    say(format_args!("{paid}; how soon orders go on is measured with the sandbox"))
}

/// Prints how soon orders continued. Returns whether that was soon enough each time.
pub(super) fn recovery(recoveries: &[Recovery]) -> io::Result<bool> {
    heading("how soon orders in progress continued")?;
    say(format_args!(
        "  {:<30} {:>6} {:>6} {:>13} {:>13}",
        "", "", "", "first goes on", "all go on"
    ))?;
    say(format_args!(
        "  {:<30} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>5}",
        "who died", "deaths", "orders", "median", "worst", "median", "worst", "limit"
    ))?;
    let mut held = true;
    for (kind, found) in by_kind(recoveries) {
        held &= line(kind, &found)?;
    }
    Ok(held)
}

fn line(kind: Kind, found: &[Recovery]) -> io::Result<bool> {
    if found.is_empty() {
        say(format_args!("  {:<30} {:>6}", kind.told(), 0))?;
        return Ok(true);
    }
    let worst = |wait: fn(&Recovery) -> _| found.iter().map(wait).max().unwrap_or_default();
    let (first, last) = (worst(|one| one.first), worst(|one| one.last));
    let held = last <= kind.target();
    say(format_args!(
        "{} {:<30} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>5}",
        if held { "✔" } else { "✘" },
        kind.told(),
        found.len(),
        found.iter().map(|one| one.under_way).sum::<usize>(),
        Took(median(found.iter().map(|one| one.first))),
        Took(first),
        Took(median(found.iter().map(|one| one.last))),
        Took(last),
        Took(kind.target()),
    ))?;
    Ok(held)
}

pub(super) fn closing(seed: u64, verdict: Verdict) -> io::Result<()> {
    let Verdict { held, paid, soon, proven } = verdict;
    if verdict.is_well() {
        let soon = soon.map_or("", |_soon| ", and orders went on soon after each death");
        return say(format_args!("\n✔ Nothing was lost, doubled or left behind{soon}."));
    }
    for (held, fault) in [
        (held, "a promise is broken"),
        (paid, "Stripe's own account is not what it should be"),
        (soon != Some(false), "orders did not go on soon enough"),
        (proven, "`ordersaga prove` found a fault"),
    ] {
        if !held {
            say(format_args!("\n✘ {fault}; the same deaths again: SEED={seed}"))?;
        }
    }
    Ok(())
}
