//! Which program is killed when during a soak. Determined by the seed.

use std::time::Duration;

use fastrand::Rng;

use crate::chaos::faults::Fault;
use crate::chaos::launcher::Program;

/// Each is killed once in the first quarter.
const ALL: [Program; 5] =
    [Program::Worker, Program::SecondWorker, Program::Starter, Program::Relay, Program::Postgres];

/// These are killed afterwards, in turn.
const LATER: [Program; 2] = [Program::SecondWorker, Program::Postgres];

const DOWN_MS: std::ops::RangeInclusive<u64> = 300..=2_000;

/// The maximum pause between two kills, however long the soak lasts.
const PAUSE_MAX: Duration = Duration::from_mins(10);

/// When observations begin to count.
pub(super) fn quarter(length: Duration) -> Duration {
    length.checked_div(4).unwrap_or_default()
}

/// The kills in a soak of this length. All programs are up again well before its end.
pub(super) fn deaths(seed: u64, length: Duration) -> Vec<Fault> {
    let mut rng = Rng::with_seed(seed);
    let mut first = ALL;
    rng.shuffle(&mut first);
    let step = quarter(length).checked_div(6).unwrap_or_default();
    let mut deaths = Vec::new();
    let mut at = Duration::ZERO;
    for program in first {
        at = at.saturating_add(step);
        deaths.push(death(&mut rng, at, program));
    }
    let pause = length.checked_div(12).unwrap_or_default().min(PAUSE_MAX);
    at = quarter(length);
    for program in LATER.into_iter().cycle() {
        at = at.saturating_add(pause);
        if at.saturating_add(pause) > length {
            break;
        }
        deaths.push(death(&mut rng, at, program));
    }
    deaths
}

fn death(rng: &mut Rng, at: Duration, program: Program) -> Fault {
    let down = Duration::from_millis(rng.u64(DOWN_MS));
    Fault { at, programs: vec![program], down }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn everybody_dies_in_the_first_quarter_and_later_only_who_is_not_judged_by_a_long_life() {
        for minutes in [1, 3, 30, 480] {
            let length = Duration::from_mins(minutes);
            let of = |deaths: &[Fault]| -> BTreeSet<Program> {
                deaths.iter().flat_map(|death| death.programs.clone()).collect()
            };
            let (early, late): (Vec<_>, Vec<_>) =
                deaths(7, length).into_iter().partition(|death| death.at < quarter(length));
            assert_eq!(of(&early), BTreeSet::from(ALL), "{minutes}");
            assert_eq!(of(&late), BTreeSet::from(LATER), "{minutes}");
        }
    }

    #[test]
    fn nobody_dies_while_another_is_down_and_all_are_up_at_the_end() {
        for seed in 0..200 {
            let length = Duration::from_mins(1);
            let mut up_since = Duration::ZERO;
            for Fault { at, down, .. } in deaths(seed, length) {
                assert!(at > up_since, "seed {seed}");
                up_since = at + down;
            }
            assert!(up_since < length, "seed {seed}");
        }
    }
}
