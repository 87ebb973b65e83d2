//! The relay's throughput from a full outbox to Kafka, and its CPU share while orders run at full
//! speed.

use std::num::NonZero;
use std::process::Stdio;
use std::thread::available_parallelism;
use std::time::Duration;

use rust_decimal::Decimal;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::contender::{Arena, Contender};
use super::database::Database;
use super::machine::{self, Programs};
use super::{Bench, BenchError, Loop};
use crate::latency::{per_second, ratio, rounded};
use crate::screen::{heading, say};

/// The target throughput from a full outbox to Kafka, in events per second.
const EVENTS_PER_SECOND: Decimal = Decimal::from_parts(10_000, 0, 0, false, 0);
/// The target: the relay's maximum CPU share of the machine while orders run at full speed.
const SHARE_BELOW: Decimal = Decimal::from_parts(1, 0, 0, false, 1);

/// How often the relay's progress is polled.
const A_MOMENT: Duration = Duration::from_millis(50);

/// The relay's requirements, if all are available.
struct Needed<'a> {
    kafka: &'a str,
    relay_database: &'a str,
    owner_database: &'a str,
}

/// The results of draining the outbox.
struct Drain {
    /// The number of events that were timed: those before the first poll that found any are not
    /// counted.
    events: u64,
    within: Duration,
    cpu: Option<Duration>,
}

/// Fills the outbox, measures a relay that drains it, and then a relay beside orders.
pub(super) async fn measured(
    bench: &Bench,
    arena: &Arena,
    programs: &Programs,
) -> Result<(), BenchError> {
    let Some(needed) = bench.needed() else {
        say("NOTE: the relay was NOT measured: ORDERSAGA_KAFKA_BROKERS, RELAY_DATABASE_URL and \
             MIGRATE_DATABASE_URL say where its broker and its database are.")?;
        return Ok(());
    };
    let full_speed = bench.many(Duration::from_secs(bench.seconds));
    say("orders without a relay, to compare")?;
    let alone = finished(arena, programs, full_speed).await?;

    let owner = Database::at(needed.owner_database)?;
    say(format_args!("filling the outbox with {} events", bench.relay_events))?;
    owner.fill_outbox(&arena.run, bench.relay_events).await?;
    let mut relay = started(&needed)?;
    let drain = drained(&owner, &mut relay).await?;
    shown(&drain)?;
    if bench.kafka_in_memory {
        say("NOTE: this broker keeps its records in memory: one that writes them to a disk may \
             acknowledge them later, so this is the relay's own speed and not that of the two")?;
    }

    say("orders with a relay")?;
    let cpu_before = relay.id().and_then(machine::cpu_time);
    let began = Instant::now();
    let beside = finished(arena, programs, full_speed).await?;
    let lasted = began.elapsed();
    let cpu = relay.id().and_then(machine::cpu_time);
    let cpu = cpu.zip(cpu_before).and_then(|(now, then)| now.checked_sub(then));
    beside_orders((alone, beside), full_speed.window, cpu, lasted)?;
    Ok(relay.kill().await?)
}

impl Bench {
    fn needed(&self) -> Option<Needed<'_>> {
        Some(Needed {
            kafka: self.kafka_brokers.as_deref()?,
            relay_database: self.relay_database_url.as_deref()?,
            owner_database: self.owner_database_url.as_deref()?,
        })
    }
}

/// The number of orders finished within the window.
async fn finished(arena: &Arena, programs: &Programs, each: Loop) -> Result<u64, BenchError> {
    Ok(each.measure(arena, programs, Contender::Order).await??.finished)
}

/// Starts `ordersaga relay`, located beside this program. It stops with the benchmark.
fn started(needed: &Needed<'_>) -> Result<Child, BenchError> {
    let program = std::env::current_exe()?.with_file_name("ordersaga");
    let child = Command::new(program)
        .arg("relay")
        .env("RELAY_DATABASE_URL", needed.relay_database)
        .env("RELAY_KAFKA_BROKERS", needed.kafka)
        .env("RELAY_KAFKA_CREATE_TOPICS", "true")
        .env("RELAY_OPS_LISTEN", "127.0.0.1:0")
        .env("RUST_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    Ok(child)
}

/// Waits until the relay has delivered everything.
async fn drained(owner: &Database, relay: &mut Child) -> Result<Drain, BenchError> {
    let all = owner.messages().await?;
    let mut first: Option<(Instant, i64)> = None;
    loop {
        if let Some(status) = relay.try_wait()? {
            return Err(BenchError::Relay(status.to_string()));
        }
        let had = owner.relayed().await?;
        if had > 0 {
            let (began, before) = *first.get_or_insert_with(|| (Instant::now(), had));
            if had >= all {
                let events = u64::try_from(had.saturating_sub(before)).unwrap_or_default();
                let cpu = relay.id().and_then(machine::cpu_time);
                return Ok(Drain { events, within: began.elapsed(), cpu });
            }
        }
        sleep(A_MOMENT).await;
    }
}

fn shown(drain: &Drain) -> Result<(), BenchError> {
    heading("the relay: a full outbox to Kafka")?;
    let rate = per_second(drain.events, drain.within);
    let reached = if rate >= EVENTS_PER_SECOND { "reached" } else { "NOT reached" };
    say(format_args!(
        "{:<36} {:>8}   target ≥ {EVENTS_PER_SECOND} {reached}",
        "events per second",
        rounded(rate, 0)
    ))?;
    let micros = drain.cpu.and_then(|cpu| u64::try_from(cpu.as_micros()).ok());
    if let Some(micros) = micros {
        let each = rounded(ratio(micros, drain.events), 1);
        say(format_args!("{:<36} {each:>8}", "processor time per event, in µs"))?;
    }
    Ok(())
}

fn beside_orders(
    (alone, beside): (u64, u64),
    window: Duration,
    cpu: Option<Duration>,
    lasted: Duration,
) -> Result<(), BenchError> {
    heading("the relay, while orders run at full speed")?;
    let rate = |finished| rounded(per_second(finished, window), 1);
    say(format_args!(
        "{:<36} {:>8}   without the relay {}, ratio {}",
        "orders finished per second",
        rate(beside),
        rate(alone),
        rounded(ratio(beside, alone), 2)
    ))?;
    let cores = available_parallelism().map_or(1, NonZero::get);
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let of_one_core = cpu.map(|cpu| ratio(micros(cpu), micros(lasted)));
    let share = of_one_core.and_then(|share| share.checked_div(cores.into()));
    if let Some(share) = share {
        let reached = if share < SHARE_BELOW { "reached" } else { "NOT reached" };
        say(format_args!(
            "{:<36} {:>8}   target < {SHARE_BELOW} {reached}",
            "the relay's share of the machine",
            rounded(share, 3)
        ))?;
    }
    Ok(())
}
