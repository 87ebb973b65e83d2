//! What the orders take of the database, by its own count.

use std::time::Duration;

use sqlx::{PgPool, postgres::PgPoolOptions};

/// The shop's database, looked at from outside.
#[derive(Clone, Debug)]
pub(super) struct Database(PgPool);

impl Database {
    /// Connects when it is first needed.
    pub(super) fn at(url: &str) -> Result<Self, sqlx::Error> {
        // One connection: what the benchmark itself asks must not disturb.
        PgPoolOptions::new().max_connections(1).connect_lazy(url).map(Self)
    }

    /// How many transactions have been committed in it.
    pub(super) async fn commits(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(
            "select xact_commit from pg_stat_database where datname = current_database()",
        )
        .fetch_one(&self.0)
        .await
    }

    /// Its version, and the settings that decide what a commit costs.
    pub(super) async fn described(&self) -> Result<String, sqlx::Error> {
        sqlx::query_scalar(
            "select format('Postgres %s (fsync %s, synchronous_commit %s)',
                current_setting('server_version'), current_setting('fsync'),
                current_setting('synchronous_commit'))",
        )
        .fetch_one(&self.0)
        .await
    }
}

/// Postgres' processes report what they have committed when they are busy or, once idle, after
/// ten seconds. Only after that long is the count complete.
pub(super) const COUNT_DELAY: Duration = Duration::from_secs(11);
