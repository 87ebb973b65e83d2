//! The demo's progress: a progress bar on a terminal, plain lines in a log.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::latency::{per_second, rounded};
use crate::ordersaga::Order;
use crate::screen;

/// The number of orders placed and ended.
#[derive(Debug)]
pub(super) struct Progress {
    total: u64,
    placed: AtomicU64,
    ended: AtomicU64,
    began: Instant,
    /// When the launcher was started, if it says so.
    launched_at: Option<SystemTime>,
    has_shipped: AtomicBool,
    one_ended: Notify,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Starts at zero of this many orders.
    pub(super) fn of(total: usize, launched_at: Option<u64>) -> Self {
        let total = u64::try_from(total).unwrap_or(u64::MAX);
        let bar = screen::is_watched().then(|| ProgressBar::new(total).with_style(style()));
        let (placed, ended) = (AtomicU64::new(0), AtomicU64::new(0));
        let launched_at = launched_at
            .and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
        let (began, has_shipped) = (Instant::now(), AtomicBool::new(false));
        let one_ended = Notify::new();
        Self { total, placed, ended, began, launched_at, has_shipped, one_ended, bar }
    }

    /// Counts a placed order.
    pub(super) fn placed(&self) {
        self.placed.fetch_add(1, Ordering::Relaxed);
        self.show();
    }

    /// Counts an ended order.
    pub(super) fn ended(&self, order: &Order) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.one_ended.notify_one();
        if order.is_completed() && !self.has_shipped.swap(true, Ordering::Relaxed) {
            self.first_shipped();
        }
        self.show();
    }

    /// Waits until an order has ended, but no longer than this.
    pub(super) async fn until_one_has_ended(&self, patience: Duration) {
        // If it does not end, the report says so.
        drop(timeout(patience, self.one_ended.notified()).await);
    }

    /// Says how long a person has waited for the first shipped order, the build included.
    fn first_shipped(&self) {
        let took = self.launched_at.and_then(|launched_at| launched_at.elapsed().ok());
        let Some(took) = took else { return };
        let text = format!("the first order was shipped {} after the start", in_minutes(took));
        match &self.bar {
            Some(bar) => bar.suspend(|| drop(screen::say(text))),
            None => drop(screen::say(text)),
        }
    }

    /// Runs the work; without a bar, prints the progress every few seconds.
    pub(super) async fn shown_while<T>(&self, work: impl Future<Output = T>) -> T {
        let mut every = tokio::time::interval(LINE_INTERVAL);
        every.tick().await;
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = every.tick() => self.line(),
            }
        }
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        match &self.bar {
            Some(bar) => bar.finish_and_clear(),
            None => self.line(),
        }
    }

    fn show(&self) {
        if let Some(bar) = &self.bar {
            bar.set_position(self.ended.load(Ordering::Relaxed));
            bar.set_message(self.text());
        }
    }

    fn line(&self) {
        if self.bar.is_none() {
            // A log that cannot be written must not stop the orders.
            drop(screen::say(self.text()));
        }
    }

    fn text(&self) -> String {
        let (placed, ended) =
            (self.placed.load(Ordering::Relaxed), self.ended.load(Ordering::Relaxed));
        let rate = rounded(per_second(ended, self.began.elapsed()), 0);
        format!("placed {placed}, ended {ended} of {}, {rate} a second", self.total)
    }
}

const LINE_INTERVAL: Duration = Duration::from_secs(5);

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:40} {msg}")
        .unwrap_or_else(|_unreadable| ProgressStyle::default_bar())
}

fn in_minutes(took: Duration) -> String {
    let seconds = took.as_secs();
    format!("{} min {} s", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_and_seconds_add_up() {
        assert_eq!(in_minutes(Duration::from_millis(239_900)), "3 min 59 s");
        assert_eq!(in_minutes(Duration::from_secs(7)), "0 min 7 s");
    }
}
