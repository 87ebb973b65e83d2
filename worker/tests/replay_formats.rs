//! Histories as an operator has them at hand, printed by the CLI, replayed from files: what
//! today's code follows, where it leaves a history, and what is no history at all.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what cannot be prepared or read fails its test"
)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use temporalio_protos::temporal::api::enums::v1::EventType;
use worker::replay::{Divergence, ReplayError, histories, replay_file};

/// The history of an order that was completed, as the CLI prints it.
fn completed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories/completed.cli.json")
}

/// A history of an order that was completed, after somebody has meddled with it, in a file that goes
/// with the test's own folder.
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
