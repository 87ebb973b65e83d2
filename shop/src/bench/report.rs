//! Prints the benchmark's results.

use std::time::Duration;

use rust_decimal::Decimal;

use super::contender::{Arena, Contender};
use super::database::Database;
use super::machine::{self, CpuTimes, Programs};
use super::{Bench, BenchError, BurstCost, Findings, Measured};
use crate::latency::{Took, per_second, ratio, rounded};
use crate::screen::{heading, say};

/// The target: an order's throughput relative to an empty workflow's.
const ORDER_TO_EMPTY: Decimal = Decimal::from_parts(75, 0, 0, false, 2);
/// The target: an order's throughput relative to the textbook saga's.
const ORDER_TO_TEXTBOOK: Decimal = Decimal::from_parts(35, 0, 0, false, 1);
/// The target: the server's CPU time for an order relative to an empty workflow's.
const SERVER_TO_EMPTY: Decimal = Decimal::ONE;
/// The target for Postgres without the sandboxes, and for worker and starter: CPU time of an order
/// in milliseconds, on a machine where an empty workflow costs 15.6.
const MILLIS_MAX: Decimal = Decimal::from_parts(3, 0, 0, false, 0);
/// The target: the maximum number of events in an order's history.
const EVENTS_MAX: u64 = 14;

