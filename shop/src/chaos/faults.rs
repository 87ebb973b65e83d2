//! Which program is killed when, and for how long. Determined by the seed, so that a run can be
//! reproduced.

use std::time::Duration;

use fastrand::Rng;

use super::launcher::Program;

/// A planned kill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// When, from the start.
    pub(super) at: Duration,
    /// Which programs; rarely two at once.
    pub(super) programs: Vec<Program>,
    /// How long they stay down.
    pub(super) down: Duration,
}

/// Usually long enough for orders in progress to continue.
const CALM_MS: std::ops::RangeInclusive<u64> = 2_000..=7_000;
const DOWN_MS: std::ops::RangeInclusive<u64> = 300..=4_000;

/// One in this many kills takes a second program down.
const PAIRS_ONE_IN: u32 = 5;

/// The kills of these programs in a run of this length. Each program is killed once before any is
/// killed again.
pub(super) fn schedule(seed: u64, length: Duration, who: &[Program]) -> Vec<Fault> {
    let mut rng = Rng::with_seed(seed);
    let (mut faults, mut bag) = (Vec::new(), Vec::new());
    let mut now = Duration::ZERO;
    loop {
        if bag.is_empty() {
            bag.extend_from_slice(who);
            rng.shuffle(&mut bag);
        }
        let at = now.saturating_add(Duration::from_millis(rng.u64(CALM_MS)));
        let down = Duration::from_millis(rng.u64(DOWN_MS));
        now = at.saturating_add(down);
        if now > length {
            return faults;
        }
        let mut programs = Vec::from_iter(bag.pop());
        if rng.u32(..PAIRS_ONE_IN) == 0 {
            programs.extend(bag.pop());
        }
        faults.push(Fault { at, programs, down });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::chaos::launcher::OF_ORDERS;

    const MINUTE: Duration = Duration::from_mins(1);

    fn of_orders(seed: u64, length: Duration) -> Vec<Fault> {
        schedule(seed, length, &OF_ORDERS)
    }

    #[test]
    fn the_seed_is_the_schedule() {
        assert_eq!(of_orders(7, MINUTE), of_orders(7, MINUTE));
        assert_ne!(of_orders(7, MINUTE), of_orders(8, MINUTE));
    }

    #[test]
    fn in_a_minute_everybody_dies_and_is_back_before_the_end() {
        for seed in 0..1_000 {
            let faults = of_orders(seed, MINUTE);
            let died = faults.iter().flat_map(|fault| fault.programs.iter().copied());
            assert_eq!(died.collect::<BTreeSet<_>>(), BTreeSet::from(OF_ORDERS), "seed {seed}");
            let mut calm_since = Duration::ZERO;
            for Fault { at, down, .. } in faults {
                assert!(at > calm_since, "seed {seed}");
                calm_since = at + down;
            }
            assert!(calm_since <= MINUTE, "seed {seed}");
        }
    }

    #[test]
    fn a_longer_run_begins_like_a_shorter_one() {
        let (short, long) = (of_orders(7, MINUTE), of_orders(7, MINUTE * 3));
        assert_eq!(short[..], long[..short.len()]);
    }
}
