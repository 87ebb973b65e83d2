//! The demo's progress: a progress bar on a terminal, plain lines in a log.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::latency::{per_second, rounded};
use crate::screen;

/// The number of orders placed and ended.
#[derive(Debug)]
pub(super) struct Progress {
    total: u64,
    placed: AtomicU64,
    ended: AtomicU64,
    began: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Starts at zero of this many orders.
    pub(super) fn of(total: usize) -> Self {
        let total = u64::try_from(total).unwrap_or(u64::MAX);
        let bar = screen::is_watched().then(|| ProgressBar::new(total).with_style(style()));
        let (placed, ended) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { total, placed, ended, began: Instant::now(), bar }
    }

    /// Counts a placed order.
    pub(super) fn placed(&self) {
        self.placed.fetch_add(1, Ordering::Relaxed);
        self.show();
    }

    /// Counts an ended order.
    pub(super) fn ended(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.show();
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
