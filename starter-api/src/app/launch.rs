//! Launches recorded orders: starts their workflows (transactional outbox).
//!
//! An order is stored together with a launch row, which is deleted once the workflow exists. The
//! starter that has just placed an order launches it at once. Any starter takes what was not
//! launched within a few seconds, oldest first: after a crash, while Temporal is unavailable, after
//! launching was paused, or when orders arrive faster than they can be launched.
//!
//! During a burst of orders, launching yields to accepting; see [`intake`].

mod intake;

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use domain::Order;
use futures::future::join_all;
use runtime::metrics::timestamp;
use sqlx::PgPool;
use sqlx::postgres::types::PgInterval;
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use workflows::order::OrderStart;

use crate::app::launch::intake::Intake;
use crate::app::orders::store::launches::{self, Due, DueRow, Launched};
use crate::app::orders::store::refund_launches::{self, DueRefund};
use crate::error::Problem;
use crate::temporal::{Launch, NotLaunched, Temporal};

/// Counter of started workflows.
pub(crate) const LAUNCHED: &str = "ordersaga_orders_launched_total";
/// Gauge of the orders that wait for their launch.
pub(crate) const BACKLOG: &str = "ordersaga_launch_backlog_orders";
/// Gauge of the age of the oldest of them.
pub(crate) const BACKLOG_OLDEST: &str = "ordersaga_launch_backlog_oldest_seconds";
/// Gauge of when the backlog was last read.
pub(crate) const BACKLOG_SEEN_AT: &str = "ordersaga_launch_backlog_timestamp_seconds";
/// Gauge: 1 while an operator has stopped launching.
pub(crate) const STOPPED: &str = "ordersaga_launching_stopped";
/// Gauge: 1 while launching yields to a burst of orders.
pub(crate) const MAKES_WAY: &str = "ordersaga_launching_makes_way";
/// Gauge: 1 while Temporal starts no workflows.
pub(crate) const TEMPORAL_AWAY: &str = "ordersaga_temporal_away";
/// Counter of attempts that failed because of the order itself.
pub(crate) const LAUNCHES_FAILED: &str = "ordersaga_launches_failed_total";

/// The maximum number of concurrent starts.
const AT_ONCE: usize = 64;

/// The batch size of refunds.
const REFUNDS: i64 = 64;

/// The maximum number of orders queued in this process. Later ones wait in the database.
const PLACES: usize = 1_024;

/// The batch size of orders.
const BATCH: i64 = 256;

/// The number of launches per second while launching yields to a burst.
const FEW: i64 = 2;

/// How often the end of a burst is checked.
const BURST_LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long other starters leave a new order to the process that placed it.
const HEAD_START: PgInterval = PgInterval { months: 0, days: 0, microseconds: 5_000_000 };
const AT_NO_TIME: PgInterval = PgInterval { months: 0, days: 0, microseconds: 0 };

/// How often the backlog is read, and whether launching is stopped.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Launch rows are deleted in batches: of this size, or after this time.
const SETTLE_MOST: usize = 200;
const SETTLE_AFTER: Duration = Duration::from_millis(50);

/// The number of looks over which the launch rate is measured.
const LOOKS: usize = 30;

/// The maximum `Retry-After` for a full backlog.
const RETRY_AFTER_SECONDS_MAX: u64 = 300;

/// The launcher; each starter process has one.
#[derive(Debug)]
pub(crate) struct Launcher {
    database: PgPool,
    temporal: Temporal,
    /// The backlog at which no more orders are accepted.
    backlog_max: u64,
    intake: Intake,
    /// Wakes the launcher when orders were left in the database before the next look.
    listed: Notify,
    places: Arc<Semaphore>,
    at_once: Semaphore,
    under_way: TaskTracker,
    launched: AtomicU64,
    /// Launched orders, whose launch rows can be deleted.
    settled: mpsc::UnboundedSender<Launched>,
    to_settle: Mutex<mpsc::UnboundedReceiver<Launched>>,
    sight: watch::Sender<Sight>,
}

