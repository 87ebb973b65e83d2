//! Detects bursts of orders, during which launching yields to accepting.
//!
//! Processing an order takes a hundred times the CPU time of accepting it. So during a burst few
//! orders are launched, and the machine accepts; the rest is launched afterwards, oldest first.
//!
//! To avoid starvation under sustained load, launching yields for at most a minute at a stretch,
//! and for at most half of the time.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The tolerance of the burst detector: orders that arrive together count as a burst only if they
/// exceed the burst rate over this time.
const AT_ONCE: Duration = Duration::from_millis(125);

/// A burst ends this long after its last order, or after twice the interval of the burst rate if
/// that is longer.
const OVER_AFTER: Duration = Duration::from_millis(250);

/// The longest time for which launching yields at a stretch.
const STRETCH_MAX: Duration = Duration::from_mins(1);

/// The burst detector (a leaky bucket).
#[derive(Debug)]
pub(super) struct Intake {
    /// The interval between orders at just below the burst rate.
    each: Duration,
    flow: Mutex<Flow>,
}

#[derive(Debug)]
struct Flow {
    /// When the orders received so far would be finished at that rate.
    taken_until: Instant,
    /// Whether launching yields.
    is_burst: bool,
    /// The time allowed for yielding is used up, and orders still arrive as fast.
    is_spent: bool,
    /// How much longer launching may yield, as of the last update.
    left: Duration,
    seen_at: Instant,
}

impl Intake {
    /// `burst_per_second` is the rate from which orders count as a burst.
    pub(super) fn of(burst_per_second: NonZeroU32, now: Instant) -> Self {
        let each = Duration::from_secs(1).checked_div(burst_per_second.get());
        let flow = Flow {
            taken_until: now,
            is_burst: false,
            is_spent: false,
            left: STRETCH_MAX,
            seen_at: now,
        };
        Self { each: each.unwrap_or_default(), flow: Mutex::new(flow) }
    }

    /// Registers an order; returns whether it is part of a burst to which launching yields.
    pub(super) fn comes(&self, now: Instant) -> bool {
        let longest = OVER_AFTER.max(self.each.saturating_mul(2));
        self.look(now, |flow| {
            let taken = flow.taken_until.max(now).checked_add(self.each);
            let latest = now.checked_add(longest);
            flow.taken_until = taken.min(latest).unwrap_or(now);
        })
    }

    /// Whether launching yields.
    pub(super) fn is_burst(&self, now: Instant) -> bool {
        self.look(now, |_flow| {})
    }

    fn look(&self, now: Instant, change: impl FnOnce(&mut Flow)) -> bool {
        let mut flow = self.flow.lock().unwrap_or_else(PoisonError::into_inner);
        flow.pass(now);
        flow.judge(now);
        change(&mut flow);
        flow.judge(now);
        flow.is_burst
    }
}

impl Flow {
    /// Advances the time: launching uses up its allowance while it yields, and earns it otherwise.
    fn pass(&mut self, now: Instant) {
        let before = self.seen_at;
        self.seen_at = now.max(before);
        let passed = now.saturating_duration_since(before);
        // A burst that nobody checked ended when its orders would have been finished.
        let made_way = if self.is_burst {
            passed.min(self.taken_until.saturating_duration_since(before))
        } else {
            Duration::ZERO
        };
        let earned = passed.saturating_sub(made_way);
        self.left = self.left.saturating_sub(made_way).saturating_add(earned).min(STRETCH_MAX);
    }

    fn judge(&mut self, now: Instant) {
        let ahead = self.taken_until.saturating_duration_since(now);
        if ahead.is_zero() {
            (self.is_burst, self.is_spent) = (false, false);
        } else if self.is_burst {
            self.is_spent = self.left.is_zero();
            self.is_burst = !self.is_spent;
        } else if ahead > AT_ONCE {
            self.is_burst = !self.is_spent && !self.left.is_zero();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BURST: u32 = 250;

    /// A test clock.
    struct Clock(Instant);

    impl Clock {
        fn after(&mut self, millis: u64) -> Instant {
            self.0 = self.0.checked_add(Duration::from_millis(millis)).unwrap();
            self.0
        }
    }

    fn intake() -> (Clock, Intake) {
        let now = Instant::now();
        (Clock(now), Intake::of(NonZeroU32::new(BURST).unwrap(), now))
    }

    /// Sends orders at an even interval; returns how long launching yielded, in milliseconds.
    fn come(clock: &mut Clock, intake: &Intake, orders: u32, millis_apart: u64) -> u64 {
        let made_way = (0..orders).filter(|_order| intake.comes(clock.after(millis_apart))).count();
        u64::try_from(made_way).unwrap().saturating_mul(millis_apart)
    }

    #[test]
    fn launching_makes_way_for_a_burst_and_goes_on_after_it() {
        let (mut clock, intake) = intake();
        // Just below the burst rate, for any length of time.
        assert_eq!(come(&mut clock, &intake, 100_000, 4), 0);
        clock.after(1_000);
        let first = (1..1_000).find(|_order| intake.comes(clock.after(0))).unwrap();
        assert_eq!(first, 32, "an eighth of a second's orders at once are none");
        assert!(intake.is_burst(clock.after(100)));
        assert_eq!(come(&mut clock, &intake, 25_000, 1), 25_000, "it goes on");
        assert!(intake.is_burst(clock.after(249)));
        assert!(!intake.is_burst(clock.after(1)));
        assert_eq!(come(&mut clock, &intake, 1_000, 4), 0);
    }

    #[test]
    fn launching_makes_way_for_a_minute_at_a_stretch() {
        let (mut clock, intake) = intake();
        let made_way = come(&mut clock, &intake, 60_100, 1);
        assert_eq!(made_way, 60_000);
        assert!(!intake.is_burst(clock.after(100)), "as fast as they come, it stays so");
        assert!(!intake.comes(clock.after(0)));
        // Once the rate drops, launching may yield again.
        clock.after(30_000);
        let made_way = come(&mut clock, &intake, 300_000, 1);
        assert!((30_000..30_400).contains(&made_way), "{made_way}");
    }

    #[test]
    fn launching_makes_way_for_half_of_the_time_at_most() {
        let (mut clock, intake) = intake();
        let (mut made_way, mut passed) = (0_u64, 0_u64);
        for _burst in 0..600 {
            made_way = made_way.saturating_add(come(&mut clock, &intake, 2_700, 1));
            clock.after(300);
            passed = passed.saturating_add(3_000);
        }
        assert!(made_way.saturating_sub(60_000) <= passed / 2, "{made_way} of {passed}");
        assert!(made_way > passed / 20, "{made_way} of {passed}");
    }

    #[test]
    fn a_burst_that_nobody_looks_at_takes_no_more_than_its_own_time() {
        let (mut clock, intake) = intake();
        for _stretch in 0..10 {
            assert!(come(&mut clock, &intake, 10_000, 1) > 9_900);
            assert!(!intake.comes(clock.after(20_000)));
        }
    }
}
