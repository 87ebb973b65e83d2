//! Exponential backoff for a receiver that does not answer.

use std::time::Duration;

/// The pause after the first failure, and the maximum.
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_mins(1);

/// The maximum pause that a receiver may ask for.
const ASKED_FOR_MAX: Duration = Duration::from_hours(1);

/// The pause after this many consecutive failures: what the receiver asks for, otherwise doubled
/// after each failure.
#[must_use]
pub fn backoff(tries: u32, asked_for: Option<Duration>) -> Duration {
    let doubled = FIRST.saturating_mul(2_u32.saturating_pow(tries.saturating_sub(1)));
    asked_for.map_or_else(|| doubled.min(LONGEST), |asked| asked.clamp(FIRST, ASKED_FOR_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pause_is_twice_as_long_up_to_a_minute() {
        let pauses = (1..=11).map(|tries| backoff(tries, None).as_millis());
        assert_eq!(
            pauses.collect::<Vec<_>>(),
            [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 60_000, 60_000]
        );
        assert_eq!(backoff(u32::MAX, None), LONGEST);
    }

    #[test]
    fn a_receiver_says_when_it_wants_to_be_asked_again_within_reason() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(backoff(9, seconds(3)), Duration::from_secs(3));
        assert_eq!(backoff(1, seconds(0)), FIRST);
        assert_eq!(backoff(1, seconds(86_400)), ASKED_FOR_MAX);
    }
}
