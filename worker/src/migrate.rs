//! Brings the database up to date.

use std::collections::BTreeSet;

use sqlx::migrate::{Migrate as _, MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

/// Every migration, embedded: the binary needs no folder beside it.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// A migration that this run applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its number.
    pub version: i64,
    /// What it is about.
    pub description: String,
}

/// Applies what the database lacks, and says what that was.
///
/// **Repeats.** A second run applies nothing. Of two that run at once, one waits for the other:
/// the lock is held from the look at what is there to the look at what has become of it.
pub async fn migrate(database: &PgConnectOptions) -> Result<Vec<Applied>, MigrateError> {
    let mut connection = database.connect().await?;
    // The same session takes this lock a second time inside; Postgres counts that.
    connection.lock().await?;
    let known = versions(&mut connection).await?;
    MIGRATIONS.run_direct(None, &mut connection, false).await?;
    let applied = versions(&mut connection).await?;
    connection.unlock().await?;
    connection.close().await?;
    Ok(MIGRATIONS
        .iter()
        .filter(|migration| applied.contains(&migration.version))
        .filter(|migration| !known.contains(&migration.version))
        .map(|migration| Applied {
            version: migration.version,
            description: migration.description.to_string(),
        })
        .collect())
}

async fn versions(connection: &mut PgConnection) -> Result<BTreeSet<i64>, MigrateError> {
    let table = &MIGRATIONS.table_name;
    connection.ensure_migrations_table(table).await?;
    let applied = connection.list_applied_migrations(table).await?;
    Ok(applied.into_iter().map(|migration| migration.version).collect())
}
