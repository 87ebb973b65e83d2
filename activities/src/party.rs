//! Circuit breaker: a party that does not answer, or that an operator has stopped, is not called.
//!
//! Every call to a party passes the worker's [`Breaker`] for it. After ten consecutive calls
//! without an answer, the breaker opens: calls are refused here, at once and with a retry delay, so
//! that no step occupies a slot and a connection while it waits for an answer. After the pause a
//! single call is let through as a probe; its result closes the breaker, or opens it for twice as
//! long.
//!
//! An invalid answer counts as an answer. It arrives at once, so it occupies no slot; and a single
//! payment or parcel for which the party always returns one must not block the party for all
//! others.
//!
//! A call that is refused here was not made. The saga treats it as unanswered, which is safe, if
//! more cautious than necessary.

pub mod answer;
mod guarded;
pub(crate) mod line;

use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use domain::{Party, PartyState};
pub use guarded::Guarded;
use metrics::{counter, describe_counter, describe_gauge, gauge};
use tokio::time::Instant;
use tracing::warn;

use crate::fault::Cause;

/// After this many consecutive calls without an answer the breaker opens.
const FAILURES_MAX: u32 = 10;

/// The first pause of an open breaker.
const PAUSE_MIN: Duration = Duration::from_secs(5);

/// The longest pause before the next probe.
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// The retry delay while a party is stopped. After an operator resumes it, steps wait no longer
/// than this.
const STOPPED_PAUSE: Duration = Duration::from_secs(5);

/// The retry delay while a probe is running.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// 1 for the party's current state, and 0 for the others.
const STATE: &str = "ordersaga_party_state";

/// Calls refused by the breaker.
const CALLS_NOT_MADE: &str = "ordersaga_party_calls_not_made_total";

/// The `application_name` of the sandboxes' connections. They use the worker's process and the
/// shop's database but stand for outside services, so their cost is measured separately.
pub const SANDBOXES: &str = "ordersaga-sandboxes";

/// An error of a call to a party.
pub trait PartyError: Error + Send + Sync + Sized + 'static {
    /// There is no answer; with the delay after which to ask again, if known.
    fn unavailable(retry_after: Option<Duration>, source: Cause) -> Self;

    /// Whether the party has not answered. Every other error is an answer.
    fn is_no_answer(&self) -> bool;

    /// Whether the party does not find an id that it issued.
    fn is_not_found(&self) -> bool;
}

/// Properties of a party that the shop has to allow for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// How long a new id may not be found at the party (eventual consistency). Until then "not
    /// found" counts as no answer; afterwards it is an invalid answer.
    pub may_lag: Duration,
    /// How long the party remembers an idempotency key; `None` if it never forgets one. If the
    /// first half of a call is repeated later than this, it creates another payment or shipment,
    /// which the shop never uses.
    pub keys_last: Option<Duration>,
    /// What the party cannot do, in words for operators. Its adapter compensates for that.
    pub cannot: &'static [&'static str],
}

impl Capabilities {
    /// Interprets an error by the age of the id that it is about: within the party's lag, "not
    /// found" means not yet visible.
    pub(crate) fn judge<E: PartyError>(self, error: E, age: Duration) -> E {
        if error.is_not_found() && age < self.may_lag {
            E::unavailable(None, error.into())
        } else {
            error
        }
    }
}

/// Why a party was not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCalled {
    /// It has not answered for a while.
    #[error("the party is left alone for a while, because it did not answer")]
    LeftAlone,
    /// An operator has stopped it.
    #[error("the party is left alone, because an operator has stopped it")]
    Stopped,
}

/// A party's state, as shown to operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is called.
    pub state: PartyState,
    /// When this state began.
    pub since: DateTime<Utc>,
    /// The error of the last call without an answer. It is the error's own message without its
    /// cause, so it contains nothing about a customer.
    pub last_failure: Option<String>,
}

