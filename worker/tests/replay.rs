//! Recorded histories and current code: a history of every kind of end is on file, and replays.
//!
//! `RECORD_HISTORIES=1 cargo test -p worker --test replay` records the files again. Do that only
//! for a change behind `patched`, and keep the old files as long as such orders may be open.

#![expect(
    clippy::unwrap_used,
    clippy::default_trait_access,
    reason = "what cannot be prepared or read fails its test"
)]

mod support;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use domain::{Decision, Rejection};
use runtime::schema::MIGRATIONS;
use sqlx::PgPool;
use support::{
    Fault, OrderHandle, Shop, ended, history, order, order_paid_by, reset, until_in_history,
};
use temporalio_client::{WorkflowCancelOptions, WorkflowTerminateOptions};
use temporalio_common::protos::temporal::api::enums::v1::EventType;
use worker::replay::replay_file;

/// Every kind of end of an order, and how to cause it.
const ENDS: [&str; 8] = [
    "completed",
    "completed-after-a-wait",
    "rejected",
    "rejected-without-an-answer",
    "cancelled",
    "rejected-after-a-decision",
    "completed-by-acceptance",
    "failed",
];

fn on_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories")
}

async fn come_to(shop: &Shop, end: &str) -> OrderHandle {
    let mut order = if end == "rejected" { order_paid_by("tok_declined") } else { order() };
    let plan = |activity, fault| shop.faults.plan(order.order_id, activity, fault);
    match end {
        "completed-after-a-wait" => {
            order.terms.patience_seconds = None;
            plan("AuthorisePayment", Fault::Unavailable(3));
        }
        "rejected-without-an-answer" => plan("ShipOrder", Fault::AnswerLost(u32::MAX)),
        "cancelled" => order.terms.cancel_window_seconds = 3_600,
        "rejected-after-a-decision" => {
            plan("ShipOrder", Fault::Refused(Rejection::ReservationExpired));
            plan("RefundPayment", Fault::Broken(1));
        }
        "completed-by-acceptance" => {
            plan("ShipOrder", Fault::AnswerLost(u32::MAX));
            plan("CancelShipment", Fault::Broken(u32::MAX));
        }
        "failed" => plan("PostEntries", Fault::Broken(u32::MAX)),
        _ => {}
    }
    let handle = shop.place(&order).await;
    if end == "cancelled" {
        shop.until_event(order.order_id, "payment.authorised").await;
        let options = WorkflowCancelOptions::builder().reason("changed my mind").build();
        handle.cancel(options).await.unwrap();
    } else if end == "rejected-after-a-decision" {
        shop.resolve(&handle, Decision::Retry).await;
    } else if end == "completed-by-acceptance" {
        shop.resolve(&handle, Decision::AcceptAsDone).await;
    }
    let expected = end.split('-').next().unwrap();
    assert_eq!(ended(&handle).await.name(), expected, "{end}");
    handle
}