/// The state of the backlog at the last look.
#[derive(Clone, Copy, Debug)]
struct Sight {
    /// Launching is stopped, or the backlog has not been read yet.
    is_stopped: bool,
    /// Older orders are due, so new ones must queue behind them.
    is_queueing: bool,
    /// Temporal starts no workflows at the moment.
    is_away: bool,
    /// The number of orders that wait.
    waiting: u64,
    /// When the backlog will be gone at the launch rate of the last half minute.
    retry_after_seconds: u16,
}

/// The launch rate while launching does not yield.
#[derive(Debug, Default)]
struct Pace {
    /// The total number of launches at the last looks.
    looks: VecDeque<(Instant, u64)>,
    /// The last measured rate: launches, and the time they took.
    known: Option<(u64, Duration)>,
}

/// Permission to place an order, granted before it is placed.
#[derive(Debug)]
pub(crate) struct Admission(Option<OwnedSemaphorePermit>);

impl Admission {
    /// How soon after its placing any launcher may take the order from the database.
    pub(crate) const fn launch_after(&self) -> PgInterval {
        if self.0.is_some() { HEAD_START } else { AT_NO_TIME }
    }
}

impl Launch {
    fn of(order: &Order) -> Self {
        Self {
            start: OrderStart::of(order),
            customer_id: order.customer_id.clone(),
            total: order.totals.total,
            country: order.ship_to.country,
            is_recovery: false,
        }
    }
}

impl Launcher {
    /// `burst_per_second` is the rate of orders from which launching yields.
    pub(crate) fn new(
        database: PgPool,
        temporal: Temporal,
        backlog_max: u64,
        burst_per_second: NonZeroU32,
    ) -> Self {
        let (settled, to_settle) = mpsc::unbounded_channel();
        let sight = Sight {
            is_stopped: true,
            is_queueing: true,
            is_away: false,
            waiting: 0,
            retry_after_seconds: 1,
        };
        Self {
            database,
            temporal,
            backlog_max,
            intake: Intake::of(burst_per_second, Instant::now()),
            listed: Notify::new(),
            places: Arc::new(Semaphore::new(PLACES)),
            at_once: Semaphore::new(AT_ONCE),
            under_way: TaskTracker::new(),
            launched: AtomicU64::new(0),
            settled,
            to_settle: Mutex::new(to_settle),
            sight: watch::Sender::new(sight),
        }
    }

    /// Admits one more order, or refuses it.
    ///
    /// **Errors.** 503 with a measured `Retry-After` if the backlog is full.
    pub(crate) fn admit(&self) -> Result<Admission, Problem> {
        let sight = *self.sight.borrow();
        if sight.waiting >= self.backlog_max {
            let detail = "Too many orders wait to be processed. Nothing was done; send the order \
                          again after the time in Retry-After.";
            return Err(Problem::overloaded(detail).with_retry_after(sight.retry_after_seconds));
        }
        let is_burst = self.intake.comes(Instant::now());
        if sight.is_stopped || sight.is_queueing || sight.is_away {
            return Ok(Admission(None));
        }
        if is_burst {
            // Orders after the burst queue behind those that it leaves.
            self.sight.send_modify(|sight| sight.is_queueing = true);
            self.listed.notify_one();
            return Ok(Admission(None));
        }
        Ok(Admission(Arc::clone(&self.places).try_acquire_owned().ok()))
    }

    /// Launches an order that was just placed, if its admission allows that.
    pub(crate) fn launch(self: &Arc<Self>, order: &Order, admission: Admission) {
        let Admission(Some(place)) = admission else { return };
        let (launcher, launch) = (Arc::clone(self), Launch::of(order));
        self.under_way.spawn(async move {
            launcher.carry_out(&launch).await;
            drop(place);
        });
    }