/// Lets calls to a party through, or refuses them while the party is away or stopped.
///
/// **Shape.** One per party and process: each process finds out by itself whether a party answers
/// it. An operator's stop applies to all of them.
#[derive(Debug)]
pub struct Breaker {
    party: Party,
    course: Mutex<Course>,
}

/// A breaker's state.
#[derive(Debug)]
struct Course {
    circuit: Circuit,
    /// When the circuit was closed or opened.
    since: DateTime<Utc>,
    stopped_at: Option<DateTime<Utc>>,
    last_failure: Option<String>,
}

/// The circuit's state, which follows from the party's behaviour.
#[derive(Clone, Copy, Debug)]
enum Circuit {
    /// Calls are made; counts the last consecutive calls without an answer.
    Closed { failures: u32 },
    /// No call is made until then, and then a single probe.
    Open { pause: Duration, until: Instant, is_probed: bool },
}

impl Circuit {
    const CLOSED: Self = Self::Closed { failures: 0 };

    fn open_for(pause: Duration, now: Instant) -> Self {
        let until = now.checked_add(pause).unwrap_or(now);
        Self::Open { pause, until, is_probed: false }
    }

    const fn state(self) -> PartyState {
        match self {
            Self::Closed { .. } => PartyState::Answering,
            Self::Open { .. } => PartyState::LeftAlone,
        }
    }

    /// The state after a call has ended.
    fn after(self, is_probe: bool, is_answered: bool, now: Instant) -> Self {
        match self {
            Self::Closed { .. } if is_answered => Self::CLOSED,
            Self::Closed { failures } if failures.saturating_add(1) < FAILURES_MAX => {
                Self::Closed { failures: failures.saturating_add(1) }
            }
            Self::Closed { .. } => Self::open_for(PAUSE_MIN, now),
            // The call was started before the breaker opened; only the probe decides about it.
            Self::Open { .. } if !is_probe => self,
            Self::Open { .. } if is_answered => Self::CLOSED,
            Self::Open { pause, .. } => Self::open_for(pause.saturating_mul(2).min(PAUSE_MAX), now),
        }
    }
}

impl Course {
    /// Whether a call is let through, and whether as a probe.
    ///
    /// **Errors.** When to try again, and why the party is not called.
    fn admit(&mut self, now: Instant) -> Result<bool, (Duration, NotCalled)> {
        if self.stopped_at.is_some() {
            return Err((STOPPED_PAUSE, NotCalled::Stopped));
        }
        match &mut self.circuit {
            Circuit::Closed { .. } => Ok(false),
            Circuit::Open { until, is_probed, .. } => {
                let rest = until.saturating_duration_since(now);
                if !rest.is_zero() || *is_probed {
                    return Err((rest.max(PROBE_PAUSE), NotCalled::LeftAlone));
                }
                *is_probed = true;
                Ok(true)
            }
        }
    }

    fn state(&self) -> PartyState {
        if self.stopped_at.is_some() { PartyState::Stopped } else { self.circuit.state() }
    }
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(party: Party) -> Self {
        let course = Course {
            circuit: Circuit::CLOSED,
            since: SystemTime::now().into(),
            stopped_at: None,
            last_failure: None,
        };
        describe_gauge!(STATE, "1 for the party's current state, and 0 for the others");
        describe_counter!(CALLS_NOT_MADE, "Calls refused while the party was away or stopped");
        // Registers the counter at zero, so that the first refusal shows as an increase.
        counter!(CALLS_NOT_MADE, "party" => party.name()).absolute(0);
        show(party, course.state());
        Self { party, course: Mutex::new(course) }
    }

