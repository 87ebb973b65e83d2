//! A message of the outbox, and its form as a `CloudEvent`.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::value::RawValue;

/// The media type of every message's payload.
pub const CONTENT_TYPE: &str = "application/json";

/// One event of an order, as it is published.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its position in the outbox, which orders only the messages of the same order.
    pub position: i64,
    /// The CloudEvents id, `order_id:sequence`, which is the receiver's deduplication key.
    pub id: String,
    /// The aggregate type, such as `order`.
    pub aggregate_type: String,
    /// The order's id.
    pub aggregate_id: String,
    /// The event's number within the order, from 1 without a gap.
    pub sequence: i32,
    /// The CloudEvents type, such as `ordersaga.order.placed.v1`.
    pub event_type: String,
    /// The event's data, as specified in `domain/events`.
    pub payload: Box<RawValue>,
    /// When it was written.
    pub created_at: DateTime<Utc>,
}

impl Message {
    /// The CloudEvents attributes, by name and without a prefix: each binding adds its own.
    ///
    /// `source` identifies the shop, as a URI reference.
    #[must_use]
    pub fn attributes<'a>(&'a self, source: &'a str) -> [(&'static str, String); 7] {
        [
            ("specversion", "1.0".to_owned()),
            ("id", self.id.clone()),
            ("source", source.to_owned()),
            ("type", self.event_type.clone()),
            ("time", self.created_at.to_rfc3339_opts(SecondsFormat::Millis, true)),
            ("subject", self.aggregate_id.clone()),
            ("sequence", self.sequence.to_string()),
        ]
    }
}
