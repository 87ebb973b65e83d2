//! The way to Postgres.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgPool};

/// Where the shop's database is, and how many of its connections this process may take.
#[derive(Clone, Debug, clap::Args)]
pub struct DatabaseArgs {
    /// The shop's database, as the application's role
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// The most connections to the database at once
    #[arg(long, env = "WORKER_DATABASE_CONNECTIONS", default_value_t = 24)]
    pub database_connections: u32,
}

/// Why the database is of no use yet.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// It does not answer.
    #[error("the database does not answer")]
    NoAnswer(#[from] sqlx::Error),
    /// It answers, and holds no shop.
    #[error("the database has no tables for orders; run `worker migrate`")]
    NotMigrated,
}

impl DatabaseArgs {
    /// A pool that connects when it is first asked.
    ///
    /// **Errors.** The URL makes no sense. Read here and not with the arguments, because a
    /// complaint about an argument repeats it, password and all.
    pub fn pool(&self) -> Result<PgPool, sqlx::Error> {
        let options = self.database_url.parse::<PgConnectOptions>()?;
        Ok(PgPoolOptions::new()
            .max_connections(self.database_connections)
            // A step's quick try has three seconds; what waits longer is better tried again.
            .acquire_timeout(Duration::from_secs(3))
            .connect_lazy_with(options.application_name("ordersaga-worker")))
    }
}

/// Like [`check`], on a connection made for it: its error says what is wrong, where the pool's
/// says that time is up.
pub async fn reach(pool: &PgPool) -> Result<(), NotReady> {
    let options = pool.connect_options();
    options.connect().await?.close().await?;
    check(pool).await
}

/// Whether the database answers and holds the shop's tables.
pub async fn check(pool: &PgPool) -> Result<(), NotReady> {
    let migrated =
        sqlx::query_scalar!(r#"select to_regclass('orders.orders') is not null as "there!""#)
            .fetch_one(pool)
            .await?;
    if migrated { Ok(()) } else { Err(NotReady::NotMigrated) }
}
