//! Shares the shards of a sink among the processes that read it. A lease lasts some seconds and is
//! renewed in time; the shards of a dead process are taken over when their leases expire. A process
//! that has lost a lease learns of it when it records a batch, by the lease's number.

use std::time::Duration;

use runtime::process_name;
use sqlx::PgPool;
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

use crate::source::Begins;
use crate::{Listed, SinkName};

/// How long a lease lasts without renewal.
pub const LEASE: Duration = Duration::from_secs(15);

/// How often leases are renewed and shares rebalanced.
pub const RENEW_EVERY: Duration = Duration::from_secs(5);

fn lease_time() -> PgInterval {
    let microseconds = i64::try_from(LEASE.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}

/// Registers a sink, unless it is registered.
pub async fn register(pool: &PgPool, listed: &Listed) -> sqlx::Result<()> {
    let sink = listed.name.as_str();
    let mut together = pool.begin().await?;
    sqlx::query!("insert into outbox.sinks (sink) values ($1) on conflict do nothing", sink)
        .execute(&mut *together)
        .await?;
    sqlx::query!(
        r#"
        insert into outbox.progress (sink, shard, seen)
        select $1, shard, case when $2 then '3:3:'::pg_snapshot else pg_current_snapshot() end
        from generate_series(0, 7) as shard
        on conflict do nothing
        "#,
        sink,
        listed.begins == Begins::First,
    )
    .execute(&mut *together)
    .await?;
    together.commit().await
}

/// Takes this process's share of a sink's shards, and returns the shards held. Call it between two
/// batches.
pub async fn take_share(pool: &PgPool, sink: &SinkName, reader: Uuid) -> sqlx::Result<Vec<i16>> {
    sqlx::query_scalar!(
        r#"select held_shard as "shard!" from outbox.take_shards($1, $2, $3, $4)"#,
        sink.as_str(),
        reader,
        process_name(),
        lease_time(),
    )
    .fetch_all(pool)
    .await
}

/// Renews all unexpired leases of this process, for every sink. A lease whose row is locked by the
/// recording of a batch is skipped until the next time, so that the two cannot deadlock.
pub async fn renew(pool: &PgPool, reader: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "update outbox.progress set leased_until = now() + $2
         where (sink, shard) in (
             select sink, shard from outbox.progress
             where leased_by = $1 and leased_until > now()
             for update skip locked
         )",
        reader,
        lease_time(),
    )
    .execute(pool)
    .await?;
    sqlx::query!(
        "update outbox.readers set here_until = now() + $2 where reader = $1 and here_until > now()",
        reader,
        lease_time(),
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Releases this process's shards of a sink, or of all sinks.
pub async fn leave(pool: &PgPool, sink: Option<&SinkName>, reader: Uuid) -> sqlx::Result<()> {
    let sink = sink.map(SinkName::as_str);
    sqlx::query!(
        "update outbox.progress set leased_by = null, leased_until = null
         where leased_by = $1 and sink = coalesce($2, sink)",
        reader,
        sink,
    )
    .execute(pool)
    .await?;
    sqlx::query!(
        "delete from outbox.readers where reader = $1 and sink = coalesce($2, sink)",
        reader,
        sink,
    )
    .execute(pool)
    .await?;
    Ok(())
}