    /// Calls the party, unless the breaker is open or the party stopped.
    ///
    /// **Errors.** The party's own; or unavailable because of [`NotCalled`], in which case `work`
    /// was not started.
    pub async fn call<T, E: PartyError>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let under_way = match self.admit() {
            Ok(under_way) => under_way,
            Err((retry_after, why)) => {
                counter!(CALLS_NOT_MADE, "party" => self.party.name()).increment(1);
                return Err(E::unavailable(Some(retry_after), why.into()));
            }
        };
        let answer = work.await;
        let failure = match &answer {
            Err(error) if error.is_no_answer() => Some(error.to_string()),
            Ok(_) | Err(_) => None,
        };
        under_way.end(failure);
        answer
    }

    /// Stops all calls to the party, or ends the stop; the breaker then applies as before.
    ///
    /// **Repeats.** Idempotent, and logged once.
    pub fn stop(&self, stopped_at: Option<DateTime<Utc>>) {
        let mut course = self.course();
        match (course.stopped_at, stopped_at) {
            (None, Some(_)) => warn!(party = self.party.name(), "an operator has stopped a party"),
            (Some(_), None) => warn!(party = self.party.name(), "an operator has resumed a party"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        course.stopped_at = stopped_at;
        show(self.party, course.state());
    }

    /// The party's current state.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let course = self.course();
        Standing {
            state: course.state(),
            since: course.stopped_at.unwrap_or(course.since),
            last_failure: course.last_failure.clone(),
        }
    }

    fn admit(&self) -> Result<UnderWay<'_>, (Duration, NotCalled)> {
        let is_probe = self.course().admit(Instant::now())?;
        Ok(UnderWay { breaker: self, is_probe, has_ended: false })
    }

    /// Records how a call ended: without an answer, or with one.
    fn learn(&self, is_probe: bool, failure: Option<String>) {
        let mut course = self.course();
        let was = course.circuit.state();
        course.circuit = course.circuit.after(is_probe, failure.is_none(), Instant::now());
        if failure.is_some() {
            course.last_failure = failure;
        }
        let is = course.circuit.state();
        if is != was {
            course.since = SystemTime::now().into();
            let (party, failure) = (self.party.name(), course.last_failure.as_deref());
            warn!(party, failure, state = is.name(), "a party's circuit breaker changed its state");
            show(self.party, course.state());
        }
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn show(party: Party, now: PartyState) {
    for state in PartyState::all() {
        let is_now = f64::from(u8::from(state == now));
        gauge!(STATE, "party" => party.name(), "state" => state.name()).set(is_now);
    }
}

/// A running call. If it is dropped before it ends, it counts as unanswered.
struct UnderWay<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
    has_ended: bool,
}