/// Prints what is measured, and on which machine.
pub(super) async fn opening(
    bench: &Bench,
    arena: &Arena,
    database: &Database,
) -> Result<(), BenchError> {
    say(format_args!("on {}", machine::described()))?;
    let temporal = arena.server_described().await?;
    say(format_args!("{temporal}; {}", database.described().await?))?;
    if cfg!(debug_assertions) {
        say("NOTE: this is a debug build; its numbers say nothing. Build with --release.")?;
    }
    if bench.pids.is_none() {
        say("NOTE: ORDERSAGA_PIDS is not set, so CPU time is not reported.")?;
    }
    say("
  empty     a workflow that does nothing: the cost of any workflow. A separate
            worker process polls for it
  floor     an order's workflow whose steps do nothing, started eagerly and
            without HTTP in the process that generates the load: what Temporal
            and the saga's own code cost, without database and parties
  order     a real order, from POST /v1/orders to the parcel's hand-over, all six
            steps. It starts eagerly in the process that accepts it
  textbook  the same six steps and activities, each as a regular activity, priced
            in advance and started without HTTP; without undos and status
Each client starts one, waits for its end by Temporal's long poll, and starts
the next. Server, database, worker, starter and load generator share the
machine.
")?;
    Ok(())
}

/// Prints the results, and whether they reach the targets.
pub(super) fn closing(bench: &Bench, findings: &Findings) -> Result<(), BenchError> {
    loops("one at a time", &findings.one)?;
    loops(&format!("{} at once", bench.at_once), &findings.many)?;
    processor_time(&findings.many, bench.pids.as_ref().is_some_and(Programs::are_one))?;
    bursts(bench, &findings.bursts)?;
    targets(findings)
}

type Rounds = [(Contender, Measured)];

fn loops(title: &str, rounds: &Rounds) -> Result<(), BenchError> {
    heading(format_args!("{title}: medians of the rounds"))?;
    say(line("", Contender::ALL.map(|contender| contender.name().to_owned())))?;
    let rate = |count: fn(&Measured) -> u64| {
        Contender::ALL.map(|contender| {
            let rates = of(rounds, contender).map(|one| per_second(count(one), one.window));
            rounded(median(rates), 1).to_string()
        })
    };
    say(line("accepted per second", rate(|one| one.accepted)))?;
    say(line("finished per second", rate(|one| one.finished)))?;
    let took = |took: fn(&Measured) -> Took| {
        Contender::ALL.map(|contender| median(of(rounds, contender).map(took)).to_string())
    };
    say(line("latency to accepted, p50", took(|one| one.to_accepted.p50())))?;
    say(line("latency to accepted, p99", took(|one| one.to_accepted.p99())))?;
    say(line("latency to finished, p50", took(|one| one.to_finished.p50())))?;
    say(line("latency to finished, p99", took(|one| one.to_finished.p99())))?;
    Ok(())
}

fn processor_time(rounds: &Rounds, are_one: bool) -> Result<(), BenchError> {
    heading("processor time per finished workflow, in ms")?;
    say(line("", Contender::ALL.map(|contender| contender.name().to_owned())))?;
    let of_program = |program: Program| {
        Contender::ALL.map(|contender| {
            let millis = millis_each(rounds, contender, program);
            millis.map_or_else(|| "–".to_owned(), |millis| rounded(millis, 1).to_string())
        })
    };
    say(line("Temporal server", of_program(|cpu| cpu.server)))?;
    if rounds.iter().any(|(_, one)| one.cpu.server_database.is_some()) {
        say(line("  its Postgres", of_program(|cpu| cpu.server_database)))?;
        say(line("balancer", of_program(|cpu| cpu.balancer)))?;
    }
    if are_one {
        say(line("worker and starter", of_program(|cpu| cpu.workers)))?;
    } else {
        say(line("worker", of_program(|cpu| cpu.workers)))?;
        say(line("starter", of_program(|cpu| cpu.starter)))?;
    }
    say(line("Postgres", of_program(|cpu| cpu.postgres)))?;
    say(line("  for the sandboxes", of_program(|cpu| cpu.sandboxes)))?;
    say(line("load generator", of_program(|cpu| cpu.load)))?;
    say(line("total", of_program(CpuTimes::together)))?;
    Ok(())
}

type Program = fn(&CpuTimes) -> Option<Duration>;

/// CPU time in milliseconds that a program uses per finished workflow.
fn millis_each(rounds: &Rounds, contender: Contender, program: Program) -> Option<Decimal> {
    median(of(rounds, contender).map(|one| {
        let micros = u64::try_from(program(&one.cpu)?.as_micros()).ok()?;
        Some(ratio(micros, one.finished.checked_mul(1_000)?))
    }))
}

fn bursts(bench: &Bench, bursts: &[(Contender, BurstCost)]) -> Result<(), BenchError> {
    heading(format_args!("bursts: {} of each, started without waiting", bench.burst))?;
    say(line("", Contender::ALL.map(|contender| contender.name().to_owned())))?;
    let each = |told: &dyn Fn(&BurstCost) -> String| {
        Contender::ALL.map(|contender| {
            let cost = bursts.iter().find(|(of, _)| *of == contender);
            cost.map_or_else(String::new, |(_, cost)| told(cost))
        })
    };
    let started = u64::try_from(bench.burst).unwrap_or(u64::MAX);
    let rate = |within| rounded(per_second(started, within), 1).to_string();
    say(line("accepted per second", each(&|cost| rate(cost.burst.accepted_within))))?;
    say(line("finished per second", each(&|cost| rate(cost.burst.finished_within))))?;
    say(line("history events", each(&|cost| events(cost).to_string())))?;
    say(line(
        "state transitions",
        each(&|cost| median(cost.footprints.iter().map(|one| one.transitions)).to_string()),
    ))?;
    say(line(
        "Postgres commits",
        each(&|cost| {
            cost.commits.map_or_else(|| "–".to_owned(), |commits| rounded(commits, 1).to_string())
        }),
    ))?;
    Ok(())
}

fn targets(findings: &Findings) -> Result<(), BenchError> {
    heading("targets")?;
    let rounds = &findings.many;
    let order = findings.bursts.iter().find(|(contender, _)| *contender == Contender::Order);
    let events = order.map(|(_, cost)| Decimal::from(events(cost)));
    let to_empty = Some(ratio_of(Contender::Order, Contender::Empty, rounds));
    let to_textbook = Some(ratio_of(Contender::Order, Contender::Textbook, rounds));
    at_least("orders finished : empty workflows", to_empty, ORDER_TO_EMPTY)?;
    at_least("orders finished : textbook sagas", to_textbook, ORDER_TO_TEXTBOOK)?;
    let server = |contender| millis_each(rounds, contender, |cpu| cpu.server);
    let to_empty = server(Contender::Order)
        .zip(server(Contender::Empty))
        .and_then(|(order, empty)| order.checked_div(empty));
    at_most("server CPU of an order : of an empty one", to_empty, SERVER_TO_EMPTY)?;
    let millis = |program| millis_each(rounds, Contender::Order, program);
    let postgres = millis(|cpu| cpu.postgres?.checked_sub(cpu.sandboxes?));
    let ours = millis(|cpu| cpu.workers?.checked_add(cpu.starter?));
    at_most("Postgres without the sandboxes, ms CPU", postgres, MILLIS_MAX)?;
    at_most("worker and starter, ms CPU", ours, MILLIS_MAX)?;
    at_most("events in an order's history", events, EVENTS_MAX.into())?;
    server_alone(rounds)?;
    limit(rounds)
}

fn at_least(what: &str, found: Option<Decimal>, target: Decimal) -> Result<(), BenchError> {
    target_line(what, found, &format!("≥ {target}"), |found| found >= target)
}

fn at_most(what: &str, found: Option<Decimal>, target: Decimal) -> Result<(), BenchError> {
    target_line(what, found, &format!("≤ {target}"), |found| found <= target)
}

fn target_line(
    what: &str,
    found: Option<Decimal>,
    target: &str,
    is_reached: impl Fn(Decimal) -> bool,
) -> Result<(), BenchError> {
    let (found, reached) = match found {
        Some(found) if is_reached(found) => (rounded(found, 2).to_string(), "reached"),
        Some(found) => (rounded(found, 2).to_string(), "NOT reached"),
        None => ("–".to_owned(), "not measured"),
    };
    Ok(say(format_args!("{what:<40} {found:>6}   target {target:<6} {reached}"))?)
}

/// Prints the upper limit of an order's rate: that of the same workflow with steps that do nothing.
fn limit(rounds: &Rounds) -> Result<(), BenchError> {
    let floor = ratio_of(Contender::Floor, Contender::Empty, rounds);
    say(format_args!(
        "With steps that do nothing, the order's workflow reaches {floor:.2} of that rate here:\n\
         no order can finish faster on this machine, whatever its database costs."
    ))?;
    Ok(())
}

/// An empty workflow uses neither database nor starter. On a shared machine, the CPU time that an
/// order uses there is not available to the server.
fn server_alone(rounds: &Rounds) -> Result<(), BenchError> {
    let server = |contender| millis_each(rounds, contender, |cpu| cpu.server);
    if let (Some(empty), Some(order)) = (server(Contender::Empty), server(Contender::Order)) {
        let share = empty.checked_div(order).unwrap_or_default();
        say(format_args!(
            "If Temporal had a machine to itself, orders would reach {share:.2} of the rate of\n\
             empty workflows (computed from the processor time of the server alone)."
        ))?;
    }
    Ok(())
}

/// Finished workflows of one contender per finished one of another, round by round, so that a
/// slowdown in one round does not favour either.
fn ratio_of(one: Contender, other: Contender, rounds: &Rounds) -> Decimal {
    let pairs = of(rounds, one).zip(of(rounds, other));
    median(pairs.map(|(one, other)| ratio(one.finished, other.finished)))
}

fn of(rounds: &Rounds, contender: Contender) -> impl Iterator<Item = &Measured> {
    rounds.iter().filter(move |(of, _)| *of == contender).map(|(_, measured)| measured)
}

fn events(cost: &BurstCost) -> u64 {
    median(cost.footprints.iter().map(|one| one.events))
}

/// The median; for an even number of values, the upper of the two in the middle.
pub(super) fn median<T: Ord + Default>(values: impl Iterator<Item = T>) -> T {
    let mut values = values.collect::<Vec<_>>();
    values.sort_unstable();
    let middle = values.len().div_euclid(2);
    values.into_iter().nth(middle).unwrap_or_default()
}

fn line(label: &str, [empty, floor, order, textbook]: [String; 4]) -> String {
    format!("{label:<24} {empty:>10} {floor:>10} {order:>10} {textbook:>10}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_what_was_measured() {
        assert_eq!(median([3, 1, 2].into_iter()), 2);
        assert_eq!(median(std::iter::empty::<u64>()), 0);
    }
}