    /// Launches due orders until `stop`. After `served`, when no more orders are placed, it
    /// finishes what is in progress and returns.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken, served: CancellationToken) {
        let settle_all = CancellationToken::new();
        let settling = tokio::spawn(Arc::clone(&self).settle(settle_all.clone()));
        stop.run_until_cancelled(self.launch_due()).await;
        served.cancelled().await;
        self.under_way.close();
        self.under_way.wait().await;
        settle_all.cancel();
        if let Err(error) = settling.await {
            tracing::error!(%error, "the launcher's list was not brought up to date");
        }
    }

    async fn launch_due(self: &Arc<Self>) {
        let mut pace = Pace::default();
        loop {
            let next_look = self.look(&mut pace).await;
            let is_stopped = self.sight.borrow().is_stopped;
            if !is_stopped {
                self.launch_refunds().await;
            }
            loop {
                let there_is_more = self.launch_some(next_look).await;
                if Instant::now() >= next_look {
                    break;
                }
                // Before the next look, only a burst leaves orders in the database.
                if !there_is_more && timeout_at(next_look, self.listed.notified()).await.is_err() {
                    break;
                }
            }
        }
    }

    /// Launches some due orders; returns whether there may be more.
    async fn launch_some(self: &Arc<Self>, next_look: Instant) -> bool {
        let sight = *self.sight.borrow();
        let makes_way = self.makes_way();
        let most = match (sight.is_away, makes_way) {
            // While Temporal is unavailable, one order is enough as a probe.
            (true, _) => 1,
            (false, true) => FEW,
            (false, false) => BATCH,
        };
        let mut there_is_more = !sight.is_stopped && self.take_due(most).await;
        if makes_way && !sight.is_stopped {
            // The rest of the second belongs to the burst, unless the burst ends earlier and leaves
            // more orders.
            there_is_more = self.burst_is_over(next_look).await;
        }
        self.sight.send_modify(|sight| {
            sight.is_queueing = there_is_more || makes_way || sight.is_stopped || sight.is_away;
        });
        there_is_more
    }

    /// Whether launching yields to a burst of orders.
    fn makes_way(&self) -> bool {
        let makes_way = self.intake.is_burst(Instant::now());
        metrics::gauge!(MAKES_WAY).set(u8::from(makes_way));
        makes_way
    }

    /// Waits for the end of a burst; returns whether it ended before the deadline.
    async fn burst_is_over(&self, by: Instant) -> bool {
        loop {
            if !self.makes_way() {
                return true;
            }
            let now = Instant::now();
            if now >= by {
                return false;
            }
            sleep_until(now.checked_add(BURST_LOOK_EVERY).map_or(by, |next| next.min(by))).await;
        }
    }

    /// Launches due refunds. They are few compared to orders, so each row is deleted separately.
    async fn launch_refunds(&self) {
        match refund_launches::claim(&self.database, REFUNDS).await {
            Ok(due) => {
                join_all(due.iter().map(|due| self.launch_refund(due))).await;
            }
            Err(error) => {
                tracing::warn!(error = runtime::chain(&error), "no refunds could be taken");
            }
        }
    }

    async fn launch_refund(&self, due: &DueRefund) {
        // The semaphore is never closed.
        let Ok(_turn) = self.at_once.acquire().await else { return };
        let start = due.start();
        let launched = if due.is_open {
            self.temporal.launch_refund(start, due.is_recovery).await
        } else {
            Ok(())
        };
        match launched {
            Ok(()) => note(refund_launches::settle(&self.database, due).await),
            // Its claim expires after ten seconds, and it is claimed again.
            Err(NotLaunched::Unavailable(why)) => {
                tracing::warn!(refund = start.refund.workflow_id(), why, "a refund waits");
            }
            Err(NotLaunched::Refused(why)) => {
                let refund = start.refund.workflow_id();
                tracing::error!(refund, why, "a refund cannot be launched; it is tried again");
                metrics::counter!(LAUNCHES_FAILED).increment(1);
                note(refund_launches::fail(&self.database, due, &why).await);
            }
        }
    }

    /// Reads the backlog; returns when to read it again.
    async fn look(&self, pace: &mut Pace) -> Instant {
        let now = Instant::now();
        match launches::look(&self.database).await {
            Ok(backlog) => {
                let waiting = u32::try_from(backlog.waiting).unwrap_or(u32::MAX);
                metrics::gauge!(BACKLOG).set(waiting);
                metrics::gauge!(BACKLOG_OLDEST).set(backlog.oldest_seconds);
                metrics::gauge!(BACKLOG_SEEN_AT).set(timestamp(SystemTime::now()));
                metrics::gauge!(STOPPED).set(u8::from(backlog.is_stopped));
                let launched = self.launched.load(Ordering::Relaxed);
                pace.note(now, launched, self.makes_way());
                let waiting = u64::from(waiting);
                let retry_after_seconds = pace.retry_after(waiting);
                self.sight.send_modify(|sight| {
                    if sight.is_stopped != backlog.is_stopped {
                        tracing::info!(is_stopped = backlog.is_stopped, waiting, "launching");
                    }
                    sight.is_stopped = backlog.is_stopped;
                    sight.waiting = waiting;
                    sight.retry_after_seconds = retry_after_seconds;
                });
            }
            Err(error) => {
                tracing::warn!(error = runtime::chain(&error), "the launcher saw no backlog");
            }
        }
        now.checked_add(LOOK_EVERY).unwrap_or(now)
    }

    /// Launches at most so many due orders; returns whether there may be more.
    async fn take_due(self: &Arc<Self>, most: i64) -> bool {
        let rows = match launches::claim(&self.database, most).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!(error = runtime::chain(&error), "no orders could be taken");
                return false;
            }
        };
        let is_full = i64::try_from(rows.len()).is_ok_and(|taken| taken == most);
        let launching = rows.into_iter().map(|row| {
            let launcher = Arc::clone(self);
            // The task continues when the launcher is stopped.
            self.under_way.spawn(async move { launcher.carry_out_due(row).await })
        });
        join_all(launching.collect::<Vec<_>>()).await;
        is_full && !self.sight.borrow().is_away
    }

    async fn carry_out_due(&self, row: DueRow) {
        let order = row.order_id;
        match row.read() {
            Ok(Due::Launch(launch)) => self.carry_out(&launch).await,
            Ok(Due::Ended(ended)) => self.no_longer_waits(ended),
            Err(error) => self.failed(order, &error.to_string()).await,
        }
    }

    async fn carry_out(&self, launch: &Launch) {
        let order = launch.start.order_id.uuid();
        // The semaphore is never closed.
        let Ok(_turn) = self.at_once.acquire().await else { return };
        match self.temporal.launch(launch).await {
            Ok(()) => {
                self.launched.fetch_add(1, Ordering::Relaxed);
                metrics::counter!(LAUNCHED).increment(1);
                self.see_temporal(None);
                let (order_id, is_recovery) = (launch.start.order_id, launch.is_recovery);
                self.no_longer_waits(Launched { order_id, is_recovery });
            }
            Err(NotLaunched::Unavailable(why)) => {
                self.see_temporal(Some(&why));
                let postponed = launches::postpone(&self.database, order).await;
                note(postponed);
            }
            Err(NotLaunched::Refused(why)) => self.failed(order, &why).await,
        }
    }

    /// Records whether Temporal starts workflows, or why it does not.
    fn see_temporal(&self, away: Option<&str>) {
        metrics::gauge!(TEMPORAL_AWAY).set(u8::from(away.is_some()));
        self.sight.send_if_modified(|sight| {
            let is_news = sight.is_away != away.is_some();
            sight.is_away = away.is_some();
            match away {
                Some(why) if is_news => tracing::warn!(why, "orders wait for Temporal"),
                None if is_news => tracing::info!("Temporal launches orders again"),
                Some(_) | None => {}
            }
            is_news
        });
    }

    async fn failed(&self, order: Uuid, why: &str) {
        tracing::error!(%order, why, "an order cannot be launched; it is tried again");
        metrics::counter!(LAUNCHES_FAILED).increment(1);
        note(launches::fail(&self.database, order, why).await);
    }

    fn no_longer_waits(&self, launched: Launched) {
        if self.settled.send(launched).is_err() {
            tracing::debug!(order = %launched.order_id, "the launcher has ended; the row is taken once more");
        }
    }

    /// Deletes the rows of launched orders in batches, until `stop`.
    async fn settle(self: Arc<Self>, stop: CancellationToken) {
        let mut arriving = self.to_settle.lock().await;
        let mut batch = Vec::with_capacity(SETTLE_MOST);
        while !stop.is_cancelled() {
            let more = async {
                if batch.is_empty() {
                    arriving.recv_many(&mut batch, SETTLE_MOST).await;
                }
                let now = Instant::now();
                let until = now.checked_add(SETTLE_AFTER).unwrap_or(now);
                while let left @ 1.. = SETTLE_MOST.saturating_sub(batch.len()) {
                    let arrived = timeout_at(until, arriving.recv_many(&mut batch, left)).await;
                    if arrived.is_err() {
                        break;
                    }
                }
            };
            stop.run_until_cancelled(more).await;
            if !self.settle_batch(&mut batch).await {
                stop.run_until_cancelled(sleep(LOOK_EVERY)).await;
            }
        }
        while let Ok(order) = arriving.try_recv() {
            batch.push(order);
        }
        self.settle_batch(&mut batch).await;
    }

    async fn settle_batch(&self, batch: &mut Vec<Launched>) -> bool {
        match launches::settle(&self.database, batch).await {
            Ok(()) => {
                batch.clear();
                true
            }
            Err(error) => {
                tracing::warn!(error = runtime::chain(&error), "launched orders stay listed");
                false
            }
        }
    }
}

