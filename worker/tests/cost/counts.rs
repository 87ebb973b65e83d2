//! What is counted for an order, and how.
//!
//! | count | source |
//! |---|---|
//! | statements | the driver's log of each statement that this process sends |
//! | transactions that write | transaction ids assigned by Postgres, including writing savepoints |
//! | write-ahead log | the movement of its end |
//! | rows | Postgres' statistics per table, complete once every connection is closed |
//! | events, transitions | Temporal's description of the workflow, and its history |
//! | allocations | a counting allocator in this process: worker, client and test together |

use std::alloc::System;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::mem;
use std::sync::Mutex;

use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage as _, Value};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use temporalio_client::WorkflowDescribeOptions;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::pins::Measured;
use crate::support::{OrderHandle, history};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocation counters.
#[derive(Clone, Copy)]
pub struct Allocated {
    /// The number of allocations, including reallocations that grew.
    pub times: u64,
    pub bytes: u64,
    /// Bytes allocated and not freed.
    kept: u64,
}

impl Allocated {
    pub fn now() -> Self {
        let all = ALLOCATOR.stats();
        let count = |counted: usize| u64::try_from(counted).unwrap();
        Self {
            times: count(all.allocations + all.reallocations),
            bytes: count(all.bytes_allocated),
            kept: count(all.bytes_allocated - all.bytes_deallocated),
        }
    }

    /// The difference to an earlier reading.
    pub fn since(self) -> Self {
        let now = Self::now();
        // More may have been freed than allocated.
        let kept = now.kept.saturating_sub(self.kept);
        Self { times: now.times - self.times, bytes: now.bytes - self.bytes, kept }
    }

    /// Bytes kept per order.
    pub const fn kept_each(self, orders: u64) -> u64 {
        self.kept / orders
    }
}

/// Statements sent and not counted yet.
static SENT: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Workers query this every second, regardless of orders.
const ASKED_ANYWAY: &str = "operations.paused_queues";

/// Counts statements from now on.
pub fn listen() {
    tracing::subscriber::set_global_default(Listener).unwrap();
}

/// The statements sent since the last call, except those that belong to no order.
pub fn statements() -> Vec<String> {
    let mut sent = mem::take(&mut *SENT.lock().unwrap());
    sent.retain(|statement| !statement.contains(ASKED_ANYWAY));
    sent
}

/// Receives each statement that the driver sends.
struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut sent = Statement::default();
        event.record(&mut sent);
        SENT.lock().unwrap().push(sent.0);
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// A statement's text: the logged summary, or the full text if the summary is truncated.
#[derive(Default)]
struct Statement(String);

impl Visit for Statement {
    fn record_str(&mut self, field: &Field, value: &str) {
        if matches!(field.name(), "summary" | "db.statement") && !value.is_empty() {
            self.0.clear();
            self.0.extend(value.split_whitespace().flat_map(|word| [word, " "]));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        write!(text, "{value:?}").unwrap();
        self.record_str(field, &text);
    }
}

/// The position of Postgres' log, and the number of writing transactions.
#[derive(Clone, Copy)]
pub struct Log {
    pub bytes: u64,
    pub transactions: u64,
}

impl Log {
    /// The difference to an earlier reading.
    pub fn since(self, then: Self) -> Self {
        Self { bytes: self.bytes - then.bytes, transactions: self.transactions - then.transactions }
    }
}

/// The rows written so far, by table and operation.
pub type Rows = BTreeMap<String, u64>;

/// Observes the database from outside.
pub struct Observer(PgConnection);

impl Observer {
    pub async fn of(options: &PgConnectOptions) -> Self {
        Self(options.clone().disable_statement_logging().connect().await.unwrap())
    }

    pub async fn log(&mut self) -> Log {
        let (bytes, transactions): (i64, i64) = sqlx::query_as(
            "select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint,
                pg_snapshot_xmax(pg_current_snapshot())::text::bigint",
        )
        .fetch_one(&mut self.0)
        .await
        .unwrap();
        let count = |counted| u64::try_from(counted).unwrap();
        Log { bytes: count(bytes), transactions: count(transactions) }
    }

    /// Waits until there is no other connection, so that all statistics are complete.
    pub async fn until_alone(&mut self) {
        loop {
            let others: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity
                 where datname = current_database() and pid <> pg_backend_pid()",
            )
            .fetch_one(&mut self.0)
            .await
            .unwrap();
            if others == 0 {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    pub async fn rows(&mut self) -> Rows {
        let tables: Vec<(String, i64, i64, i64)> = sqlx::query_as(
            "select schemaname || '.' || relname, n_tup_ins, n_tup_upd, n_tup_del
             from pg_stat_user_tables",
        )
        .fetch_all(&mut self.0)
        .await
        .unwrap();
        let rows = tables.into_iter().flat_map(|(table, inserted, updated, deleted)| {
            [("inserted", inserted), ("updated", updated), ("deleted", deleted)]
                .map(|(done, rows)| (format!("{table}: rows {done}"), u64::try_from(rows).unwrap()))
        });
        rows.collect()
    }
}

/// The cost of an ended order on Temporal.
pub async fn footprint(handle: &OrderHandle) -> Measured {
    let told = handle.describe(WorkflowDescribeOptions::default()).await.unwrap();
    let info = told.raw().workflow_execution_info.clone().unwrap();
    let history = history(handle).await;
    let count = |counted: usize| u64::try_from(counted).unwrap();
    let message = as_messages().get_message_by_name("temporal.api.history.v1.History").unwrap();
    let mut dynamic = DynamicMessage::new(message);
    dynamic.transcode_from(&history).unwrap();
    Measured::from([
        ("events of the history".to_owned(), count(history.events.len())),
        ("state transitions".to_owned(), u64::try_from(info.state_transition_count).unwrap()),
        ("bytes of the history".to_owned(), count(history.encoded_len())),
        ("bytes of payloads".to_owned(), payload_bytes(&dynamic)),
    ])
}

fn as_messages() -> DescriptorPool {
    let described = include_bytes!(concat!(env!("OUT_DIR"), "/temporal-messages.bin"));
    DescriptorPool::decode(described.as_slice()).unwrap()
}

/// The bytes of all payloads within a message.
fn payload_bytes(message: &DynamicMessage) -> u64 {
    if message.descriptor().full_name() == "temporal.api.common.v1.Payload" {
        return u64::try_from(message.encoded_len()).unwrap();
    }
    message.fields().map(|(_, value)| payload_bytes_of(value)).sum()
}

fn payload_bytes_of(value: &Value) -> u64 {
    match value {
        Value::Message(message) => payload_bytes(message),
        Value::List(items) => items.iter().map(payload_bytes_of).sum(),
        Value::Map(entries) => entries.values().map(payload_bytes_of).sum(),
        Value::Bool(_)
        | Value::I32(_)
        | Value::I64(_)
        | Value::U32(_)
        | Value::U64(_)
        | Value::F32(_)
        | Value::F64(_)
        | Value::String(_)
        | Value::Bytes(_)
        | Value::EnumNumber(_) => 0,
    }
}
