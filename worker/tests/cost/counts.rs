//! What is counted of an order, and how.
//!
//! | count | taken from |
//! |---|---|
//! | statements | the driver's own record of each that it sends, in this process |
//! | transactions that write | the ids that Postgres gave away, savepoints that write included |
//! | write-ahead log | how far its end has moved |
//! | rows | Postgres' counts per table, complete once every connection has ended |
//! | events, transitions | Temporal's word for the workflow, and its history |
//! | allocations | a counting allocator, in this process: worker, client and test together |

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

/// What has been allocated.
#[derive(Clone, Copy)]
pub struct Allocated {
    /// How often, an allocation that grew included.
    pub times: u64,
    pub bytes: u64,
    /// What of it has not been freed.
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

    /// What has been allocated since then.
    pub fn since(self) -> Self {
        let now = Self::now();
        // More may have been freed than allocated.
        let kept = now.kept.saturating_sub(self.kept);
        Self { times: now.times - self.times, bytes: now.bytes - self.bytes, kept }
    }

    /// What each of so many orders has left behind.
    pub const fn kept_each(self, orders: u64) -> u64 {
        self.kept / orders
    }
}

/// The statements that were sent and not yet counted.
static SENT: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// What the workers ask every second, whatever the orders do.
const ASKED_ANYWAY: &str = "operations.paused_queues";

/// From now on statements are counted.
pub fn listen() {
    tracing::subscriber::set_global_default(Listener).unwrap();
}

/// The statements that were sent since the last look, but for those of no order.
pub fn statements() -> Vec<String> {
    let mut sent = mem::take(&mut *SENT.lock().unwrap());
    sent.retain(|statement| !statement.contains(ASKED_ANYWAY));
    sent
}

/// Hears of each statement that the driver sends.
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

/// A statement's text: its first words, or all of it where these are not all.
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

/// How far Postgres' log is, and how many transactions have written to it.
#[derive(Clone, Copy)]
pub struct Log {
    pub bytes: u64,
    pub transactions: u64,
}

impl Log {
    /// What has come since then.
    pub fn since(self, then: Self) -> Self {
        Self { bytes: self.bytes - then.bytes, transactions: self.transactions - then.transactions }
    }
}

/// The rows that were ever written, by what was done to them in which table.
pub type Rows = BTreeMap<String, u64>;

/// Looks at the database from outside.
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

    /// Waits until nobody else is connected, so that everybody's counts are complete.
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

/// What an order that has ended takes of Temporal.
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