/// A row that was not updated becomes due again later.
fn note(updated: Result<(), sqlx::Error>) {
    if let Err(error) = updated {
        tracing::warn!(error = runtime::chain(&error), "a launch row was not updated");
    }
}

impl Pace {
    /// Records the total number of launches.
    fn note(&mut self, now: Instant, launched: u64, makes_way: bool) {
        if makes_way {
            // The rate of a yielding launcher says nothing about how soon the backlog will be gone.
            self.looks.clear();
            return;
        }
        if self.looks.len() == LOOKS {
            self.looks.pop_front();
        }
        if let Some((before, launched_before)) = self.looks.front() {
            let took = now.saturating_duration_since(*before);
            self.known = Some((launched.saturating_sub(*launched_before), took));
        }
        self.looks.push_back((now, launched));
    }

    /// The estimated time to launch this many orders.
    fn retry_after(&self, waiting: u64) -> u16 {
        let (launched, took) = self.known.unwrap_or_default();
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let millis = waiting.saturating_mul(took).checked_div(launched);
        let seconds = millis.map_or(RETRY_AFTER_SECONDS_MAX, |millis| millis.div_ceil(1_000));
        let seconds = seconds.clamp(1, RETRY_AFTER_SECONDS_MAX);
        u16::try_from(seconds).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(begun: Instant, seconds: u64) -> Instant {
        begun.checked_add(Duration::from_secs(seconds)).unwrap()
    }

    #[test]
    fn a_caller_is_asked_to_wait_for_as_long_as_the_backlog_takes() {
        let begun = Instant::now();
        let asked = |waiting, before, launched, seconds| {
            let mut pace = Pace::default();
            pace.note(begun, before, false);
            pace.note(after(begun, seconds), launched, false);
            pace.retry_after(waiting)
        };
        assert_eq!(asked(1_000, 500, 1_500, 10), 10);
        assert_eq!(asked(10, 0, 1_000, 1), 1);
        assert_eq!(asked(100_000, 0, 10, 10), 300);
        // Nothing is launched, so there is no estimate.
        assert_eq!(asked(10, 7, 7, 10), 300);
    }

    #[test]
    fn a_burst_does_not_change_how_long_a_caller_is_asked_to_wait() {
        let (begun, mut pace) = (Instant::now(), Pace::default());
        assert_eq!(pace.retry_after(1_000), 300, "nobody knows yet");
        pace.note(begun, 0, false);
        pace.note(after(begun, 10), 1_000, false);
        for second in 11..60 {
            pace.note(after(begun, second), 1_000, true);
            assert_eq!(pace.retry_after(1_000), 10);
        }
        // The first look after the burst restarts the measurement, and the next one completes it.
        pace.note(after(begun, 60), 1_000, false);
        assert_eq!(pace.retry_after(1_000), 10);
        pace.note(after(begun, 61), 1_200, false);
        assert_eq!(pace.retry_after(1_000), 5);
    }
}
