//! Sends a batch so that no message overtakes an earlier one of its order.
//!
//! A broker acknowledges a message long after it was sent, and may refuse it. A later message of
//! the same order that is already in flight would then be accepted, and the order would have a gap.
//! Kafka's idempotent producer does not prevent that: it renumbers what follows a refused record,
//! and a broker accepts any sequence number from a producer that it does not know yet. So a batch
//! is sent in waves. The first wave contains the first message of every order; the next one, the
//! second message of each order whose first was acknowledged; and so on. A message is not sent
//! before the previous one is acknowledged, whatever the order guarantees of client and broker.
//!
//! **Two relays at once.** A relay that has lost its lease without noticing may still send. Both
//! relays send in order, and both begin where the sink's recorded progress ends. However the two
//! interleave, each message first appears after its predecessor; later copies have an id that was
//! already seen.

use std::collections::{BTreeMap, VecDeque};

use async_trait::async_trait;
use tokio::time::Instant;

use crate::{Message, Verdict};

/// Sends messages, at most one of each order.
#[async_trait]
pub(crate) trait Wave: Send {
    /// Sends all of them at once, and returns one verdict for each, in their order. A message that
    /// is not answered by `until` is unavailable.
    async fn send(&mut self, wave: &[&Message], until: Instant) -> Vec<Verdict>;
}

/// Sends a batch in waves, and returns one verdict for each message, in the batch's order.
///
/// After a message that is not delivered, other orders continue. If the receiver is unavailable and
/// accepts nothing of a wave, no further wave is sent.
pub(crate) async fn in_waves(
    sender: &mut impl Wave,
    batch: &[Message],
    until: Instant,
) -> Vec<Verdict> {
    let mut verdicts = vec![Verdict::NotTried; batch.len()];
    let mut orders: BTreeMap<&str, VecDeque<(&Message, &mut Verdict)>> = BTreeMap::new();
    for (message, verdict) in batch.iter().zip(&mut verdicts) {
        orders.entry(&message.aggregate_id).or_default().push_back((message, verdict));
    }
    let mut orders: Vec<_> = orders.into_values().collect();
    // After a wave of which nothing was delivered, no order is left.
    while !orders.is_empty() {
        let wave = orders.iter_mut().filter_map(VecDeque::pop_front);
        let (wave, places): (Vec<&Message>, Vec<&mut Verdict>) = wave.unzip();
        let mut arrived = Vec::with_capacity(wave.len());
        for (place, verdict) in places.into_iter().zip(sender.send(&wave, until).await) {
            arrived.push(matches!(verdict, Verdict::Delivered | Verdict::NotWanted));
            *place = verdict;
        }
        let mut arrived = arrived.into_iter();
        orders.retain(|left| arrived.next() == Some(true) && !left.is_empty());
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::value::to_raw_value;

    use super::*;

    /// Answers according to its script, by the message's id, and otherwise with "delivered".
    #[derive(Default)]
    struct Script {
        answers: BTreeMap<&'static str, Verdict>,
        waves: Vec<String>,
    }

    #[async_trait]
    impl Wave for Script {
        async fn send(&mut self, wave: &[&Message], _until: Instant) -> Vec<Verdict> {
            let ids: Vec<_> = wave.iter().map(|message| message.id.as_str()).collect();
            self.waves.push(ids.join(" "));
            let answer = |id: &str| self.answers.get(id).cloned().unwrap_or(Verdict::Delivered);
            ids.into_iter().map(answer).collect()
        }
    }

    fn message(id: &str) -> Message {
        let (order, sequence) = id.split_once(':').unwrap();
        Message {
            position: 1,
            id: id.to_owned(),
            aggregate_type: "order".to_owned(),
            aggregate_id: order.to_owned(),
            sequence: sequence.parse().unwrap(),
            event_type: "ordersaga.order.placed.v1".to_owned(),
            payload: to_raw_value(&serde_json::json!({})).unwrap(),
            created_at: DateTime::from_timestamp(1_291_190_760, 0).unwrap(),
        }
    }

    async fn sent(batch: &str, answers: &[(&'static str, Verdict)]) -> (Vec<String>, Vec<Verdict>) {
        let batch: Vec<_> = batch.split(' ').map(message).collect();
        let mut script = Script { answers: answers.iter().cloned().collect(), ..Script::default() };
        let verdicts = in_waves(&mut script, &batch, Instant::now()).await;
        (script.waves, verdicts)
    }

    fn unavailable() -> Verdict {
        Verdict::Unavailable { retry_after: None, why: "away".to_owned() }
    }

    fn refused() -> Verdict {
        Verdict::Refused { why: "too large".to_owned() }
    }

    #[tokio::test]
    async fn no_two_messages_of_an_order_are_under_way_at_once() {
        let (waves, verdicts) = sent("b:4 a:1 b:5 a:2 c:7 a:3", &[]).await;
        assert_eq!(waves, ["a:1 b:4 c:7", "a:2 b:5", "a:3"]);
        assert_eq!(verdicts, vec![Verdict::Delivered; 6]);
    }

    #[tokio::test]
    async fn behind_a_refused_message_its_order_waits_and_no_other() {
        let (waves, verdicts) = sent("a:1 b:1 a:2 b:2 b:3", &[("a:1", refused())]).await;
        assert_eq!(waves, ["a:1 b:1", "b:2", "b:3"]);
        let delivered = Verdict::Delivered;
        let expected =
            [refused(), delivered.clone(), Verdict::NotTried, delivered.clone(), delivered];
        assert_eq!(verdicts, expected);
    }

    #[tokio::test]
    async fn one_that_is_not_wanted_is_done_with() {
        let (waves, verdicts) = sent("a:1 a:2", &[("a:1", Verdict::NotWanted)]).await;
        assert_eq!(waves, ["a:1", "a:2"]);
        assert_eq!(verdicts, [Verdict::NotWanted, Verdict::Delivered]);
    }

    #[tokio::test]
    async fn while_the_receiver_is_away_no_further_wave_is_begun() {
        let away = [("a:1", refused()), ("b:2", unavailable())];
        let (waves, verdicts) = sent("a:1 b:1 b:2 b:3", &away).await;
        assert_eq!(waves, ["a:1 b:1", "b:2"]);
        let expected = [refused(), Verdict::Delivered, unavailable(), Verdict::NotTried];
        assert_eq!(verdicts, expected);
        let away = [("a:1", unavailable()), ("b:1", unavailable()), ("c:1", refused())];
        let (waves, _) = sent("a:1 b:1 c:1 a:2 c:2", &away).await;
        assert_eq!(waves, ["a:1 b:1 c:1"]);
    }

    #[tokio::test]
    async fn behind_a_message_that_is_not_taken_now_the_other_orders_go_on() {
        let (waves, verdicts) = sent("a:1 b:1 a:2 b:2 a:3", &[("b:1", unavailable())]).await;
        assert_eq!(waves, ["a:1 b:1", "a:2", "a:3"]);
        let delivered = Verdict::Delivered;
        let expected =
            [delivered.clone(), unavailable(), delivered.clone(), Verdict::NotTried, delivered];
        assert_eq!(verdicts, expected);
    }
}
