//! An open load: orders arrive at a fixed rate, whether or not earlier ones are answered. Measures
//! how many are accepted and how fast, and checks that each ends correctly.
//!
//! Latency counts from the scheduled arrival. So a late answer delays the requests queued behind
//! it, instead of reducing the load (no coordinated omission).

use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Args;
use domain::OrderId;
use rust_decimal::Decimal;
use tokio::runtime;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::BenchError;
use super::contender::Arena;
use super::database::{Course, Database, Standing};
use super::machine::{CpuTimes, Programs};
use super::wire::{Answer, Connection, Request, WireError};
use crate::latency::{Latencies, Took, per_second, ratio, rounded};
use crate::screen::{heading, say};

/// The target for the 99th percentile of acceptance.
const ACCEPTED_WITHIN: Took = Took(Duration::from_millis(50));

/// How often a read is sampled while orders arrive.
const READ_EVERY: Duration = Duration::from_millis(100);

/// How often the number of ended orders is checked and printed.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// After this many checks without progress, processing counts as stopped.
const STANDSTILL: u32 = 30;

/// The arrival of orders.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Arrivals {
    /// Orders that arrive per second, whether or not earlier ones are answered; 0: none, and
    /// accepting is not measured
    #[arg(id = "arrivals", long, value_name = "ARRIVALS", default_value_t = 2_500)]
    per_second: u32,

    /// Seconds for which orders arrive
    #[arg(id = "arrival-seconds", long, value_name = "ARRIVAL_SECONDS", default_value_t = 30)]
    seconds: u32,

    /// Number of connections. An order that finds none free is late, which counts
    #[arg(
        id = "arrival-connections",
        long,
        value_name = "ARRIVAL_CONNECTIONS",
        default_value_t = 128
    )]
    connections: usize,
}

/// The requests, prepared beforehand so that sending them costs little CPU time.
struct Plan {
    requests: Vec<Request>,
    /// The ids of the orders, in the order of their arrival.
    orders: Vec<Uuid>,
    per_second: NonZeroU32,
    next: AtomicUsize,
}

/// The outcomes of the arrivals.
struct Tally {
    /// Indices of accepted arrivals.
    accepted: Vec<usize>,
    /// Answered with 503: load shed by the starter.
    shed: u64,
    /// Answered with 429.
    limited: u64,
    /// Other status, or no answer.
    failed: u64,
    /// From the scheduled arrival to acceptance.
    took: Latencies,
}

/// Latency of a caller's reads meanwhile.
struct Reads {
    took: Latencies,
    failed: u64,
}

/// The results while orders arrived.
struct Flood {
    tally: Tally,
    lasted: Duration,
    cpu: CpuTimes,
    reads: Reads,
}

/// Sends the orders, waits until the accepted ones have ended, and prints the results.
pub(super) async fn measured(
    arrivals: Arrivals,
    arena: &Arena,
    programs: &Programs,
    database: &Database,
) -> Result<(), BenchError> {
    let Some(per_second) = NonZeroU32::new(arrivals.per_second) else {
        return Ok(say("NOTE: accepting was NOT measured, because the arrival rate is 0.")?);
    };
    let Arrivals { seconds, connections, .. } = arrivals;
    let plan = Arc::new(Plan::of(arena, per_second, seconds).await?);
    say(format_args!("{per_second} orders a second arrive, for {seconds} s"))?;
    let flood = flood(arena, programs, &plan, connections).await?;
    shown(&plan, &flood)?;
    let accepted = flood.tally.accepted.iter().filter_map(|number| plan.orders.get(*number));
    let accepted = accepted.copied().collect::<Vec<_>>();
    let began = Instant::now();
    let reads = until_ended(arena, database, &accepted).await?;
    let course = database.course(&accepted).await?;
    ended(&accepted, began.elapsed(), &reads, &course)
}