/// The output of `temporal workflow show --output json` for the workflow's last run, or this one.
fn shown_by_the_cli(server: &str, workflow: &str, run: Option<&str>) -> Vec<u8> {
    let cli = env::var("TEMPORAL_CLI").unwrap();
    let arguments = ["workflow", "show", "--output", "json", "--address", server, "-w", workflow];
    let run = run.into_iter().flat_map(|run| ["-r", run]);
    let output = Command::new(cli).args(arguments.into_iter().chain(run)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn every_end_replays_as_the_sdk_writes_it_and_as_the_cli_prints_it(db: PgPool) {
    let shop = Shop::open(db).await;
    let record = env::var_os("RECORD_HISTORIES").is_some();
    let folder =
        if record { on_file() } else { Path::new(env!("CARGO_TARGET_TMPDIR")).join("histories") };
    fs::create_dir_all(&folder).unwrap();
    let server = shop.server_address();
    for end in ENDS {
        let handle = come_to(&shop, end).await;
        let by_sdk = handle.fetch_history(Default::default()).to_json().await.unwrap();
        let by_cli = shown_by_the_cli(&server, handle.info().workflow_id.as_str(), None);
        for (name, json) in [(format!("{end}.json"), by_sdk), (format!("{end}.cli.json"), by_cli)] {
            let path = folder.join(name);
            fs::write(&path, json).unwrap();
            let outcome = replay_file(&path).unwrap();
            assert!(outcome.divergence.is_none(), "{outcome}");
        }
    }
    shop.close().await;
}

/// The histories that an operator has when something is wrong.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_history_that_is_open_reset_or_terminated_replays_as_the_cli_prints_it(db: PgPool) {
    let shop = Shop::open(db).await;
    let mut order = order();
    order.terms.cancel_window_seconds = 3_600;
    let first = shop.place(&order).await;
    until_in_history(&first, EventType::TimerStarted, 1).await;
    let (server, workflow) = (shop.server_address(), order.order_id.workflow_id());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("unended-histories");
    fs::create_dir_all(&folder).unwrap();
    let replays = |kind: &str, run: Option<&str>| {
        let path = folder.join(format!("{kind}.json"));
        fs::write(&path, shown_by_the_cli(&server, &workflow, run)).unwrap();
        let outcome = replay_file(&path).unwrap();
        assert!(outcome.divergence.is_none(), "{kind}: {outcome}");
    };
    replays("open", None);
    let completed = EventType::WorkflowTaskCompleted;
    let events = history(&first).await.events;
    let task = events.iter().find(|event| event.event_type() == completed).unwrap().event_id;
    let second = reset(&first, task).await;
    until_in_history(&second, EventType::TimerStarted, 1).await;
    replays("reset", None);
    replays("ended-by-a-reset", first.info().run_id.as_deref());
    second.terminate(WorkflowTerminateOptions::default()).await.unwrap();
    replays("terminated", None);
    shop.close().await;
}

#[test]
fn the_histories_on_file_lead_to_the_same_commands_as_ever() {
    for end in ENDS {
        for form in ["json", "cli.json"] {
            let path = on_file().join(format!("{end}.{form}"));
            let outcome = replay_file(&path).unwrap();
            assert!(outcome.divergence.is_none(), "{}: {outcome}", path.display());
        }
    }
}

/// A timer of an order fires just before Temporal's request to cancel it, and one workflow task
/// delivers both. This history is derived from one in which the order was cancelled while its timer
/// ran; here the timer is not cancelled, because it has fired.
fn cancelled_as_its_window_ended() -> serde_json::Value {
    let json = fs::read(on_file().join("cancelled.cli.json")).unwrap();
    let mut history: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let events = history["events"].as_array_mut().unwrap();
    let place = |events: &[serde_json::Value], kind: &str| {
        events.iter().position(|event| event["eventType"] == format!("EVENT_TYPE_{kind}")).unwrap()
    };
    let timer = &events[place(events, "TIMER_STARTED")];
    let asked = place(events, "WORKFLOW_EXECUTION_CANCEL_REQUESTED");
    let fired = serde_json::json!({
        "eventTime": events[asked]["eventTime"], "eventType": "EVENT_TYPE_TIMER_FIRED",
        "timerFiredEventAttributes": {
            "timerId": timer["timerStartedEventAttributes"]["timerId"],
            "startedEventId": timer["eventId"],
        },
    });
    let not_cancelled = place(events, "TIMER_CANCELED");
    events.remove(not_cancelled);
    events.insert(asked.saturating_add(1), fired);
    let mut moved = BTreeMap::new();
    for (number, event) in (1_u64..).zip(events.iter_mut()) {
        let number = serde_json::Value::from(number.to_string());
        if let Some(was) = event["eventId"].as_str() {
            moved.insert(was.to_owned(), number.clone());
        }
        event["eventId"] = number;
    }
    for event in events {
        for attributes in event.as_object_mut().unwrap().values_mut() {
            for name in ["scheduledEventId", "startedEventId", "workflowTaskCompletedEventId"] {
                if let Some(is) = attributes[name].as_str().and_then(|was| moved.get(was)) {
                    attributes[name] = is.clone();
                }
            }
        }
    }
    history
}

#[test]
fn an_order_goes_on_that_is_cancelled_in_the_moment_in_which_its_window_ends() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cancelled-as-its-window-ended.json");
    fs::write(&path, serde_json::to_vec(&cancelled_as_its_window_ended()).unwrap()).unwrap();
    let outcome = replay_file(&path).unwrap();
    assert!(outcome.divergence.is_none(), "{outcome}");
}

/// The history of a saga that charges before it reserves: it simulates current orders under a saga
/// with swapped steps.
#[test]
fn a_saga_whose_steps_were_put_in_another_order_is_caught() {
    let json = fs::read(on_file().join("completed.cli.json")).unwrap();
    let mut history: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let events = history["events"].as_array_mut().unwrap();
    let markers: Vec<usize> = (0..events.len())
        .filter(|&index| events[index]["eventType"] == "EVENT_TYPE_MARKER_RECORDED")
        .collect();
    let (reserved, charged) = (markers[0], markers[1]);
    let details = |events: &[serde_json::Value], index: usize| {
        events[index]["markerRecordedEventAttributes"]["details"].clone()
    };
    let (first, second) = (details(events, reserved), details(events, charged));
    events[reserved]["markerRecordedEventAttributes"]["details"] = second;
    events[charged]["markerRecordedEventAttributes"]["details"] = first;
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("swapped.json");
    fs::write(&path, serde_json::to_vec(&history).unwrap()).unwrap();
    let outcome = replay_file(&path).unwrap();
    let divergence = outcome.divergence.expect("nobody noticed that two steps were swapped");
    assert!(divergence.event.is_some(), "the diverging event is not named: {divergence}");
    assert!(divergence.to_string().contains("patched"), "{divergence}");
}
