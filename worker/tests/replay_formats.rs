//! Histories in an operator's file formats: those that current code can replay, those that diverge,
//! and files that are not histories. None makes the replayer hang.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what cannot be prepared or read fails its test"
)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use temporalio_protos::temporal::api::enums::v1::EventType;
use worker::replay::{Divergence, ReplayError, histories, replay_file};

/// The history of a completed order, as the CLI prints it.
fn completed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories/completed.cli.json")
}

/// A modified history of a completed order, as a file in the test's own folder.
fn meddled(test: &str, meddle: impl FnOnce(&mut Vec<Value>)) -> PathBuf {
    let printed = fs::read(completed()).unwrap();
    let mut history: Value = serde_json::from_slice(&printed).unwrap();
    meddle(history["events"].as_array_mut().unwrap());
    for (event, id) in history["events"].as_array_mut().unwrap().iter_mut().zip(1..) {
        event["eventId"] = json!(i32::to_string(&id));
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("history.json");
    fs::write(&file, history.to_string()).unwrap();
    file
}

fn divergence(file: &Path) -> Divergence {
    replay_file(file).unwrap().divergence.expect("a divergence")
}

#[test]
fn steps_in_another_order_diverge_at_the_first_of_them() {
    let file = meddled("another-order", |events| events.swap(5, 6));
    let Divergence { event, why } = divergence(&file);
    assert_eq!(event, Some((6, EventType::MarkerRecorded)), "{why}");
}

#[test]
fn a_step_that_the_code_no_longer_takes_diverges_there() {
    let file = meddled("no-longer-taken", |events| {
        let again = events[9].clone();
        events.insert(10, again);
    });
    assert!(divergence(&file).event.is_some_and(|(id, _)| id == 11));
}

#[test]
fn a_step_that_the_code_takes_anew_diverges_where_it_is_missing() {
    let file = meddled("taken-anew", |events| {
        events.remove(9);
    });
    let Divergence { event, .. } = divergence(&file);
    assert_eq!(event, Some((10, EventType::UpsertWorkflowSearchAttributes)));
}

#[test]
fn a_divergence_says_what_to_do() {
    let file = meddled("advice", |events| events.swap(5, 6));
    let outcome = replay_file(&file).unwrap().to_string();
    assert!(outcome.contains("event 6 (EVENT_TYPE_MARKER_RECORDED)"), "{outcome}");
    assert!(outcome.contains("`patched`"), "{outcome}");
}

/// An empty folder for the test.
fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    // Removes the results of an earlier run.
    fs::remove_dir_all(&folder).ok();
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The history's events with the short type names of older tools.
fn with_short_names(events: &[Value]) -> Value {
    let pascal = |name: &str| -> String {
        let words = name.strip_prefix("EVENT_TYPE_").unwrap().split('_');
        words.map(|word| word[..1].to_owned() + &word[1..].to_lowercase()).collect()
    };
    let mut events = events.to_vec();
    for event in &mut events {
        event["eventType"] = json!(pascal(event["eventType"].as_str().unwrap()));
    }
    json!({ "events": events })
}

#[test]
fn a_history_replays_in_every_form_that_people_have_it_in() {
    let text = fs::read_to_string(completed()).unwrap();
    let history: Value = serde_json::from_str(&text).unwrap();
    let events = history["events"].as_array().unwrap();
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    let marked = format!("\u{feff}{text}");
    let mut mixed = history.clone();
    mixed["events"][4]["eventType"] = json!("MarkerRecorded");
    let forms = [
        ("an-answer.json", json!({ "history": history }).to_string().into_bytes()),
        ("in-utf-16.json", marked.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        (
            "lines.jsonl",
            events.iter().flat_map(|event| format!("{event}\r\n").into_bytes()).collect(),
        ),
        ("list.json", json!(events).to_string().into_bytes()),
        ("marked.json", marked.clone().into_bytes()),
        ("of-older-tools.json", with_short_names(events).to_string().into_bytes()),
        ("one-short-name.json", mixed.to_string().into_bytes()),
        ("packed.json.gz", packed.finish().unwrap()),
    ];
    let folder = folder("forms");
    let names = forms.each_ref().map(|(name, _)| folder.join(name));
    for (name, bytes) in &forms {
        fs::write(folder.join(name), bytes).unwrap();
    }
    fs::write(folder.join("README.md"), "no history").unwrap();
    let files = histories(&folder).unwrap();
    assert_eq!(files, names);
    for file in files {
        let outcome = replay_file(&file).unwrap();
        assert_eq!((outcome.events, outcome.divergence), (12, None), "{}", file.display());
    }
}

#[test]
fn what_cannot_be_replayed_says_what_is_wrong_with_it() {
    let text = fs::read_to_string(completed()).unwrap();
    let without = |number: usize| {
        let mut history: Value = serde_json::from_str(&text).unwrap();
        history["events"].as_array_mut().unwrap().remove(number.saturating_sub(1));
        history.to_string()
    };
    let mut unknown: Value = serde_json::from_str(&text).unwrap();
    unknown["events"][1]["eventType"] = json!("Whatever");
    let half: String = text.chars().take(3_000).collect();
    let file = folder("wrong").join("history.json");
    for (wrong, said) in [
        (String::new(), "it is empty"),
        (half, "it is cut off: EOF while parsing"),
        ("Error: workflow not found".to_owned(), "expected value at line 1 column 1"),
        (json!({ "events": [] }).to_string(), "it has no events"),
        (without(1), "its first event does not start a run of a workflow"),
        (without(2), "its event 2 is missing: event 3 is in its place"),
        (
            unknown.to_string(),
            "its event \"Whatever\" is of a type that this release does not know",
        ),
    ] {
        fs::write(&file, wrong).unwrap();
        let error = replay_file(&file).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("history.json"), "{said}: {error}");
    }
}

#[test]
fn a_workflow_that_the_worker_does_not_have_is_no_success() {
    let file = meddled("unknown", |events| {
        events[0]["workflowExecutionStartedEventAttributes"]["workflowType"]["name"] =
            json!("Nothing");
    });
    assert!(matches!(replay_file(&file), Err(ReplayError::UnknownWorkflow { .. })));
}

#[test]
fn a_folder_without_histories_is_no_success() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-histories");
    fs::create_dir_all(&folder).unwrap();
    assert!(matches!(histories(&folder), Err(ReplayError::Empty(_))));
}

#[test]
fn an_unreadable_file_is_named() {
    let error = replay_file(Path::new("nowhere.json")).unwrap_err();
    assert!(error.to_string().contains("nowhere.json"), "{error}");
}

#[tokio::test]
async fn a_history_can_be_replayed_from_inside_a_runtime() {
    let outcome = replay_file(&completed()).unwrap();
    assert_eq!(outcome.divergence, None);
}
