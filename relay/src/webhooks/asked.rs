//! Extra deliveries requested by operators: redeliveries of messages, and trial messages.
//!
//! These are repeats or carry no news, so their order does not matter, neither among each other nor
//! relative to new messages. One that is not accepted is retried for a day.
//!
//! Endpoints do not wait for each other: only a few deliveries of each are taken at a time, those
//! of all endpoints are sent concurrently, and while one endpoint is slow, others keep getting
//! theirs.

use std::collections::BTreeMap;

use futures::future::join_all;
use runtime::chain;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::webhooks::store::{self, Asked};
use crate::webhooks::{LOOK_EVERY, Webhooks};
use crate::{Sink as _, Verdict};

/// The maximum number of deliveries in flight per endpoint.
const PER_ENDPOINT: u8 = 5;

/// The maximum number taken at once.
const AT_ONCE: i64 = 50;

/// Added to the sum of all timeouts for the time in which other relays skip what was taken: the
/// outcome has to be recorded, too.
const HOLD_MARGIN_SECONDS: u64 = 60;

/// The pause before the second attempt; it doubles after each further attempt.
const PAUSE_SECONDS: i32 = 5;

/// The maximum pause.
const PAUSE_SECONDS_MAX: i32 = 3_600;

impl Webhooks {
    /// Sends what operators request, until `stop`. Deliveries in flight are then sent again by any
    /// relay once their lease has expired.
    pub(super) async fn keep_sending(&self, stop: &CancellationToken) {
        let mut rounds = JoinSet::new();
        let mut due = interval(LOOK_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(due.tick()).await.is_some() {
            while let Some(ended) = rounds.try_join_next() {
                if let Err(error) = ended {
                    tracing::error!(%error, "sending a requested message panicked");
                }
            }
            let webhooks = self.clone();
            rounds.spawn(async move { webhooks.send_while_asked().await });
        }
    }

    /// Sends until nothing is due that is not already in flight.
    async fn send_while_asked(&self) {
        loop {
            match self.send_asked().await {
                Ok(0) => break,
                Ok(_taken_up) => {}
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(
                        error,
                        "messages requested by operators could not be sent; retrying"
                    );
                    break;
                }
            }
        }
    }

    /// Takes a few due deliveries of each endpoint, sends them, and waits for the slowest; returns
    /// how many were taken. Nothing is taken for an endpoint that still has deliveries in flight.
    ///
    /// **Repeats.** Other relays skip what was taken, for longer than sending it can take.
    ///
    /// **Errors.** The database does not answer; what was taken becomes due again later.
    pub async fn send_asked(&self) -> sqlx::Result<usize> {
        let hold = hold_seconds(self.0.settings.answer_seconds);
        let asked = store::take_sends(&self.0.db, PER_ENDPOINT.into(), AT_ONCE, hold).await?;
        let taken_up = asked.len();
        let mut by_endpoint: BTreeMap<Uuid, Vec<Asked>> = BTreeMap::new();
        for one in asked {
            by_endpoint.entry(one.endpoint_id).or_default().push(one);
        }
        let sends = by_endpoint.into_iter();
        let sends: Vec<_> = sends.map(|(endpoint, asked)| self.send_to(endpoint, asked)).collect();
        let ended = join_all(sends).await;
        ended.into_iter().collect::<sqlx::Result<()>>()?;
        Ok(taken_up)
    }

    async fn send_to(&self, endpoint_id: Uuid, asked: Vec<Asked>) -> sqlx::Result<()> {
        let messages: Vec<_> = asked.iter().map(|one| one.message.clone()).collect();
        let verdicts = self.endpoint(endpoint_id).deliver(&messages).await;
        let (mut ended, mut put_off) = (Vec::new(), BTreeMap::<i32, Vec<i64>>::new());
        for (one, verdict) in asked.into_iter().zip(verdicts) {
            let is_over = match verdict {
                Verdict::Delivered | Verdict::NotWanted | Verdict::Refused { .. } => true,
                Verdict::Unavailable { .. } | Verdict::NotTaken { .. } | Verdict::NotTried => {
                    one.is_last
                }
            };
            if is_over {
                ended.push(one.send_id);
            } else {
                put_off.entry(pause_after(one.attempts)).or_default().push(one.send_id);
            }
        }
        store::end_sends(&self.0.db, &ended).await?;
        for (pause, send_ids) in put_off {
            store::put_off_sends(&self.0.db, &send_ids, pause).await?;
        }
        Ok(())
    }
}

/// For how many seconds other relays skip what was taken: messages of an order are sent one after
/// the other, so each of an endpoint's deliveries may take a full timeout.
fn hold_seconds(answer_seconds: u64) -> i32 {
    let longest = u64::from(PER_ENDPOINT).saturating_mul(answer_seconds);
    i32::try_from(longest.saturating_add(HOLD_MARGIN_SECONDS)).unwrap_or(i32::MAX)
}

/// The pause in seconds after this many attempts.
fn pause_after(attempts: i32) -> i32 {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(0);
    2_i32.saturating_pow(doublings).saturating_mul(PAUSE_SECONDS).min(PAUSE_SECONDS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_is_held_for_longer_than_it_can_take() {
        for answer_seconds in [1, 15, 60] {
            let longest = u64::from(PER_ENDPOINT).saturating_mul(answer_seconds);
            assert!(u64::try_from(hold_seconds(answer_seconds)).unwrap() > longest);
        }
    }

    #[test]
    fn pauses_double_up_to_an_hour() {
        let pauses = [1, 2, 3, 10, 11, i32::MAX].map(pause_after);
        assert_eq!(pauses, [5, 10, 20, 2_560, 3_600, 3_600]);
    }
}
