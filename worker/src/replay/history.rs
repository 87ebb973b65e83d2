//! Reads a workflow history in the formats that Temporal's tools write.
//!
//! There are two JSON formats. The SDK writes its own structs, field by field, with numbers for
//! enums. Everything else at Temporal (the CLI, the Web UI, the other SDKs) writes protobuf JSON:
//! names for enums, base64 for bytes, RFC 3339 for times. That one is decoded by the messages'
//! descriptors, so that no event type is missed.
//!
//! In either format the events may be in an object, in a list, one per line, or in pages as
//! Temporal's HTTP API returns them. The file may be gzipped, have a byte order mark, or be in
//! UTF-16, which some shells write on redirection; and enums may have the short names of older
//! tools.
//!
//! The SDK waits forever for the rest of an incomplete history. So a history is [checked](check)
//! before it is replayed.

mod names;

use std::borrow::Cow;
use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use prost_reflect::{DescriptorError, DescriptorPool, DeserializeOptions, DynamicMessage};
use serde_json::{Deserializer, Value};
use temporalio_protos::temporal::api::enums::v1::EventType;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::history::v1::{History, HistoryEvent};

/// The descriptors of Temporal's messages, embedded by the build script.
const MESSAGES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/temporal-messages.bin"));

/// The message type of a history.
const HISTORY: &str = "temporal.api.history.v1.History";

/// The magic number of gzip.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Why the input is not a history, or not one that can be replayed.
#[derive(Debug, thiserror::Error)]
pub enum NotAHistory {
    /// Empty input, as from a failed command.
    #[error("it is empty")]
    Empty,
    /// Not JSON, or JSON of something else.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// Truncated JSON.
    #[error("it is cut off: {0}")]
    CutOff(serde_json::Error),
    /// JSON without events.
    #[error("it has no events")]
    NoEvents,
    /// Payloads decoded for display: the workflow's input cannot be restored from them.
    #[error("its payloads are decoded: save it with raw payloads")]
    DecodedPayloads,
    /// An event type that this release does not know and may not ignore.
    #[error("its event {0:?} is of a type that this release does not know")]
    UnknownEvent(String),
    /// An event without attributes, or with the attributes of another type.
    #[error("its event {0} does not say what happened")]
    Hollow(i64),
    /// The event numbers are not consecutive: some are missing or out of order.
    #[error("its event {expected} is missing: event {found} is in its place")]
    Gap {
        /// The expected number.
        expected: i64,
        /// The number found.
        found: i64,
    },
    /// The first event is not a workflow start.
    #[error("its first event does not start a run of a workflow")]
    NoStart,
    /// A workflow task that is neither closed nor the last event.
    #[error("its event {0} begins a workflow task, and the next event does not end it")]
    OpenTask(i64),
    /// No worker has picked up the workflow yet.
    #[error("no workflow task has begun yet: there is nothing to replay")]
    NothingBegun,
    /// A bug: the embedded descriptors do not contain histories.
    #[error("this build cannot read protobuf's JSON: {0}")]
    Description(String),
}

/// Reads the whole source, unpacking it if it is gzipped; fails above `most` bytes.
pub(super) fn bytes_of(source: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let bytes = at_most(most, source)?;
    if bytes.starts_with(&GZIP) {
        let unpacked = at_most(most, MultiGzDecoder::new(bytes.as_slice()));
        unpacked.map_err(|error| io::Error::new(error.kind(), format!("unpacking it: {error}")))
    } else {
        Ok(bytes)
    }
}

fn at_most(most: u64, source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= most) {
        Ok(bytes)
    } else {
        Err(io::Error::other(format!("it is longer than {most} bytes, and so than any history")))
    }
}