impl UnderWay<'_> {
    fn end(mut self, failure: Option<String>) {
        self.has_ended = true;
        self.breaker.learn(self.is_probe, failure);
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            let failure = "the call was given up before it was answered".to_owned();
            self.breaker.learn(self.is_probe, Some(failure));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::task::{Context, Poll};

    use futures::poll;
    use tokio::sync::Notify;

    use super::*;

    /// Errors of calls in these tests.
    #[derive(Debug, PartialEq, Eq, thiserror::Error)]
    enum Trouble {
        #[error("nobody answers")]
        Silence,
        #[error("the party says no")]
        Refusal,
        #[error("the party knows of no such thing")]
        NotFound,
        #[error("not called: {1}")]
        NotCalled(Duration, NotCalled),
    }

    impl PartyError for Trouble {
        fn unavailable(retry_after: Option<Duration>, source: Cause) -> Self {
            match source.downcast::<NotCalled>() {
                Ok(why) => Self::NotCalled(retry_after.unwrap(), *why),
                Err(_other) => Self::Silence,
            }
        }

        fn is_no_answer(&self) -> bool {
            match self {
                Self::Silence | Self::NotCalled(..) => true,
                Self::Refusal | Self::NotFound => false,
            }
        }

        fn is_not_found(&self) -> bool {
            matches!(self, Self::NotFound)
        }
    }

    #[test]
    fn what_is_not_found_is_waited_for_as_long_as_the_party_may_lag() {
        let seconds = Duration::from_secs;
        let told = |error, age, may_lag| {
            Capabilities { may_lag, keys_last: None, cannot: &[] }.judge(error, age)
        };
        for age in [seconds(0), seconds(4)] {
            assert_eq!(told(Trouble::NotFound, age, seconds(5)), Trouble::Silence);
        }
        for age in [seconds(5), seconds(86_400)] {
            assert_eq!(told(Trouble::NotFound, age, seconds(5)), Trouble::NotFound);
        }
        assert_eq!(told(Trouble::NotFound, seconds(0), seconds(0)), Trouble::NotFound);
        assert_eq!(told(Trouble::Refusal, seconds(0), seconds(5)), Trouble::Refusal);
    }

    fn breaker() -> Breaker {
        Breaker::new(Party::Carrier)
    }

    fn state_of(breaker: &Breaker) -> PartyState {
        breaker.standing().state
    }

    async fn is_answered(breaker: &Breaker) {
        breaker.call(async { Ok::<(), Trouble>(()) }).await.unwrap();
    }

    async fn is_not_answered(breaker: &Breaker, times: u32) {
        for _ in 0..times {
            let answer = breaker.call(async { Err::<(), _>(Trouble::Silence) }).await;
            assert_eq!(answer, Err(Trouble::Silence));
        }
    }

    /// Asserts that the party is not called; returns the retry delay and the reason.
    async fn is_refused(breaker: &Breaker) -> (Duration, NotCalled) {
        let called = |_: &mut Context<'_>| -> Poll<Result<(), Trouble>> { panic!("it is called") };
        let refused = breaker.call(poll_fn(called)).await;
        let Err(Trouble::NotCalled(retry_after, why)) = refused else { panic!("{refused:?}") };
        (retry_after, why)
    }

    /// Asserts that the party is not called, and that this pause has just begun.
    async fn is_left_alone_for(breaker: &Breaker, pause: Duration) {
        let (rest, why) = is_refused(breaker).await;
        assert_eq!(why, NotCalled::LeftAlone);
        let half = pause.checked_div(2).unwrap();
        assert!(half < rest && rest <= pause, "{rest:?} of {pause:?}");
    }

    /// Advances time for the breaker.
    fn pass(breaker: &Breaker, time: Duration) {
        if let Circuit::Open { until, .. } = &mut breaker.course().circuit {
            *until = until.checked_sub(time).unwrap();
        }
    }

    async fn left_alone() -> Breaker {
        let breaker = breaker();
        is_not_answered(&breaker, FAILURES_MAX).await;
        breaker
    }

    #[tokio::test]
    async fn ten_calls_in_a_row_without_an_answer_and_the_party_is_left_alone() {
        let breaker = breaker();
        is_not_answered(&breaker, 9).await;
        assert_eq!(state_of(&breaker), PartyState::Answering);
        is_not_answered(&breaker, 1).await;
        assert_eq!(state_of(&breaker), PartyState::LeftAlone);
        is_left_alone_for(&breaker, PAUSE_MIN).await;
    }

    #[tokio::test]
    async fn an_answer_in_between_begins_the_count_anew() {
        let breaker = breaker();
        is_not_answered(&breaker, 9).await;
        is_answered(&breaker).await;
        is_not_answered(&breaker, 9).await;
        // A refusal is an answer too.
        let refused = breaker.call(async { Err::<(), _>(Trouble::Refusal) }).await;
        assert_eq!(refused, Err(Trouble::Refusal));
        is_not_answered(&breaker, 9).await;
        assert_eq!(state_of(&breaker), PartyState::Answering);
    }

    #[tokio::test]
    async fn one_call_finds_out_whether_the_party_answers_again() {
        let breaker = left_alone().await;
        pass(&breaker, PAUSE_MIN);
        let mut probe = Box::pin(breaker.call(pending::<Result<(), Trouble>>()));
        assert!(poll!(probe.as_mut()).is_pending());
        assert_eq!(is_refused(&breaker).await, (PROBE_PAUSE, NotCalled::LeftAlone));
        // A dropped call counts as unanswered.
        drop(probe);
        is_left_alone_for(&breaker, PAUSE_MIN.saturating_mul(2)).await;
        pass(&breaker, PAUSE_MIN.saturating_mul(2));
        is_answered(&breaker).await;
        assert_eq!(state_of(&breaker), PartyState::Answering);
        is_answered(&breaker).await;
    }

    #[tokio::test]
    async fn a_party_that_stays_away_is_left_alone_for_longer_and_longer() {
        let breaker = left_alone().await;
        let since = breaker.standing().since;
        for pause in [5, 10, 20, 40, 60, 60].map(Duration::from_secs) {
            is_left_alone_for(&breaker, pause).await;
            pass(&breaker, pause);
            is_not_answered(&breaker, 1).await;
        }
        assert_eq!(breaker.standing().since, since);
        // An answer resets everything.
        pass(&breaker, PAUSE_MAX);
        is_answered(&breaker).await;
        is_not_answered(&breaker, FAILURES_MAX).await;
        is_left_alone_for(&breaker, PAUSE_MIN).await;
    }

    #[tokio::test]
    async fn a_call_that_is_given_up_has_not_been_answered() {
        let breaker = breaker();
        for _ in 0..FAILURES_MAX {
            let mut call = Box::pin(breaker.call(pending::<Result<(), Trouble>>()));
            assert!(poll!(call.as_mut()).is_pending());
        }
        assert_eq!(state_of(&breaker), PartyState::LeftAlone);
        // A call that was never started changes nothing.
        let never_begun = breaker.call(pending::<Result<(), Trouble>>());
        drop(never_begun);
        is_left_alone_for(&breaker, PAUSE_MIN).await;
    }

    #[tokio::test]
    async fn what_was_called_before_decides_nothing_once_the_party_is_left_alone() {
        let (breaker, go_on) = (breaker(), Notify::new());
        let call = || {
            Box::pin(breaker.call(async {
                go_on.notified().await;
                Ok::<(), Trouble>(())
            }))
        };
        let (mut late, mut given_up) = (call(), call());
        assert!(poll!(late.as_mut()).is_pending());
        assert!(poll!(given_up.as_mut()).is_pending());
        is_not_answered(&breaker, FAILURES_MAX).await;
        go_on.notify_waiters();
        late.await.unwrap();
        assert_eq!(state_of(&breaker), PartyState::LeftAlone);
        drop(given_up);
        is_left_alone_for(&breaker, PAUSE_MIN).await;
    }

    #[tokio::test]
    async fn a_stop_comes_before_everything_and_its_end_leaves_what_was() {
        let breaker = breaker();
        let stopped_at = DateTime::from_timestamp(1_291_190_760, 0).unwrap();
        breaker.stop(Some(stopped_at));
        breaker.stop(Some(stopped_at));
        assert_eq!(is_refused(&breaker).await, (STOPPED_PAUSE, NotCalled::Stopped));
        let standing = breaker.standing();
        assert_eq!((standing.state, standing.since), (PartyState::Stopped, stopped_at));
        breaker.stop(None);
        is_not_answered(&breaker, FAILURES_MAX).await;
        let before = breaker.standing();
        assert_eq!(before.state, PartyState::LeftAlone);
        breaker.stop(Some(stopped_at));
        // Not even as a probe.
        pass(&breaker, PAUSE_MIN);
        assert_eq!(is_refused(&breaker).await, (STOPPED_PAUSE, NotCalled::Stopped));
        breaker.stop(None);
        assert_eq!(breaker.standing(), before);
        is_answered(&breaker).await;
        assert_eq!(state_of(&breaker), PartyState::Answering);
    }

    #[tokio::test]
    async fn the_last_failure_is_told_in_one_sentence() {
        let breaker = breaker();
        assert_eq!(breaker.standing().last_failure, None);
        is_not_answered(&breaker, 1).await;
        is_answered(&breaker).await;
        assert_eq!(breaker.standing().last_failure.as_deref(), Some("nobody answers"));
    }
}
