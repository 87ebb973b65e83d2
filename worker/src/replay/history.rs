//! Reads a workflow history from either of the two JSONs there are of it.
//!
//! The SDK writes its own structs, field by field, numbers for enums. Everything else at
//! Temporal (the CLI, the Web UI, the other SDKs) writes protobuf's JSON: names for enums,
//! base64 for bytes, RFC 3339 for times. That one is read by the messages' own description,
//! so that no event type can be forgotten here.

use prost_reflect::{DescriptorError, DescriptorPool, DeserializeOptions, DynamicMessage};
use serde_json::Value;
use temporalio_protos::temporal::api::history::v1::History;

/// The description of Temporal's messages, taken along by the build script.
const MESSAGES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/temporal-messages.bin"));

/// The message that a history is.
const HISTORY: &str = "temporal.api.history.v1.History";

/// Why bytes are no history.
#[derive(Debug, thiserror::Error)]
pub enum NotAHistory {
    /// No JSON, or JSON of something else.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// JSON without a single event.
    #[error("it has no events")]
    NoEvents,
    /// A bug: the embedded description does not describe histories.
    #[error("this build cannot read protobuf's JSON: {0}")]
    Description(String),
}

/// Reads a history from either JSON.
pub(super) fn read(json: &[u8]) -> Result<History, NotAHistory> {
    let value: Value = serde_json::from_slice(json)?;
    let first = value.pointer("/events/0").ok_or(NotAHistory::NoEvents)?;
    // Protobuf's JSON writes names in camel case, the SDK's structs in snake case.
    if first.get("eventId").is_some() { protobuf_json(value) } else { sdk_json(value) }
}

fn sdk_json(value: Value) -> Result<History, NotAHistory> {
    Ok(serde_json::from_value(value)?)
}

fn protobuf_json(value: Value) -> Result<History, NotAHistory> {
    let broken = |error: DescriptorError| NotAHistory::Description(error.to_string());
    let pool = DescriptorPool::decode(MESSAGES).map_err(broken)?;
    let kind = pool
        .get_message_by_name(HISTORY)
        .ok_or_else(|| NotAHistory::Description(format!("no message {HISTORY}")))?;
    // A newer server may tell more than this SDK knows.
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    DynamicMessage::deserialize_with_options(kind, value, &options)?
        .transcode_to()
        .map_err(|error| NotAHistory::Description(error.to_string()))
}

#[cfg(test)]
mod tests {
    use temporalio_client::WorkflowHistory;
    use temporalio_protos::temporal::api::enums::v1::EventType;

    use super::*;

    /// As `temporal workflow show --output json` printed it.
    const PRINTED: &[u8] =
        include_bytes!("../../tests/histories/rejected-without-an-answer.cli.json");

    #[test]
    fn what_the_cli_prints_is_read_in_full() {
        let history = read(PRINTED).unwrap();
        let numbers: Vec<_> = history.events.iter().map(|event| event.event_id).collect();
        let printed: serde_json::Value = serde_json::from_slice(PRINTED).unwrap();
        let all = printed["events"].as_array().unwrap().len();
        assert_eq!(numbers, (1..).take(all).collect::<Vec<_>>());
        for event in &history.events {
            let attributes = event.attributes.as_ref().expect("what happened");
            assert_eq!(attributes.event_type(), event.event_type());
            assert_ne!(event.event_type(), EventType::Unspecified);
            assert!(event.event_time.is_some());
        }
    }

    #[tokio::test]
    async fn both_jsons_of_a_history_are_the_same_history() {
        let printed = read(PRINTED).unwrap();
        let written = WorkflowHistory::from(printed.clone()).to_json().await.unwrap();
        assert_eq!(read(&written).unwrap(), printed);
    }

    #[test]
    fn an_event_of_a_newer_server_does_not_hinder() {
        let newer = br#"{"events":[{"eventId":"1","eventType":"EVENT_TYPE_WORKFLOW_TASK_SCHEDULED",
            "taskId":"9","somethingNew":{"a":1},
            "workflowTaskScheduledEventAttributes":{"attempt":1,"startToCloseTimeout":"1.5s"}}]}"#;
        let history = read(newer).unwrap();
        assert_eq!(history.events.len(), 1);
        assert_eq!(history.events[0].event_type(), EventType::WorkflowTaskScheduled);
    }

    #[test]
    fn what_is_no_history_is_refused() {
        for wrong in ["", "[]", "{}", r#"{"events":[]}"#, r#"{"events":[{"eventId":"one"}]}"#] {
            assert!(read(wrong.as_bytes()).is_err(), "{wrong} was taken for a history");
        }
    }
}