impl Plan {
    async fn of(arena: &Arena, per_second: NonZeroU32, seconds: u32) -> Result<Self, BenchError> {
        let (url, token) = arena.shop.address_of("/v1/orders").await?;
        let bearer = format!("Bearer {token}");
        let bodies = arena.orders.iter().map(|(asked, _)| serde_json::to_vec(asked));
        let bodies = bodies.collect::<Result<Vec<_>, _>>().map_err(io::Error::from)?;
        let sample = arena.orders.iter().zip(&bodies).cycle();
        let count = per_second.get().saturating_mul(seconds);
        let (mut requests, mut orders) = (Vec::new(), Vec::new());
        for (number, ((_, order), body)) in (0..count).zip(sample) {
            let key = format!("arrival-{}-{number}", arena.run);
            let fields = [
                ("authorization", bearer.as_str()),
                ("content-type", "application/json"),
                ("idempotency-key", key.as_str()),
            ];
            requests.push(Request::new("POST", &url, &fields, body)?);
            orders.push(OrderId::for_request(&order.customer_id, &key).uuid());
        }
        Ok(Self { requests, orders, per_second, next: AtomicUsize::new(0) })
    }

    /// The scheduled time of this arrival, relative to the first one.
    fn due(&self, number: usize) -> Duration {
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        Duration::from_secs(number).checked_div(self.per_second.get()).unwrap_or_default()
    }
}

/// Sends the orders, and samples the latency of reads meanwhile.
async fn flood(
    arena: &Arena,
    programs: &Programs,
    plan: &Arc<Plan>,
    connections: usize,
) -> Result<Flood, BenchError> {
    let mut reads = Reads::none()?;
    let before = cpu_times(arena, programs).await?;
    let began = Instant::now();
    let sent = Arc::clone(plan);
    let mut arriving = spawn_blocking(move || {
        // On a thread of its own: the load generator has to be cheap and punctual.
        let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        runtime.block_on(all_arrive(sent, connections))
    });
    let tally = loop {
        tokio::select! {
            tally = &mut arriving => break tally.map_err(WireError::from)??,
            () = sleep(READ_EVERY) => reads.sample(arena, plan).await?,
        }
    };
    let lasted = began.elapsed();
    let cpu = cpu_times(arena, programs).await?.since(&before);
    Ok(Flood { tally, lasted, cpu, reads })
}

async fn cpu_times(arena: &Arena, programs: &Programs) -> Result<CpuTimes, BenchError> {
    Ok(programs.cpu_times(&arena.starter_database.sandbox_processes().await?))
}

async fn all_arrive(plan: Arc<Plan>, connections: usize) -> Result<Tally, WireError> {
    // Connect before the first arrival, so that it is not late.
    let mut open = Vec::with_capacity(connections);
    let first = plan.requests.first().ok_or(WireError::Nothing)?;
    for _ in 0..connections {
        open.push(Connection::for_request(first).await?);
    }
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for connection in open {
        clients.spawn(arrive(Arc::clone(&plan), connection, begun));
    }
    let mut together = Tally::none()?;
    while let Some(tally) = clients.join_next().await {
        together.add(tally??)?;
    }
    Ok(together)
}

/// One connection: takes the next arrival, sends it when it is due, and repeats.
async fn arrive(
    plan: Arc<Plan>,
    mut connection: Connection,
    begun: Instant,
) -> Result<Tally, WireError> {
    let mut tally = Tally::none()?;
    loop {
        let number = plan.next.fetch_add(1, Ordering::Relaxed);
        let Some(request) = plan.requests.get(number) else { return Ok(tally) };
        let due = begun.checked_add(plan.due(number)).unwrap_or(begun);
        sleep_until(due).await;
        match connection.send(request).await {
            Ok(answer) => tally.note(number, answer.status, due.elapsed()),
            Err(_broken) => {
                tally.failed = tally.failed.saturating_add(1);
                connection = Connection::for_request(request).await?;
            }
        }
    }
}

impl Tally {
    fn none() -> Result<Self, WireError> {
        Ok(Self { accepted: Vec::new(), shed: 0, limited: 0, failed: 0, took: Latencies::new()? })
    }

