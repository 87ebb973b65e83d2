//! Periodic tasks that do not depend on any order.

use std::time::Duration;

use runtime::chain;
use sqlx::PgPool;
use sqlx::postgres::types::PgInterval;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often reservations whose time is up are given back.
const RESERVATIONS_EVERY: Duration = Duration::from_secs(30);

/// How many expired reservations one round gives back.
const EXPIRED_AT_ONCE: i64 = 500;

/// How often what is kept only for a time is removed.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// How many rows of each kind are removed at once, so that nothing is locked for long; and how often
/// that is done in one round, as long as there is more.
const REMOVED_AT_ONCE: i32 = 5_000;
const AT_ONCE_IN_A_ROUND: usize = 20;

/// How many transactions the books are closed by at once: half a second's work, where many are open.
const CLOSED_AT_ONCE: i32 = 25_000;

/// How long what is not needed for ever is kept.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Retention {
    /// Days for which a message stays in the outbox after every sink has had it
    #[arg(long, env = "WORKER_OUTBOX_DAYS", default_value_t = 7)]
    pub outbox_days: u16,
    /// Days that the idempotency records of an order's steps are kept after the order has ended
    #[arg(long, env = "WORKER_IDEMPOTENCY_DAYS", default_value_t = 90,
        value_parser = clap::value_parser!(u16).range(1..))]
    pub idempotency_days: u16,
    /// Days that an event of the payment provider is kept after it was applied; longer than the
    /// provider lists it
    #[arg(long, env = "WORKER_PROVIDER_EVENT_DAYS", default_value_t = 90,
        value_parser = clap::value_parser!(u16).range(31..))]
    pub provider_event_days: u16,
}

/// How many rows of what a round has removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// What they were, in the plural.
    pub what: String,
    /// How many.
    pub rows: i64,
}

/// Gives expired reservations back, removes what is kept only for a time and closes the books, until
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
            warn!(error = chain(&error), "expired reservations wait for the next round");
        }
    }
}

async fn sweep_all(pool: &PgPool, retention: Retention) {
    for _ in 0..AT_ONCE_IN_A_ROUND {
        match sweep(pool, retention).await {
            Ok(removed) if removed.iter().any(|one| one.rows >= REMOVED_AT_ONCE.into()) => {}
            Ok(_all_that_was_due) => return,
            Err(error) => {
                warn!(error = chain(&error), "the sweep waits for its next round");
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
            warn!(error = chain(&error), "events of the payment provider wait to be removed");
        }
    }
}

async fn close_all(pool: &PgPool) {
    for _ in 0..AT_ONCE_IN_A_ROUND {
        match close_books(pool).await {
            Ok(closed) if closed >= CLOSED_AT_ONCE.into() => {}
            Ok(_all_that_was_open) => return,
            Err(error) => {
                warn!(error = chain(&error), "the books stay open until the next round");
                return;
            }
        }
    }
}

/// Closes the books up to what is booked now, so that a balance is read from there; by how many
/// transactions. While somebody books something for long, they stay as they are.
///
/// **Repeats.** Any number of copies may run.
pub async fn close_books(pool: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"select ledger.close_books($1) as "closed!""#, CLOSED_AT_ONCE)
        .fetch_one(pool)
        .await
}

/// Removes what is kept only for a time, and says in the log and in the answer how much of what.
///
/// **Repeats.** Any number of copies may run: each row is removed by one of them.
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
