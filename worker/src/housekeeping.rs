//! Periodic maintenance, independent of any single order.

use std::time::Duration;

use runtime::chain;
use sqlx::PgPool;
use sqlx::postgres::types::PgInterval;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often expired reservations are released.
const RESERVATIONS_EVERY: Duration = Duration::from_secs(30);

/// The maximum number of expired reservations released per round.
const EXPIRED_AT_ONCE: i64 = 500;

/// How often data past its retention is deleted.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// Batch size per kind of row, so that locks are short; and the maximum number of batches in one
/// round while rows remain.
const REMOVED_AT_ONCE: i32 = 5_000;
const AT_ONCE_IN_A_ROUND: usize = 20;

/// The maximum number of transactions of one closing of the books; it takes about half a second.
const CLOSED_AT_ONCE: i32 = 25_000;

/// Retention periods.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Retention {
    /// Days to keep a message in the outbox after every sink has delivered it
    #[arg(long, env = "WORKER_OUTBOX_DAYS", default_value_t = 7)]
    pub outbox_days: u16,
    /// Days to keep the idempotency records of an order's steps after the order has ended
    #[arg(long, env = "WORKER_IDEMPOTENCY_DAYS", default_value_t = 90,
        value_parser = clap::value_parser!(u16).range(1..))]
    pub idempotency_days: u16,
    /// Days to keep an event of the payment provider after it was applied; longer than the provider
    /// lists it
    #[arg(long, env = "WORKER_PROVIDER_EVENT_DAYS", default_value_t = 90,
        value_parser = clap::value_parser!(u16).range(31..))]
    pub provider_event_days: u16,
}

/// The number of rows of one kind that a round has deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The kind of row, in the plural.
    pub what: String,
    /// How many.
    pub rows: i64,
}

/// Releases expired reservations, deletes data past its retention and closes the books, until
/// `stop`.
pub async fn run(pool: PgPool, retention: Retention, stop: CancellationToken) {
    let mut reservations = tokio::time::interval(RESERVATIONS_EVERY);
    let mut sweeps = tokio::time::interval(SWEEP_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = reservations.tick() => expire_reservations(&pool).await,
            _ = sweeps.tick() => {
                sweep_all(&pool, retention).await;
                sweep_inbox(&pool, retention.provider_event_days).await;
                close_all(&pool).await;
            }
        }
    }
}

async fn expire_reservations(pool: &PgPool) {
    match activities::stock::release_expired(pool, EXPIRED_AT_ONCE).await {
        Ok(0) => {}
        Ok(released) => info!(released, "expired reservations were given back"),
        Err(error) => {
            warn!(
                error = chain(&error),
                "expired reservations could not be released; the next round retries"
            );
        }
    }
}

async fn sweep_all(pool: &PgPool, retention: Retention) {
    for _ in 0..AT_ONCE_IN_A_ROUND {
        match sweep(pool, retention).await {
            Ok(removed) if removed.iter().any(|one| one.rows >= REMOVED_AT_ONCE.into()) => {}
            Ok(_all_that_was_due) => return,
            Err(error) => {
                warn!(error = chain(&error), "the sweep failed; the next round retries");
                return;
            }
        }
    }
}

async fn sweep_inbox(pool: &PgPool, kept_days: u16) {
    match activities::inbox::sweep(pool, kept_days, REMOVED_AT_ONCE).await {
        Ok(0) => {}
        Ok(rows) => info!(rows, "events of the payment provider were removed"),
        Err(error) => {
            warn!(
                error = chain(&error),
                "events of the payment provider could not be removed; the next round retries"
            );
        }
    }
}

async fn close_all(pool: &PgPool) {
    for _ in 0..AT_ONCE_IN_A_ROUND {
        match close_books(pool).await {
            Ok(closed) if closed >= CLOSED_AT_ONCE.into() => {}
            Ok(_all_that_was_open) => return,
            Err(error) => {
                warn!(
                    error = chain(&error),
                    "the books were not closed; retrying in the next round"
                );
                return;
            }
        }
    }
}

/// Closes the books up to the last transaction; returns the number of transactions closed. If other
/// transactions keep the table locked, closes nothing, and the next call tries again.
///
/// **Repeats.** Safe to run concurrently.
pub async fn close_books(pool: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"select ledger.close_books($1) as "closed!""#, CLOSED_AT_ONCE)
        .fetch_one(pool)
        .await
}

/// Deletes data past its retention; logs and returns the number of rows of each kind.
///
/// **Repeats.** Safe to run concurrently: each row is deleted by one caller.
pub async fn sweep(pool: &PgPool, retention: Retention) -> Result<Vec<Removed>, sqlx::Error> {
    let days = |days: u16| PgInterval { months: 0, days: days.into(), microseconds: 0 };
    let removed = sqlx::query_as!(
        Removed,
        r#"select what as "what!", removed as "rows!" from operations.sweep($1, $2, $3)"#,
        days(retention.outbox_days),
        days(retention.idempotency_days),
        REMOVED_AT_ONCE,
    )
    .fetch_all(pool)
    .await?;
    for Removed { what, rows } in removed.iter().filter(|removed| removed.rows > 0) {
        info!(rows, what, "removed what is kept only for a time");
    }
    Ok(removed)
}