    fn note(&mut self, number: usize, status: u16, took: Duration) {
        let count = match status {
            201 => {
                self.accepted.push(number);
                self.took.record(took);
                return;
            }
            503 => &mut self.shed,
            429 => &mut self.limited,
            _ => &mut self.failed,
        };
        *count = count.saturating_add(1);
    }

    fn add(&mut self, other: Self) -> Result<(), WireError> {
        self.accepted.extend(other.accepted);
        self.shed = self.shed.saturating_add(other.shed);
        self.limited = self.limited.saturating_add(other.limited);
        self.failed = self.failed.saturating_add(other.failed);
        Ok(self.took.add(&other.took)?)
    }
}

impl Reads {
    fn none() -> Result<Self, BenchError> {
        Ok(Self { took: Latencies::new()?, failed: 0 })
    }

    /// Reads the first order, over a separate connection.
    async fn sample(&mut self, arena: &Arena, plan: &Plan) -> Result<(), BenchError> {
        match plan.orders.first() {
            Some(order) => self.read(arena, *order).await,
            None => Ok(()),
        }
    }

    async fn read(&mut self, arena: &Arena, order: Uuid) -> Result<(), BenchError> {
        let (url, token) = arena.shop.address_of(&format!("/v1/orders/{order}")).await?;
        let bearer = format!("Bearer {token}");
        let request = Request::new("GET", &url, &[("authorization", &bearer)], b"")?;
        let began = Instant::now();
        let answer = async { Connection::for_request(&request).await?.send(&request).await };
        match answer.await.and_then(Answer::successful) {
            Ok(_answer) => self.took.record(began.elapsed()),
            Err(_why) => self.failed = self.failed.saturating_add(1),
        }
        Ok(())
    }

    fn shown(&self, when: &str) -> Result<(), BenchError> {
        let Self { took, failed } = self;
        let (p50, p99) = (took.p50(), took.p99());
        let line = format!("{when:<36} p50 {p50}, p99 {p99}, {failed} without an answer");
        Ok(say(line)?)
    }
}

/// Prints how many orders were accepted and how fast.
fn shown(plan: &Plan, flood: &Flood) -> Result<(), BenchError> {
    let Flood { tally, lasted, cpu, reads } = flood;
    let count = |numbers: usize| u64::try_from(numbers).unwrap_or(u64::MAX);
    let (arrived, accepted) = (count(plan.requests.len()), count(tally.accepted.len()));
    heading(format_args!("{arrived} orders arrive, {} a second", plan.per_second))?;
    let reached = |is_reached: bool| if is_reached { "reached" } else { "NOT reached" };
    say(format_args!(
        "{:<36} {accepted:>8}   target: all of {arrived} {}",
        "accepted",
        reached(accepted == arrived)
    ))?;
    let rate = rounded(per_second(accepted, *lasted), 0);
    say(format_args!("{:<36} {rate:>8}", "accepted per second"))?;
    let Tally { shed, limited, failed, took, .. } = tally;
    say(format_args!("{:<36} {shed:>8}", "shed (503)"))?;
    say(format_args!("{:<36} {limited:>8}", "refused by a rate limit (429)"))?;
    say(format_args!("{:<36} {failed:>8}", "failed, or no answer"))?;
    say(format_args!("{:<36} {:>8}", "latency from scheduled time, p50", took.p50().to_string()))?;
    say(format_args!(
        "{:<36} {:>8}   target < {ACCEPTED_WITHIN} {}",
        "latency from scheduled time, p99",
        took.p99().to_string(),
        reached(took.p99() < ACCEPTED_WITHIN)
    ))?;
    let each = |time: Option<Duration>| {
        let micros = time.and_then(|time| u64::try_from(time.as_micros()).ok());
        let millis = micros.map(|micros| ratio(micros, accepted.saturating_mul(1_000)));
        millis.map_or_else(|| "–".to_owned(), |millis| rounded(millis, 2).to_string())
    };
    say(format_args!(
        "processor time per accepted order, in ms: starter {}, Postgres {},\n  \
         load generator {}, Temporal server {}, worker {}",
        each(cpu.starter),
        each(cpu.postgres),
        each(cpu.load),
        each(cpu.server),
        each(cpu.workers)
    ))?;
    reads.shown("concurrent reads of an order")
}

