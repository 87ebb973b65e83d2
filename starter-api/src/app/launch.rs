//! Launches the orders that are on record: starts their workflows.
//!
//! An order is put on record together with a row that says it has to be launched; the row goes
//! once the workflow exists. A starter that has just placed an order launches it at once. Whatever
//! is not launched after a moment is taken by any starter, the oldest first: after a crash, while
//! Temporal is away, after the line was stopped, or when orders come faster than they can be
//! launched.
//!
//! While more orders come in than could be carried out, launching makes way for accepting; see
//! [`intake`].

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

/// Orders whose workflow was started.
pub(crate) const LAUNCHED: &str = "ordersaga_orders_launched_total";
/// Orders that wait for their launch.
pub(crate) const BACKLOG: &str = "ordersaga_launch_backlog_orders";
/// How long the oldest of them has waited.
pub(crate) const BACKLOG_OLDEST: &str = "ordersaga_launch_backlog_oldest_seconds";
/// When it was last looked.
pub(crate) const BACKLOG_SEEN_AT: &str = "ordersaga_launch_backlog_timestamp_seconds";
/// 1 while an operator has stopped launching.
pub(crate) const STOPPED: &str = "ordersaga_launching_stopped";
/// 1 while launching makes way for a burst of orders.
pub(crate) const MAKES_WAY: &str = "ordersaga_launching_makes_way";
/// 1 while Temporal starts no workflows.
pub(crate) const TEMPORAL_AWAY: &str = "ordersaga_temporal_away";
/// Attempts that failed for a reason of the order's own.
pub(crate) const LAUNCHES_FAILED: &str = "ordersaga_launches_failed_total";

/// How many workflows are started at once.
const AT_ONCE: usize = 64;

/// How many refunds are taken from the database at once.
const REFUNDS: i64 = 64;

/// How many orders may wait in this process to be launched by it. Later ones wait in the database.
const PLACES: usize = 1_024;

/// How many orders are taken from the database at once.
const BATCH: i64 = 256;

/// How many are launched a second while launching makes way for a burst.
const FEW: i64 = 2;

/// How soon it is noticed that a burst is over.
const BURST_LOOK_EVERY: Duration = Duration::from_millis(50);

/// How soon another starter takes an order that this one launches at once.
const HEAD_START: PgInterval = PgInterval { months: 0, days: 0, microseconds: 5_000_000 };
const AT_NO_TIME: PgInterval = PgInterval { months: 0, days: 0, microseconds: 0 };

/// How often it is looked at what waits, and whether the line is stopped.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Launched orders are taken off the list together: so many, or after so long.
const SETTLE_MOST: usize = 200;
const SETTLE_AFTER: Duration = Duration::from_millis(50);

/// Over how many looks the rate of launching is measured.
const LOOKS: usize = 30;

/// The longest that a caller is asked to wait for the backlog to shrink.
const RETRY_AFTER_SECONDS_MAX: u64 = 300;

/// Launches orders. One for each starter.
#[derive(Debug)]
pub(crate) struct Launcher {
    database: PgPool,
    temporal: Temporal,
    /// With so many orders waiting, no more are accepted.
    backlog_max: u64,
    intake: Intake,
    /// Orders were left on the list, which nobody looks at before the next look.
    listed: Notify,
    places: Arc<Semaphore>,
    at_once: Semaphore,
    under_way: TaskTracker,
    launched: AtomicU64,
    /// Orders that no longer wait.
    settled: mpsc::UnboundedSender<Launched>,
    to_settle: Mutex<mpsc::UnboundedReceiver<Launched>>,
    sight: watch::Sender<Sight>,
}

/// What the launcher saw last.
#[derive(Clone, Copy, Debug)]
struct Sight {
    /// Launching is stopped, or it has not been looked yet.
    is_stopped: bool,
    /// Older orders are due, so that new ones wait behind them.
    is_queueing: bool,
    /// Temporal starts nothing at the moment.
    is_away: bool,
    /// How many orders wait.
    waiting: u64,
    /// When the backlog will be gone at the rate of the last half minute.
    retry_after_seconds: u16,
}

/// How fast launching is while it makes way for nothing.
#[derive(Debug, Default)]
struct Pace {
    /// How many had been launched at the last looks.
    looks: VecDeque<(Instant, u64)>,
    /// So many within so long.
    known: Option<(u64, Duration)>,
}

