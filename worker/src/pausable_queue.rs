//! Polls one task queue until shutdown or pause.
//!
//! The queue `orders` is never paused here: pausing it stops launches instead, and orders in
//! progress run to completion, so that none of them loses time.
//!
//! The SDK keeps a token of every activity that a worker has ever started (1.1.1:
//! `task_tokens_to_cancels`), so a worker's memory grows without bound. After a number of activities
//! (`WORKER_REPLACED_AFTER`) a worker is *worn*: a new one replaces it, and it stops once its running
//! tasks have finished.

use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use sqlx::PgPool;
use temporalio_sdk::interceptors::{
    ActivityInboundInterceptor, ExecuteActivityInput, ExecuteActivityOutput, Next,
};
use temporalio_sdk::{Worker, WorkerRunError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use workflows::Queue;

use crate::run::RunError;

/// How often the worker checks whether its queue is paused.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Counts a worker's activities; register it as an interceptor.
#[derive(Clone, Debug)]
pub struct Wear(Arc<Count>);

#[derive(Debug)]
struct Count {
    /// Activities left until the worker is replaced.
    left: AtomicU32,
    worn: Notify,
}

impl Wear {
    fn after(activities: u32) -> Self {
        Self(Arc::new(Count { left: AtomicU32::new(activities), worn: Notify::new() }))
    }

    /// Waits until the worker has to be replaced. Resolves once.
    async fn out(&self) {
        self.0.worn.notified().await;
    }
}

impl ActivityInboundInterceptor for Wear {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        if self.0.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.worn.notify_one();
        }
        next.run(input)
    }
}

/// Serves a queue until `stop`. While the queue is paused, its worker finishes its running tasks
/// and stops; a new worker is made on resumption, and after `worn_after` activities. Calls `served`
/// on every change.
pub async fn serve(
    worn_after: u32,
    db: &PgPool,
    queue: Queue,
    make: impl Fn(Wear) -> Result<Worker, RunError>,
    served: impl Fn(bool),
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let make = || {
        let wear = Wear::after(worn_after);
        Ok::<_, RunError>(Running::of(make(wear.clone())?, wear))
    };
    loop {
        if stop.run_until_cancelled(until(db, queue, false)).await.is_none() {
            return Ok(());
        }
        let first = make()?;
        served(true);
        let pause = stop.run_until_cancelled(until(db, queue, true));
        let ended = renewed(first, &make, queue, pause).await;
        served(false);
        ended?;
        if stop.is_cancelled() {
            return Ok(());
        }
    }
}

/// A worker that polls.
struct Running {
    wear: Wear,
    shut_down: Box<dyn Fn()>,
    ended: Ended,
}

/// Resolves when the worker has stopped.
type Ended = Pin<Box<dyn Future<Output = Result<(), WorkerRunError>>>>;

impl Running {
    fn of(mut worker: Worker, wear: Wear) -> Self {
        let shut_down = Box::new(worker.shutdown_handle());
        Self { wear, shut_down, ended: Box::pin(async move { worker.run().await }) }
    }
}

/// Replaces worn workers until `pause`, and then waits until all of them have finished their
/// running tasks. A worn worker stops polling at the moment that its successor starts: the SDK
/// allows one polling worker per connection and queue, and does not count one that is shutting
/// down.
async fn renewed<P>(
    mut polls: Running,
    make: &impl Fn() -> Result<Running, RunError>,
    queue: Queue,
    pause: impl Future<Output = P>,
) -> Result<(), RunError> {
    let stopped = |source| RunError::Stopped { queue: queue.name(), source };
    let (mut pause, mut finishing) = (pin!(pause), FuturesUnordered::<Ended>::new());
    loop {
        tokio::select! {
            ended = &mut polls.ended => {
                ended.map_err(stopped)?;
                break;
            }
            Some(ended) = finishing.next() => ended.map_err(stopped)?,
            () = polls.wear.out() => {
                info!(queue = queue.name(), "the worker is worn: a new one replaces it");
                (polls.shut_down)();
                finishing.push(mem::replace(&mut polls, make()?).ended);
            }
            _paused = &mut pause => {
                (polls.shut_down)();
                finishing.push(polls.ended);
                break;
            }
        }
    }
    while let Some(ended) = finishing.next().await {
        ended.map_err(stopped)?;
    }
    Ok(())
}

/// Waits until the queue is paused, or resumed. While the database does not answer, nothing
/// changes.
async fn until(db: &PgPool, queue: Queue, paused: bool) {
    let mut due = tokio::time::interval(LOOK_EVERY);
    let mut told = false;
    loop {
        due.tick().await;
        match is_paused(db, queue).await {
            Ok(is_paused) if is_paused == paused => return,
            Ok(is_paused) => {
                if is_paused && !told {
                    info!(queue = queue.name(), "an operator has paused the queue");
                    told = true;
                }
            }
            Err(error) if paused => {
                warn!(queue = queue.name(), %error, "cannot check whether the queue is to be paused");
            }
            Err(error) => {
                warn!(queue = queue.name(), %error, "cannot check whether the queue may be resumed");
            }
        }
    }
}

async fn is_paused(db: &PgPool, queue: Queue) -> sqlx::Result<bool> {
    if queue == Queue::Orders {
        return Ok(false);
    }
    sqlx::query_scalar!(
        r#"select exists (
               select from operations.paused_queues where queue = $1
           ) as "paused!""#,
        queue.name(),
    )
    .fetch_one(db)
    .await
}
