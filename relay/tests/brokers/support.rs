//! Orders to publish, and helpers shared by every broker's tests.

use std::collections::BTreeMap;
use std::env;
use std::io::{self, Write as _};
use std::sync::Once;

use chrono::DateTime;
use clap::Parser;
use relay::amqp::AmqpArgs;
use relay::kafka::KafkaArgs;
use relay::{Message, Sink, Verdict};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use uuid::Uuid;

/// The source of the events.
pub(crate) const SOURCE: &str = "/shops/test";

/// The events of an order without trouble.
pub(crate) const LIFE: [&str; 8] = [
    "ordersaga.order.placed.v1",
    "ordersaga.stock.reserved.v1",
    "ordersaga.payment.authorised.v1",
    "ordersaga.ledger.posted.v1",
    "ordersaga.payment.captured.v1",
    "ordersaga.order.shipped.v1",
    "ordersaga.ledger.revenue-recognised.v1",
    "ordersaga.order.completed.v1",
];

/// More attempts than any successful delivery takes.
const TRIES_MAX: u32 = 100;

#[derive(Parser)]
struct Relay {
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    amqp: AmqpArgs,
}

fn parsed(flags: &[&str]) -> Relay {
    Relay::parse_from(["relay"].iter().chain(flags))
}

/// Parses these flags as settings.
pub(crate) fn kafka_args(flags: &[&str]) -> KafkaArgs {
    parsed(flags).kafka
}

/// Parses these flags as settings.
pub(crate) fn amqp_args(flags: &[&str]) -> AmqpArgs {
    parsed(flags).amqp
}

/// A variable that the launcher sets if a broker is available. Prints a note once if it is not.
pub(crate) fn launched(name: &str, broker: &str, said: &'static Once) -> Option<String> {
    let value = env::var(name).ok();
    if value.is_none() {
        said.call_once(|| {
            // Written directly, because the test runner hides the output of passing tests.
            let why = format!(
                "brokers: NOT RUN against {broker}, for {name} names none; `make brokers` has them"
            );
            writeln!(io::stderr(), "{why}").unwrap();
        });
    }
    value
}

/// An order's event.
pub(crate) fn event(order: Uuid, sequence: i32, event_type: &str, payload: &Value) -> Message {
    let millis = i64::from(sequence).saturating_mul(137).saturating_add(1_291_190_760_000);
    Message {
        position: sequence.into(),
        id: format!("{order}:{sequence}"),
        aggregate_type: "order".to_owned(),
        aggregate_id: order.to_string(),
        sequence,
        event_type: event_type.to_owned(),
        payload: to_raw_value(payload).unwrap(),
        created_at: DateTime::from_timestamp_millis(millis).unwrap(),
    }
}

/// The events of this many orders, interleaved as for concurrent orders.
pub(crate) fn orders(count: usize) -> Vec<Message> {
    let orders: Vec<_> = (0..count).map(|_| Uuid::now_v7()).collect();
    let mut events = Vec::new();
    for (sequence, event_type) in (1..).zip(LIFE) {
        for order in &orders {
            let payload = json!({
                "order_id": order,
                "total": { "amount": "139.12", "currency": "GBP" },
                "lines": [{ "sku": "85123A", "quantity": 6, "name": "HEART, T-LIGHT" }],
            });
            events.push(event(*order, sequence, event_type, &payload));
        }
    }
    events
}

/// The first events of this many orders.
pub(crate) fn placed(count: usize) -> Vec<Message> {
    orders(count).into_iter().take(count).collect()
}

/// A record as read by an independent client.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) partition: i32,
    pub(crate) key: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) value: Value,
}

/// Delivers a batch like the relay: retries what is not delivered yet.
pub(crate) async fn arrives(sink: &dyn Sink, batch: &[Message]) {
    let mut left = batch.to_vec();
    let mut last = Vec::new();
    for _ in 0..TRIES_MAX {
        let verdicts = sink.deliver(&left).await;
        assert_eq!(verdicts.len(), left.len());
        let refused = verdicts.iter().find(|one| matches!(one, Verdict::Refused { .. }));
        assert_eq!(refused, None);
        let mut verdicts = verdicts.into_iter();
        last.clear();
        left.retain(|_| {
            let verdict = verdicts.next().unwrap();
            let is_left = verdict != Verdict::Delivered;
            last.push(verdict);
            is_left
        });
        if left.is_empty() {
            return;
        }
    }
    panic!("{} messages never arrive: {last:?}", left.len());
}

/// Retries a batch until its first message, which must not be delivered before, has a reason with
/// this text.
pub(crate) async fn waits_because(sink: &dyn Sink, batch: &[Message], text: &str) {
    let mut given = String::new();
    for _ in 0..TRIES_MAX {
        let verdicts = sink.deliver(batch).await;
        let Some(Verdict::Unavailable { why, .. }) = verdicts.first() else {
            panic!("{text}: {verdicts:?}")
        };
        if why.contains(text) {
            return;
        }
        given.clone_from(why);
    }
    panic!("it is never because of {text:?}, but of {given:?}");
}

/// Asserts that every message was read, each order's in order, with correct attributes.
///
/// If something was sent twice, its first appearance counts.
pub(crate) fn all_are_there(read: &[Read], sent: &[Message]) {
    let mut sightings: BTreeMap<&str, Vec<&Read>> = BTreeMap::new();
    for one in read {
        let seen = sightings.entry(&one.key).or_default();
        if seen.iter().all(|earlier| earlier.headers["ce_id"] != one.headers["ce_id"]) {
            seen.push(one);
        }
    }
    let mut expected: BTreeMap<&str, Vec<&Message>> = BTreeMap::new();
    for message in sent {
        expected.entry(&message.aggregate_id).or_default().push(message);
    }
    assert_eq!(
        sightings.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>(),
        "orders that were told of"
    );
    for (order, seen) in sightings {
        let messages = &expected[order];
        assert_eq!(seen.len(), messages.len(), "{order}");
        for (read, message) in seen.iter().zip(messages) {
            let of_order = |partition: i32| partition == seen[0].partition;
            assert!(of_order(read.partition), "{order} is in two partitions");
            assert_eq!(read.headers["content-type"], "application/json");
            for (name, value) in message.attributes(SOURCE) {
                assert_eq!(read.headers[&format!("ce_{name}")], value, "{}: {name}", message.id);
            }
            assert_eq!(read.headers.len(), 8, "{:?}", read.headers);
            let payload: Value = serde_json::from_str(message.payload.get()).unwrap();
            assert_eq!(read.value, payload, "{}", message.id);
        }
    }
}
