//! What operators have asked to be sent besides: messages that an endpoint has had, once more, and
//! messages that only try it out.
//!
//! These are repeats, or tell of nothing, so they do not wait for each other or for what the endpoint
//! is to be told next. One that is not taken is tried again for a day.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::webhooks::Webhooks;
use crate::webhooks::store::{self, Asked};
use crate::{Sink as _, Verdict};

/// How many are taken at once.
const AT_ONCE: i64 = 50;

/// The pause before the second attempt; each one after it is twice as long.
const PAUSE_SECONDS: i32 = 5;

/// The longest pause.
const PAUSE_SECONDS_MAX: i32 = 3_600;

impl Webhooks {
    /// Sends what operators have asked for and what is due; how many were taken up.
    ///
    /// **Repeats.** Other relays leave alone what was taken up, for some minutes.
    ///
    /// **Errors.** The database does not answer; what was taken up is due again later.
    pub async fn send_asked(&self) -> sqlx::Result<usize> {
        let asked = store::take_sends(&self.0.db, AT_ONCE).await?;
        let taken_up = asked.len();
        let mut by_endpoint: BTreeMap<Uuid, Vec<Asked>> = BTreeMap::new();
        for one in asked {
            by_endpoint.entry(one.endpoint_id).or_default().push(one);
        }
        for (endpoint_id, asked) in by_endpoint {
            self.send_to(endpoint_id, &asked).await?;
        }
        Ok(taken_up)
    }

    async fn send_to(&self, endpoint_id: Uuid, asked: &[Asked]) -> sqlx::Result<()> {
        let messages: Vec<_> = asked.iter().map(|one| one.message.clone()).collect();
        let verdicts = self.endpoint(endpoint_id).deliver(&messages).await;
        let (mut ended, mut put_off) = (Vec::new(), BTreeMap::<i32, Vec<i64>>::new());
        for (one, verdict) in asked.iter().zip(verdicts) {
            let is_over = match verdict {
                Verdict::Delivered | Verdict::NotWanted | Verdict::Refused { .. } => true,
                Verdict::Unavailable { .. } | Verdict::NotTried => one.is_last,
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

/// How many seconds to wait after so many attempts.
fn pause_after(attempts: i32) -> i32 {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(0);
    2_i32.saturating_pow(doublings).saturating_mul(PAUSE_SECONDS).min(PAUSE_SECONDS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour() {
        let pauses = [1, 2, 3, 10, 11, i32::MAX].map(pause_after);
        assert_eq!(pauses, [5, 10, 20, 2_560, 3_600, 3_600]);
    }
}