/// Reads a history in either JSON format.
pub(super) fn read(json: &[u8]) -> Result<History, NotAHistory> {
    let text = in_utf8(json);
    if text.trim_ascii().is_empty() {
        return Err(NotAHistory::Empty);
    }
    let mut events = Vec::new();
    for document in Deserializer::from_slice(&text).into_iter::<Value>() {
        let document = document.map_err(|error| {
            if error.is_eof() { NotAHistory::CutOff(error) } else { NotAHistory::Json(error) }
        })?;
        collect(document, &mut events);
    }
    // Protobuf JSON has names in camel case, the SDK's structs in snake case.
    let is_protobufs = events.first().ok_or(NotAHistory::NoEvents)?.get("eventId").is_some();
    let history: Value = [("events", Value::Array(events))].into_iter().collect();
    if is_protobufs { protobuf_json(history) } else { Ok(serde_json::from_value(history)?) }
}

/// The same text in UTF-8, without a byte order mark.
fn in_utf8(text: &[u8]) -> Cow<'_, [u8]> {
    match text {
        [0xff, 0xfe, units @ ..] => Cow::Owned(from_utf16(units, u16::from_le_bytes)),
        [0xfe, 0xff, units @ ..] => Cow::Owned(from_utf16(units, u16::from_be_bytes)),
        [0xef, 0xbb, 0xbf, text @ ..] | text => Cow::Borrowed(text),
    }
}

fn from_utf16(units: &[u8], unit: fn([u8; 2]) -> u16) -> Vec<u8> {
    let (pairs, _half) = units.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
    String::from_utf16_lossy(&units).into_bytes()
}

