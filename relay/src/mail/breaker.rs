//! A circuit breaker for a server that accepts no mails: all mails wait, and one at a time probes
//! the server.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// The state of the server, as far as known.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Consecutive failures.
    failures: u32,
    /// Not called before this time.
    until: Option<Instant>,
    /// Whether a probe is in progress.
    is_probed: bool,
}

/// Permission to call the server. Dropping it without a result ends the probe without counting it.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
}

impl Breaker {
    /// Permits a call now, or returns how long to wait.
    pub(super) fn admit(&self, now: Instant) -> Result<Pass<'_>, Duration> {
        let mut state = self.lock();
        let Some(until) = state.until else { return Ok(Pass { breaker: self, is_probe: false }) };
        let left = until.saturating_duration_since(now);
        if !left.is_zero() {
            return Err(left);
        }
        if state.is_probed {
            return Err(PAUSE_MIN);
        }
        state.is_probed = true;
        Ok(Pass { breaker: self, is_probe: true })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// The server works, whatever it answered to this mail.
    pub(super) fn answered(self) {
        *self.breaker.lock() = State::default();
    }

    /// The server accepts nothing. Returns the pause.
    pub(super) fn away(self, now: Instant) -> Duration {
        let mut state = self.breaker.lock();
        state.failures = state.failures.saturating_add(1);
        let pause = pause_after(state.failures);
        state.until = now.checked_add(pause);
        drop(state);
        pause
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            self.breaker.lock().is_probed = false;
        }
    }
}

/// Doubles after each consecutive failure.
fn pause_after(failures: u32) -> Duration {
    let factor = 2_u32.saturating_pow(failures.saturating_sub(1));
    PAUSE_MIN.saturating_mul(factor).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_away_is_asked_by_one_at_a_time_and_later_and_later() {
        let breaker = Breaker::default();
        let start = Instant::now();
        let after = |seconds| start.checked_add(Duration::from_secs(seconds)).unwrap();
        let (first, second) = (breaker.admit(start).unwrap(), breaker.admit(start).unwrap());
        assert_eq!(first.away(start), Duration::from_secs(1));
        assert_eq!(second.away(start), Duration::from_secs(2));
        assert_eq!(breaker.admit(start).unwrap_err(), Duration::from_secs(2));
        let probe = breaker.admit(after(2)).unwrap();
        assert!(breaker.admit(after(2)).is_err(), "one probe at a time");
        drop(probe);
        let probe = breaker.admit(after(2)).unwrap();
        assert_eq!(probe.away(after(2)), Duration::from_secs(4));
        breaker.admit(after(6)).unwrap().answered();
        let (_one, _other) = (breaker.admit(after(6)).unwrap(), breaker.admit(after(6)).unwrap());
    }

    #[test]
    fn nobody_waits_longer_than_a_minute() {
        assert_eq!(pause_after(1_000), PAUSE_MAX);
    }
}