/// Leave to place an order, given before it is placed.
#[derive(Debug)]
pub(crate) struct Admission(Option<OwnedSemaphorePermit>);

impl Admission {
    /// How soon after its placing a launcher may take the order from the database.
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
    /// So many orders a second are a burst, for which launching makes way.
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

    /// Whether one more order may be placed.
    ///
    /// **Errors.** 503 with an honest `Retry-After` when too many wait already.
    pub(crate) fn admit(&self) -> Result<Admission, Problem> {
        let sight = *self.sight.borrow();
        if sight.waiting >= self.backlog_max {
            let detail = "More orders wait to be processed than the shop lets wait. Nothing was \
                          done; send the order again after the time in Retry-After.";
            return Err(Problem::overloaded(detail).with_retry_after(sight.retry_after_seconds));
        }
        let is_burst = self.intake.comes(Instant::now());
        if sight.is_stopped || sight.is_queueing || sight.is_away {
            return Ok(Admission(None));
        }
        if is_burst {
            // Those that come after the burst wait behind those that it leaves.
            self.sight.send_modify(|sight| sight.is_queueing = true);
            self.listed.notify_one();
            return Ok(Admission(None));
        }
        Ok(Admission(Arc::clone(&self.places).try_acquire_owned().ok()))
    }

    /// Launches an order that was placed a moment ago, if it was admitted to be launched at once.
    pub(crate) fn launch(self: &Arc<Self>, order: &Order, admission: Admission) {
        let Admission(Some(place)) = admission else { return };
        let (launcher, launch) = (Arc::clone(self), Launch::of(order));
        self.under_way.spawn(async move {
            launcher.carry_out(&launch).await;
            drop(place);
        });
    }

    /// Launches what is due until `stop`. After `served`, when no more orders are placed, finishes
    /// what is under way and returns.
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
                // Before the next look, only a burst leaves orders on the list.
                if !there_is_more && timeout_at(next_look, self.listed.notified()).await.is_err() {
                    break;
                }
            }
        }
    }

    /// Launches some of what is due; whether there may be more.
    async fn launch_some(self: &Arc<Self>, next_look: Instant) -> bool {
        let sight = *self.sight.borrow();
        let makes_way = self.makes_way();
        let most = match (sight.is_away, makes_way) {
            // One order is enough to find out whether Temporal is back.
            (true, _) => 1,
            (false, true) => FEW,
            (false, false) => BATCH,
        };
        let mut there_is_more = !sight.is_stopped && self.take_due(most).await;
        if makes_way && !sight.is_stopped {
            // The rest of the second is the burst's, unless it is over before and has left more.
            there_is_more = self.burst_is_over(next_look).await;
        }
        self.sight.send_modify(|sight| {
            sight.is_queueing = there_is_more || makes_way || sight.is_stopped || sight.is_away;
        });
        there_is_more
    }

    /// Whether launching makes way for a burst of orders.
    fn makes_way(&self) -> bool {
        let makes_way = self.intake.is_burst(Instant::now());
        metrics::gauge!(MAKES_WAY).set(u8::from(makes_way));
        makes_way
    }

    /// Waits for the end of a burst; whether it has come by then.
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

    /// Launches refunds that are due. They are few beside the orders, and each is taken off the list
    /// by itself.
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
            // It is taken again ten seconds after it was taken.
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

    /// Looks at what waits; answers when to look again.
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

    /// Launches so many orders that are due; whether there may be more.
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
            // Goes on when the launcher is stopped.
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

    /// Temporal has started a workflow, or does not for this reason.
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

    /// Takes launched orders off the list, many together, until `stop`.
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

/// A row that was not updated is taken again when its time has come.
fn note(updated: Result<(), sqlx::Error>) {
    if let Err(error) = updated {
        tracing::warn!(error = runtime::chain(&error), "a launch row was not updated");
    }
}

impl Pace {
    /// Notes how many have been launched in all.
    fn note(&mut self, now: Instant, launched: u64, makes_way: bool) {
        if makes_way {
            // How few are launched meanwhile does not tell how soon the backlog will be gone.
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

    /// How long so many orders take to launch.
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
        // Nothing is launched: nobody knows.
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
        // The first look afterwards begins anew, and the next one measures.
        pace.note(after(begun, 60), 1_000, false);
        assert_eq!(pace.retry_after(1_000), 10);
        pace.note(after(begun, 61), 1_200, false);
        assert_eq!(pace.retry_after(1_000), 5);
    }
}
