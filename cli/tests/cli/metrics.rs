//! Every series used by the alert rules and the dashboard is exported by a program, with a
//! description.

use std::collections::BTreeSet;
use std::time::Duration;

use runtime::schema::MIGRATIONS;
use sqlx::PgPool;
use tokio::time::timeout;
use worker::run::Settings;

use crate::all::{Running, all, launching_stopped, load, operator, placed};

const ALERTS: &str = include_str!("../../../observability/alerts.yaml");
const DASHBOARD: &str = include_str!("../../../observability/dashboard.json");

/// Series of the SDK that start with the first failure, or with the first workflow task that has
/// waited for a worker. With eager start there may be none.
const NOT_FROM_THE_START: [&str; 3] = [
    "temporal_workflow_task_execution_failed_total",
    "temporal_request_failure_total",
    "temporal_workflow_task_schedule_to_start_latency_seconds",
];

/// The prefixes of all series names.
const OF_ALL: [&str; 4] = ["ordersaga_", "temporal_", "process_", "http_"];

/// Longer than the programs take to export every series once.
const LONG: Duration = Duration::from_mins(5);

/// The names of the series in a text; those of a histogram under its base name.
fn named_in(text: &str) -> BTreeSet<&str> {
    text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
        .filter(|word| OF_ALL.iter().any(|beginning| word.starts_with(*beginning)))
        .map(|word| {
            let ends = ["_bucket", "_count", "_sum"];
            ends.iter().find_map(|end| word.strip_suffix(*end)).unwrap_or(word)
        })
        .collect()
}

/// The names of the series described by a page's lines of this kind.
fn told_by<'a>(page: &'a str, beginning: &'a str) -> BTreeSet<&'a str> {
    let lines = page.lines().filter_map(|line| line.strip_prefix(beginning));
    lines.filter_map(|line| line.split(' ').next()).collect()
}

/// The series that the rules and the dashboard use and this page does not have.
fn missing_on(page: &str) -> Vec<&'static str> {
    let there = told_by(page, "# TYPE ");
    let named = named_in(ALERTS).into_iter().chain(named_in(DASHBOARD));
    let wanted = named.filter(|name| !NOT_FROM_THE_START.contains(name));
    wanted.filter(|name| !there.contains(name)).collect()
}

#[test]
fn the_alerts_and_the_dashboard_speak_of_series_and_of_no_others_than_are_looked_for() {
    for text in [ALERTS, DASHBOARD] {
        let named = named_in(text);
        assert!(named.len() > 20, "{named:?}");
        assert!(NOT_FROM_THE_START.iter().all(|name| named.contains(name)), "{named:?}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whatever_is_watched_is_there_before_anything_goes_wrong(database: PgPool) {
    load(&database, "2.55", &["--on-hand", "10"]).await;
    let (server, temporal) = testkit::server().await;
    let Running { program, api, worker, .. } = all(&database, &temporal).await;
    let order_id = placed(&api).await;
    let (code, _, said) = operator(&api, &["order", "watch", &order_id]).await;
    assert_eq!(code, 0, "{said}");

    let client = runtime::http::client_builder().build().unwrap();
    let page = async || {
        let answer = client.get(format!("{worker}/metrics")).send().await.unwrap();
        answer.error_for_status().unwrap().text().await.unwrap()
    };
    let has = |page: &str, line: &str| page.lines().any(|told| told == line);
    let ended = r#"ordersaga_orders_ended_total{status="completed"} 1"#;
    // As many slots as eager starts need; all are free again after the order.
    let slots = |page: &str| {
        let mut slots = page.lines().filter(|line| {
            line.starts_with("temporal_worker_task_slots_available")
                && line.contains(r#"task_queue="orders""#)
                && line.contains("WorkflowWorker")
        });
        slots.any(|line| line.ends_with(&format!(" {}", Settings::EAGER_WORKFLOW_TASKS)))
    };
    // Some series start with the first count; the end of an order is counted after it is recorded.
    let all_told = async {
        loop {
            let page = page().await;
            if missing_on(&page).is_empty() && has(&page, ended) && slots(&page) {
                break;
            }
        }
    };
    let _late = timeout(LONG, all_told).await.is_err();

    let first = page().await;
    assert_eq!(missing_on(&first), [""; 0]);
    assert!(slots(&first), "{first}");
    for line in [
        ended,
        r#"ordersaga_orders_ended_total{status="cancelled"} 0"#,
        r#"ordersaga_orders_ended_total{status="rejected"} 0"#,
        r#"ordersaga_orders_ended_total{status="failed"} 0"#,
        r#"ordersaga_orders_accepted_total{repeat="no"} 1"#,
        r#"ordersaga_orders_accepted_total{repeat="yes"} 0"#,
        r#"ordersaga_temporal_call_seconds_count{call="launch",result="failed"} 0"#,
        "ordersaga_launches_failed_total 0",
        "ordersaga_database_misdeployed_total 0",
        r#"ordersaga_database_probes_failed_total{pool="api"} 0"#,
        r#"ordersaga_database_probes_failed_total{pool="worker"} 0"#,
        r#"ordersaga_broken_faults_total{step="ShipOrder"} 0"#,
        "ordersaga_temporal_away 0",
        "ordersaga_queues_polled 3",
        "ordersaga_queues_wanted 3",
    ] {
        assert!(has(&first, line), "{line} is not in {first}");
    }
    let no_launch = r#"ordersaga_temporal_call_seconds_count{call="launch",result="answered"} 0"#;
    assert!(!has(&first, no_launch), "{first}");
    let (there, explained) = (told_by(&first, "# TYPE "), told_by(&first, "# HELP "));
    let silent = there.difference(&explained).copied();
    assert_eq!(silent.collect::<Vec<_>>(), [""; 0], "series without an explanation");

    // An order that waits for its launch is counted, and so is the reason: an operator has stopped
    // launching.
    let told = async |line: &str| {
        let told = async { while !has(&page().await, line) {} };
        assert!(timeout(LONG, told).await.is_ok(), "{line} is never told");
    };
    launching_stopped(&api).await;
    told("ordersaga_launching_stopped 1").await;
    placed(&api).await;
    told("ordersaga_launch_backlog_orders 1").await;
    drop(program);
    server.shutdown().await.unwrap();
}
