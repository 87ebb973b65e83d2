//! The request's body: a CloudEvent that is also a valid Standard Webhooks message.
//!
//! Receivers of signed webhooks expect a JSON object with `type`, `timestamp` and `data`, sent as
//! `application/json`, and their libraries are built for that. Consumers of the broker know the
//! same event as a CloudEvent. One object serves both: the CloudEvent's attributes and its `data`,
//! with `timestamp` as an extension that repeats `time`. The content type is not
//! `application/cloudevents+json`, because many frameworks do not parse that as JSON.

use chrono::SecondsFormat;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::Message;
use crate::message::CONTENT_TYPE;

/// A message's JSON body.
pub(super) struct Body<'a> {
    /// The message.
    pub(super) message: &'a Message,
    /// The shop that it comes from, as a URI reference.
    pub(super) source: &'a str,
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { message, source } = self;
        let mut fields = serializer.serialize_map(None)?;
        for (name, value) in message.attributes(source) {
            fields.serialize_entry(name, &value)?;
        }
        let time = message.created_at.to_rfc3339_opts(SecondsFormat::Millis, true);
        fields.serialize_entry("timestamp", &time)?;
        fields.serialize_entry("datacontenttype", CONTENT_TYPE)?;
        fields.serialize_entry("data", &message.payload)?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn a_body_is_what_receivers_of_webhooks_and_of_cloud_events_read() {
        let message = Message {
            position: 7,
            id: "o1:2".to_owned(),
            aggregate_type: "order".to_owned(),
            aggregate_id: "o1".to_owned(),
            sequence: 2,
            event_type: "ordersaga.order.shipped.v1".to_owned(),
            payload: RawValue::from_string(r#"{"tracking": "T1"}"#.to_owned()).unwrap(),
            created_at: DateTime::from_timestamp(1_767_225_600, 5_000_000).unwrap(),
        };
        let body = Body { message: &message, source: "https://shop.example" };
        let expected = concat!(
            r#"{"specversion":"1.0","id":"o1:2","source":"https://shop.example","#,
            r#""type":"ordersaga.order.shipped.v1","time":"2026-01-01T00:00:00.005Z","#,
            r#""subject":"o1","sequence":"2","timestamp":"2026-01-01T00:00:00.005Z","#,
            r#""datacontenttype":"application/json","data":{"tracking": "T1"}}"#,
        );
        assert_eq!(serde_json::to_string(&body).unwrap(), expected);
    }
}
