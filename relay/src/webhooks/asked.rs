//! What operators have asked to be sent besides: messages that an endpoint has had, once more, and
//! messages that only try it out.
//!
//! These are repeats, or tell of nothing, so they do not wait for each other or for what the endpoint
//! is to be told next. One that is not taken is tried again for a day.
//!
//! No endpoint waits for another: of each a few are taken up at a time, those of all endpoints are
//! sent at once, and while an endpoint takes its time it is looked again what others are to be sent.

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

/// How many of an endpoint's are under way at a time.
const PER_ENDPOINT: u8 = 5;

/// How many are taken up at once.
const AT_ONCE: i64 = 50;

/// How much longer than all answers may take what was taken up is left alone by other relays: it has
/// to be put on record as well.
const HOLD_MARGIN_SECONDS: u64 = 60;

/// The pause before the second attempt; each one after it is twice as long.
const PAUSE_SECONDS: i32 = 5;

/// The longest pause.
const PAUSE_SECONDS_MAX: i32 = 3_600;

impl Webhooks {
    /// Sends what operators ask for, until it is told to stop. What is under way then is sent again
    /// by whichever relay looks for it once it is not held any more.
    pub(super) async fn keep_sending(&self, stop: &CancellationToken) {
        let mut rounds = JoinSet::new();
        let mut due = interval(LOOK_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(due.tick()).await.is_some() {
            while let Some(ended) = rounds.try_join_next() {
                if let Err(error) = ended {
                    tracing::error!(%error, "sending what was asked for came to a bad end");
                }
            }
            let webhooks = self.clone();
            rounds.spawn(async move { webhooks.send_while_asked().await });
        }
    }

    /// Sends until nothing is due that is not under way already.
    async fn send_while_asked(&self) {
        loop {
            match self.send_asked().await {
                Ok(0) => break,
                Ok(_taken_up) => {}
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(error, "what operators have asked for is not sent yet");
                    break;
                }
            }
        }
    }

    /// Sends of what operators have asked for and what is due a few to each endpoint, and waits for
    /// the slowest; how many were taken up. Nothing is taken up for an endpoint that is still being
    /// sent what was taken up before.
    ///
    /// **Repeats.** Other relays leave alone what was taken up, for longer than sending it can take.
    ///
    /// **Errors.** The database does not answer; what was taken up is due again later.
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

/// For how many seconds other relays leave alone what was taken up: those of an order are sent one
/// after the other, so each of an endpoint's may take as long as an answer may.
fn hold_seconds(answer_seconds: u64) -> i32 {
    let longest = u64::from(PER_ENDPOINT).saturating_mul(answer_seconds);
    i32::try_from(longest.saturating_add(HOLD_MARGIN_SECONDS)).unwrap_or(i32::MAX)
}

/// How many seconds to wait after so many attempts.
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
