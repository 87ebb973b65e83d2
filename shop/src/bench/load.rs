//! Two ways to measure: a closed loop of clients that wait for their orders, and a burst.

use std::time::Duration;

use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use hdrhistogram::CreationError;
use tokio::time::{Instant, sleep_until};

use super::contender::{Arena, Contender, Spoiled};
use super::machine::{CpuTimes, Programs};
use crate::latency::Latencies;

/// The parameters of a closed loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loop {
    /// Concurrent clients.
    pub(super) at_once: usize,
    /// Warm-up before counting: until the first workflows have ended, there are fewer to finish
    /// than later.
    pub(super) lead: Duration,
    /// The counted time.
    pub(super) window: Duration,
}

/// The results within the counted time of a loop.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) window: Duration,
    pub(super) accepted: u64,
    pub(super) finished: u64,
    pub(super) to_accepted: Latencies,
    pub(super) to_finished: Latencies,
    pub(super) cpu: CpuTimes,
}

/// Starts many as fast as they are accepted, and then waits for all.
#[derive(Clone, Debug)]
pub(super) struct Burst {
    pub(super) workflow_ids: Vec<String>,
    /// Until the last was accepted.
    pub(super) accepted_within: Duration,
    /// Until the last had ended.
    pub(super) finished_within: Duration,
}

/// One iteration of one client.
struct Trip {
    begun: Instant,
    accepted: Instant,
    finished: Instant,
}

impl Loop {
    /// Runs the clients: each starts one, waits for its end, and starts the next.
    pub(super) async fn measure(
        self,
        arena: &Arena,
        programs: &Programs,
        contender: Contender,
    ) -> Result<Result<Measured, CreationError>, Spoiled> {
        let from = Instant::now().checked_add(self.lead).unwrap_or_else(Instant::now);
        let to = from.checked_add(self.window).unwrap_or(from);
        let clients = (0..self.at_once).map(|_| go_round(arena, contender, to));
        let look = async {
            sleep_until(from).await;
            let first = cpu_times(arena, programs).await?;
            sleep_until(to).await;
            Ok(cpu_times(arena, programs).await?.since(&first))
        };
        let (trips, cpu) = tokio::try_join!(try_join_all(clients), look)?;
        Ok(self.counted(trips.iter().flatten(), from, to, cpu))
    }

    fn counted<'a>(
        self,
        trips: impl Iterator<Item = &'a Trip>,
        from: Instant,
        to: Instant,
        cpu: CpuTimes,
    ) -> Result<Measured, CreationError> {
        let (to_accepted, to_finished) = (Latencies::new()?, Latencies::new()?);
        let window = self.window;
        let mut counted =
            Measured { window, accepted: 0, finished: 0, to_accepted, to_finished, cpu };
        for Trip { begun, accepted, finished } in trips {
            if (from..to).contains(accepted) {
                counted.accepted = counted.accepted.saturating_add(1);
                counted.to_accepted.record(accepted.saturating_duration_since(*begun));
            }
            if (from..to).contains(finished) {
                counted.finished = counted.finished.saturating_add(1);
                counted.to_finished.record(finished.saturating_duration_since(*begun));
            }
        }
        Ok(counted)
    }
}

async fn cpu_times(arena: &Arena, programs: &Programs) -> Result<CpuTimes, Spoiled> {
    let sandboxes = arena.starter_database.sandbox_processes().await;
    Ok(programs.cpu_times(&sandboxes.map_err(Spoiled::Processes)?))
}

async fn go_round(
    arena: &Arena,
    contender: Contender,
    until: Instant,
) -> Result<Vec<Trip>, Spoiled> {
    let mut trips = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        let workflow_id = arena.start(contender).await?;
        let accepted = Instant::now();
        arena.wait(contender, &workflow_id).await?;
        trips.push(Trip { begun, accepted, finished: Instant::now() });
    }
    Ok(trips)
}

/// Starts this many workflows, with concurrent clients that do not wait for their end.
pub(super) async fn burst(
    arena: &Arena,
    contender: Contender,
    count: usize,
    clients: usize,
) -> Result<Burst, Spoiled> {
    let began = Instant::now();
    let starts = stream::iter((0..count).map(|_| arena.start(contender)));
    let workflow_ids = starts.buffer_unordered(clients).try_collect::<Vec<_>>().await?;
    let accepted_within = began.elapsed();
    let waits = workflow_ids.iter().map(|workflow_id| arena.wait(contender, workflow_id));
    stream::iter(waits).buffer_unordered(clients).try_collect::<()>().await?;
    Ok(Burst { workflow_ids, accepted_within, finished_within: began.elapsed() })
}