/// Collects the events in a document: one event, a list of them, or an object with such a list.
fn collect(document: Value, events: &mut Vec<Value>) {
    match document {
        Value::Array(items) => events.extend(items),
        Value::Object(mut fields) => {
            let within = ["events", "history"].into_iter().find_map(|name| fields.remove(name));
            match within {
                Some(within) => collect(within, events),
                None if fields.contains_key("eventId") || fields.contains_key("event_id") => {
                    events.push(fields.into());
                }
                None => {}
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn protobuf_json(mut history: Value) -> Result<History, NotAHistory> {
    let broken = |error: DescriptorError| NotAHistory::Description(error.to_string());
    let pool = DescriptorPool::decode(MESSAGES).map_err(broken)?;
    let kind = pool
        .get_message_by_name(HISTORY)
        .ok_or_else(|| NotAHistory::Description(format!("no message {HISTORY}")))?;
    names::in_full(&mut history, &kind)?;
    if let Some(unknown) = unknown_event(&history) {
        return Err(NotAHistory::UnknownEvent(unknown.to_owned()));
    }
    // A newer server may send fields that this SDK does not know.
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    DynamicMessage::deserialize_with_options(kind, history, &options)?
        .transcode_to()
        .map_err(|error| NotAHistory::Description(error.to_string()))
}

/// The first event type that is unknown and must not be ignored, if any.
fn unknown_event(history: &Value) -> Option<&str> {
    let events = history.get("events").and_then(Value::as_array)?;
    let counts = |event: &&Value| event.get("workerMayIgnore") != Some(&Value::Bool(true));
    let mut types =
        events.iter().filter(counts).filter_map(|event| event.get("eventType")?.as_str());
    types.find(|name| EventType::from_str_name(name).is_none())
}

/// Whether the SDK can replay a history to its end: it waits forever for the rest of an incomplete
/// one.
pub(super) fn check(history: &History) -> Result<(), NotAHistory> {
    if !history.events.first().is_some_and(starts_a_run) {
        return Err(NotAHistory::NoStart);
    }
    for (expected, event) in (1..).zip(&history.events) {
        let found = event.event_id;
        if found != expected {
            return Err(NotAHistory::Gap { expected, found });
        }
        if !event.worker_may_ignore && !says_what_happened(event) {
            return Err(NotAHistory::Hollow(found));
        }
    }
    let pairs = history.events.iter().zip(history.events.iter().skip(1));
    for (event, next) in pairs {
        if event.event_type() == EventType::WorkflowTaskStarted && !ends_a_task(next) {
            return Err(NotAHistory::OpenTask(event.event_id));
        }
    }
    if first_task(history).is_some() { Ok(()) } else { Err(NotAHistory::NothingBegun) }
}

/// The number of events until the first workflow task begins.
pub(super) fn first_task(history: &History) -> Option<usize> {
    let begins = |event: &HistoryEvent| event.event_type() == EventType::WorkflowTaskStarted;
    history.events.iter().position(begins)?.checked_add(1)
}

fn starts_a_run(event: &HistoryEvent) -> bool {
    match &event.attributes {
        Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) => {
            started.workflow_type.is_some() && !started.original_execution_run_id.is_empty()
        }
        Some(_) | None => false,
    }
}

fn says_what_happened(event: &HistoryEvent) -> bool {
    event.attributes.as_ref().is_some_and(|told| told.event_type() == event.event_type())
}

fn ends_a_task(event: &HistoryEvent) -> bool {
    [
        EventType::WorkflowTaskCompleted,
        EventType::WorkflowTaskFailed,
        EventType::WorkflowTaskTimedOut,
        EventType::WorkflowExecutionTerminated,
        EventType::WorkflowExecutionTimedOut,
    ]
    .contains(&event.event_type())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use serde_json::json;
    use temporalio_client::WorkflowHistory;

    use super::*;

    /// The output of `temporal workflow show --output json`.
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

    fn printed() -> Value {
        serde_json::from_slice(PRINTED).unwrap()
    }

    fn lines(events: &[Value]) -> String {
        let lines: Vec<_> = events.iter().map(Value::to_string).collect();
        lines.join("\n") + "\n"
    }

    #[test]
    fn a_history_is_the_same_in_every_form_that_people_have_it_in() {
        let history = read(PRINTED).unwrap();
        let (events, text) = (printed()["events"].take(), printed().to_string());
        let events = events.as_array().unwrap();
        let (first, second) = events.split_at(3);
        let marked = format!("\u{feff}{text}");
        let in_utf16 = |bytes_of: fn(u16) -> [u8; 2]| -> Vec<u8> {
            marked.encode_utf16().flat_map(bytes_of).collect()
        };
        let page = |events: &[Value]| json!({ "history": { "events": events } }).to_string();
        for (form, bytes) in [
            ("a list", json!(events).to_string().into_bytes()),
            ("pages", [page(first), page(second)].concat().into_bytes()),
            ("lines", lines(events).into_bytes()),
            ("a mark", marked.clone().into_bytes()),
            ("UTF-16", in_utf16(u16::to_le_bytes)),
            ("UTF-16, big first", in_utf16(u16::to_be_bytes)),
        ] {
            assert_eq!(read(&bytes).unwrap(), history, "{form}");
        }
    }

    /// The name as older tools write it.
    fn short(name: &Value) -> Value {
        let words = name.as_str().unwrap().strip_prefix("EVENT_TYPE_").unwrap().split('_');
        words
            .map(|word| word[..1].to_owned() + &word[1..].to_lowercase())
            .collect::<String>()
            .into()
    }

    #[test]
    fn a_history_is_the_same_with_the_names_that_older_tools_write() {
        let history = read(PRINTED).unwrap();
        let mut older = printed();
        let events = older["events"].as_array_mut().unwrap();
        for event in events.iter_mut() {
            event["eventType"] = short(&event["eventType"]);
        }
        assert_eq!(events[3]["eventType"], "WorkflowTaskCompleted");
        events[0]["workflowExecutionStartedEventAttributes"]["taskQueue"]["kind"] = json!("Normal");
        assert_eq!(read(older.to_string().as_bytes()).unwrap(), history);
        // One short name among full ones.
        let mut mixed = printed();
        mixed["events"][2]["eventType"] = json!("WorkflowTaskStarted");
        assert_eq!(read(mixed.to_string().as_bytes()).unwrap(), history);
    }

    #[test]
    fn a_type_of_event_that_nobody_knows_is_named_unless_it_may_be_ignored() {
        for name in ["SomethingNew", "EVENT_TYPE_SOMETHING_NEW", ""] {
            let mut newer = printed();
            newer["events"][4]["eventType"] = json!(name);
            let told = format!("its event {name:?} is of a type that this release does not know");
            assert_eq!(said(&newer.to_string()), told);
            newer["events"][4]["workerMayIgnore"] = json!(true);
            let history = read(newer.to_string().as_bytes()).unwrap();
            assert!(check(&history).is_ok(), "{name}");
        }
    }

    fn said(json: &str) -> String {
        read(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_history_says_what_is_wrong() {
        for nothing in ["", " \r\n", "\u{feff}"] {
            assert_eq!(said(nothing), "it is empty");
        }
        for other in ["[]", "{}", "null", "7", r#""events""#, r#"{"events": {"a": 1}}"#] {
            assert_eq!(said(other), "it has no events", "{other}");
        }
        let text = printed().to_string();
        for cut in [1, 100, text.len().saturating_sub(1)] {
            assert!(said(&text[..cut]).starts_with("it is cut off: "), "{cut}");
        }
        assert!(said("workflow not found").starts_with("expected value at line 1"));
        let mut decoded = printed();
        decoded["events"][0]["workflowExecutionStartedEventAttributes"]["input"]["payloads"][0] =
            json!({ "order_id": "01a223cc-3ec3-768f-b3f1-1ebf2c3da566" });
        let told = "its payloads are decoded: save it with raw payloads";
        assert_eq!(said(&decoded.to_string()), told);
    }

    /// The result of checking a history after a modification.
    fn checked(meddle: impl FnOnce(&mut Vec<HistoryEvent>)) -> String {
        let mut history = read(PRINTED).unwrap();
        meddle(&mut history.events);
        check(&history).map_or_else(|wrong| wrong.to_string(), |()| "fine".to_owned())
    }

    #[test]
    fn a_history_that_the_sdk_would_wait_for_is_refused() {
        assert_eq!(checked(|_| {}), "fine");
        // An order in progress.
        assert_eq!(checked(|events| events.truncate(3)), "fine");
        let begun = "no workflow task has begun yet: there is nothing to replay";
        assert_eq!(checked(|events| events.truncate(2)), begun);
        assert_eq!(checked(|events| events.truncate(1)), begun);
        let start = "its first event does not start a run of a workflow";
        assert_eq!(checked(Vec::clear), start);
        assert_eq!(checked(|events| drop(events.remove(0))), start);
        let second = "its event 2 is missing: event 3 is in its place";
        assert_eq!(checked(|events| drop(events.remove(1))), second);
        let open = "its event 3 begins a workflow task, and the next event does not end it";
        let without_end = |events: &mut Vec<HistoryEvent>| {
            events.remove(3);
            for (number, event) in (1..).zip(events) {
                event.event_id = number;
            }
        };
        assert_eq!(checked(without_end), open);
        let hollow = "its event 4 does not say what happened";
        assert_eq!(checked(|events| events[3].attributes = None), hollow);
        assert_eq!(checked(|events| events[3].event_type = 0), hollow);
        assert_eq!(checked(|events| events[3].event_type = 9_999), hollow);
    }

    #[test]
    fn no_more_is_read_than_any_history_has_packed_or_not() {
        let pack = |bytes: &[u8]| {
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(bytes).unwrap();
            packed.finish().unwrap()
        };
        let packed = pack(PRINTED);
        let most = u64::try_from(PRINTED.len()).unwrap();
        let less = most.saturating_sub(1);
        let (whole, longer) = (bytes_of(PRINTED, most), bytes_of(PRINTED, less));
        assert_eq!(whole.unwrap(), PRINTED);
        assert!(longer.unwrap_err().to_string().starts_with("it is longer than "));
        assert_eq!(bytes_of(packed.as_slice(), most).unwrap(), PRINTED);
        let bomb = bytes_of(packed.as_slice(), less).unwrap_err().to_string();
        assert!(bomb.starts_with("unpacking it: it is longer than "), "{bomb}");
        let half = bytes_of(&packed[..50], most).unwrap_err().to_string();
        assert!(half.starts_with("unpacking it: "), "{half}");
        // An endless source.
        assert!(bytes_of(io::repeat(b' '), 1_000).is_err());
    }
}
