//! A sample of everything that might grow.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::Pids;
use super::processes::{Processes, Taken};
use crate::chaos::Ground;

/// The interval: for at least thirty samples, and at most a minute.
pub(super) fn every(length: Duration) -> Duration {
    let often = length.checked_div(30).unwrap_or_default();
    often.clamp(Duration::from_secs(2), Duration::from_mins(1))
}

/// The number of ended orders whose histories are examined.
const HISTORIES: i64 = 20;

/// The observations at one moment.
#[derive(Debug)]
pub(super) struct Sample {
    /// Since the load began.
    pub(super) at: Duration,
    /// The process and resources of each program that should be up.
    pub(super) programs: BTreeMap<String, (u32, Option<Taken>)>,
    /// The database's own counts, unless it is down.
    pub(super) shop: Option<Counts>,
    /// The histories of the last ended orders, unless Postgres or Temporal is down.
    pub(super) histories: Option<Histories>,
}

/// The database's counts.
#[derive(Debug, Deserialize)]
pub(super) struct Counts {
    pub(super) orders: u64,
    /// Open orders.
    pub(super) open: u64,
    pub(super) to_launch: u64,
    /// Messages that some sink has not delivered yet.
    pub(super) to_tell: u64,
    pub(super) tables: BTreeMap<String, Table>,
}

/// A table, including its indexes.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Table {
    pub(super) bytes: u64,
    /// Dead row versions. Postgres loses this count when it is killed.
    pub(super) dead: u64,
}

/// The size of histories.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Histories {
    pub(super) events_max: u64,
    pub(super) bytes_mean: u64,
}

/// The number of rows of each table.
pub(super) type Rows = BTreeMap<String, u64>;

impl Sample {
    pub(super) async fn take(ground: &Ground, pids: Pids, at: Duration) -> Self {
        let processes = Processes::now();
        let programs = pids.into_iter().map(|(name, pid)| {
            let taken = processes.taken_by(pid);
            (name, (pid, taken))
        });
        let programs = programs.collect();
        // What is down at this moment is sampled the next time.
        let shop = counts(ground).await;
        let histories = histories(ground).await;
        Self { at, programs, shop, histories }
    }
}

async fn counts(ground: &Ground) -> Option<Counts> {
    let counted = sqlx::query_scalar::<_, Value>(
        "select jsonb_build_object(
            'orders', (select count(*) from orders.orders),
            'open', (select count(*) from orders.orders where status = 'processing'),
            'to_launch', (select count(*) from orders.launches),
            'to_tell', (
                select coalesce(sum(waiting + refused + retried + behind), 0)
                from outbox.standings()
            ),
            'tables', (
                select jsonb_object_agg(schemaname || '.' || relname, jsonb_build_object(
                    'bytes', pg_total_relation_size(relid), 'dead', n_dead_tup
                )) from pg_stat_user_tables
            )
         )",
    );
    serde_json::from_value(counted.fetch_one(&ground.owner).await.ok()?).ok()
}

async fn histories(ground: &Ground) -> Option<Histories> {
    let ended = sqlx::query_scalar::<_, Uuid>(
        "select order_id from orders.orders where status <> 'processing'
         order by placed_at desc limit $1",
    );
    let ended = ended.bind(HISTORIES).fetch_all(&ground.owner).await.ok()?;
    let (mut largest, mut bytes, mut seen) = (0, 0_u64, 0_u64);
    for order in ended {
        // An order that was cancelled before its launch has none.
        if let Ok((events, size)) = ground.records.footprint(order).await {
            largest = events.max(largest);
            bytes = bytes.saturating_add(size);
            seen = seen.saturating_add(1);
        }
    }
    Some(Histories { events_max: largest, bytes_mean: bytes.checked_div(seen)? })
}

/// Counts every table's rows; `None` while Postgres is down.
pub(super) async fn rows(ground: &Ground) -> Option<Rows> {
    let names = sqlx::query_scalar::<_, String>(
        "select format('%I.%I', schemaname, relname) from pg_stat_user_tables",
    );
    let names = names.fetch_all(&ground.owner).await.ok()?;
    let mut rows = Rows::new();
    for name in names {
        let count = AssertSqlSafe(format!("select count(*) from {name}"));
        let count = sqlx::query_scalar::<_, i64>(count).fetch_one(&ground.owner).await.ok()?;
        rows.insert(name, u64::try_from(count).unwrap_or_default());
    }
    Some(rows)
}