/// Waits until all accepted orders have ended, and prints the progress.
async fn until_ended(
    arena: &Arena,
    database: &Database,
    accepted: &[Uuid],
) -> Result<Reads, BenchError> {
    let mut reads = Reads::none()?;
    let all = i64::try_from(accepted.len()).unwrap_or(i64::MAX);
    let (mut last, mut still) = (-1, 0_u32);
    loop {
        let standing = database.standing(accepted).await?;
        let Standing { on_record, ended, completed, backlog, oldest_seconds } = standing;
        say(format_args!(
            "{on_record} of {all} accepted orders are recorded; {ended} ended, {completed} of them\n  \
             completed; {backlog} wait to be launched, the oldest for {oldest_seconds} s"
        ))?;
        if on_record < all {
            return Err(BenchError::Lost(all.saturating_sub(on_record)));
        }
        if ended >= all {
            return if completed == all {
                Ok(reads)
            } else {
                Err(BenchError::NotCompleted(ended.saturating_sub(completed)))
            };
        }
        still = if ended > last { 0 } else { still.saturating_add(1) };
        last = ended;
        if still >= STANDSTILL {
            return Err(BenchError::Standstill(all.saturating_sub(ended)));
        }
        let until = Instant::now().checked_add(LOOK_EVERY).unwrap_or_else(Instant::now);
        while Instant::now() < until {
            if let Some(order) = accepted.first() {
                reads.read(arena, *order).await?;
            }
            sleep(READ_EVERY.saturating_mul(5)).await;
        }
    }
}

/// Prints how the accepted orders were processed.
fn ended(
    accepted: &[Uuid],
    within: Duration,
    reads: &Reads,
    course: &Course,
) -> Result<(), BenchError> {
    heading("the accepted orders, processed")?;
    let count = u64::try_from(accepted.len()).unwrap_or(u64::MAX);
    let rate: Decimal = rounded(per_second(count, within), 1);
    say(format_args!("{:<36} {count:>8}   none lost", "completed"))?;
    say(format_args!("{:<36} {rate:>8}", "finished per second, after the burst"))?;
    let Course { overtaken_ms, overtaken_by } = course;
    let overtaken = Took(Duration::from_millis(u64::try_from(*overtaken_ms).unwrap_or_default()));
    say(format_args!(
        "oldest first: no order was overtaken by one placed more than {overtaken} after it,\n  \
         or by more than {overtaken_by} orders"
    ))?;
    reads.shown("concurrent reads of an order")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(per_second: u32) -> Plan {
        let per_second = NonZeroU32::new(per_second).unwrap();
        Plan { requests: Vec::new(), orders: Vec::new(), per_second, next: AtomicUsize::new(0) }
    }

    #[test]
    fn arrivals_are_due_by_the_clock() {
        assert_eq!(plan(2_500).due(0), Duration::ZERO);
        assert_eq!(plan(2_500).due(1), Duration::from_micros(400));
        assert_eq!(plan(2_500).due(75_000), Duration::from_secs(30));
        assert_eq!(plan(3).due(10), Duration::from_nanos(3_333_333_333));
    }

    #[test]
    fn only_what_was_accepted_counts_as_accepted() {
        let mut tally = Tally::none().unwrap();
        for (number, status) in [201, 503, 201, 429, 500, 503].into_iter().enumerate() {
            tally.note(number, status, Duration::from_millis(1));
        }
        let mut together = Tally::none().unwrap();
        together.add(tally).unwrap();
        let Tally { accepted, shed, limited, failed, .. } = together;
        assert_eq!((accepted, shed, limited, failed), (vec![0, 2], 2, 1, 1));
    }
}
