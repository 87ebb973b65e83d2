//! The database schema: migrations, and the check that a database and a program fit together.
//!
//! Migrations are expand/contract: a new release's migrations run while the old release serves. So
//! a database that is ahead of a program is usually fine; a database that is behind is not. When a
//! contraction does exclude old programs, the migration sets `minimum` in
//! `operations.schema_floor`, a table of one row: programs whose highest migration is below it must
//! not run. Without the table there is no minimum.
//!
//! The queries here are the only ones that are not checked at compile time: all others are checked
//! against the schema that this crate creates.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::migrate::{AppliedMigration, Migrate as _, MigrateError, Migration, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, PgPool};

use crate::chain;
use crate::database::DatabaseFault;

/// Every migration, embedded in the program.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// The result of [`migrate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The migrations that this run applied.
    pub applied: Vec<Applied>,
    /// The versions of applied migrations that this program does not know.
    pub unknown: Vec<i64>,
}

/// An applied migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its number.
    pub version: i64,
    /// What it is about.
    pub description: String,
}

/// Applies the migrations that the database lacks.
///
/// A database that has newer migrations is left as it is, so that a release can be rolled back.
///
/// **Repeats.** A second run applies nothing. Concurrent runs wait for each other: an advisory lock
/// is held for the whole run. See [`apply`] for what happens while orders come in.
pub async fn migrate(database: &PgConnectOptions) -> Result<Migrated, MigrateError> {
    apply(&MIGRATIONS, database).await
}

/// The lock timeout: how long a migration waits for a table, and blocks the statements queued
/// behind it.
const LOCK_TIMEOUT: &str = "set lock_timeout = '1s'";
/// How many attempts a migration gets.
const ATTEMPTS: u32 = 60;
/// The pause between two attempts, so that the shop's statements get through.
const PAUSE: Duration = Duration::from_secs(1);

/// Applies those of the given migrations that the database lacks; [`migrate`] uses the embedded
/// ones.
///
/// A migration briefly needs exclusive table locks. If it does not get them within a second, or is
/// the victim of a deadlock with the shop's own statements, it is rolled back and retried, so that
/// orders are never blocked for longer.
pub async fn apply(
    migrations: &Migrator,
    database: &PgConnectOptions,
) -> Result<Migrated, MigrateError> {
    let mut migrator = Migrator::with_migrations(migrations.iter().cloned().collect());
    migrator.set_ignore_missing(true);
    let mut connection = database.connect().await?;
    sqlx::raw_sql(LOCK_TIMEOUT).execute(&mut connection).await?;
    wait_for_other_runs(&mut connection).await?;
    let before = versions(&mut connection, &migrator).await?;
    run(&migrator, &mut connection).await?;
    let after = versions(&mut connection, &migrator).await?;
    connection.unlock().await?;
    connection.close().await?;
    let applied = migrator
        .iter()
        .filter(|migration| after.contains(&migration.version))
        .filter(|migration| !before.contains(&migration.version))
        .map(|migration| Applied {
            version: migration.version,
            description: migration.description.to_string(),
        })
        .collect();
    let unknown = after.into_iter().filter(|version| !migrator.version_exists(*version)).collect();
    Ok(Migrated { applied, unknown })
}

/// Takes the advisory lock that serialises runs, however long another run holds it.
///
/// It polls instead of blocking in a statement: a blocked statement holds a snapshot, and building
/// an index concurrently waits for all older snapshots, so both runs would deadlock. `run_direct`
/// takes the same lock again in this session; Postgres session locks are reentrant.
async fn wait_for_other_runs(connection: &mut PgConnection) -> Result<(), MigrateError> {
    loop {
        match connection.lock().await {
            Err(MigrateError::Execute(error)) if is_in_the_way(&error) => {
                tokio::time::sleep(PAUSE).await;
            }
            ended => return ended,
        }
    }
}

/// Drops invalid indexes, which an interrupted `create index concurrently` leaves behind. Postgres
/// never uses them, but `if not exists` would accept one as already created.
async fn drop_unfinished(
    migrator: &Migrator,
    connection: &mut PgConnection,
) -> Result<(), MigrateError> {
    let unfinished: Vec<Vec<String>> = sqlx::query_scalar(
        "select array[relname::text, format('%I.%I', nspname, relname)]
         from pg_index join pg_class on pg_class.oid = indexrelid
         join pg_namespace on pg_namespace.oid = relnamespace
         where not indisvalid",
    )
    .fetch_all(&mut *connection)
    .await?;
    for names in unfinished {
        let [index, name] = names.as_slice() else { continue };
        let is_ours = |migration: &Migration| {
            migration.no_tx && migration.sql.as_str().split_whitespace().any(|word| word == index)
        };
        if migrator.iter().any(is_ours) {
            tracing::warn!(index = name, "an unfinished index is rebuilt");
            let drop = format!("drop index concurrently if exists {name}");
            sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

async fn run(migrator: &Migrator, connection: &mut PgConnection) -> Result<(), MigrateError> {
    drop_unfinished(migrator, connection).await?;
    for _ in 1..ATTEMPTS {
        match migrator.run_direct(None, connection, false).await {
            Err(MigrateError::ExecuteMigration(error, version)) if is_in_the_way(&error) => {
                let why = chain(&error);
                tracing::warn!(
                    version,
                    why,
                    "a migration conflicted with other transactions; it is retried"
                );
                tokio::time::sleep(PAUSE).await;
                drop_unfinished(migrator, connection).await?;
            }
            ended => return ended,
        }
    }
    migrator.run_direct(None, connection, false).await
}

/// Whether a migration was rolled back because of concurrent activity.
fn is_in_the_way(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some()
        && matches!(DatabaseFault::of(error), DatabaseFault::Transient)
}

async fn versions(
    connection: &mut PgConnection,
    migrator: &Migrator,
) -> Result<Vec<i64>, MigrateError> {
    connection.ensure_migrations_table(&migrator.table_name).await?;
    let applied = connection.list_applied_migrations(&migrator.table_name).await?;
    Ok(applied.into_iter().map(|migration| migration.version).collect())
}

/// A privilege that a program's role needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// The privilege.
    pub privilege: Privilege,
    /// The table or function, as `schema.name`.
    pub object: &'static str,
}

/// A privilege on a table or function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Read at least one column.
    Select,
    /// Add rows.
    Insert,
    /// Change at least one column.
    Update,
    /// Remove rows.
    Delete,
    /// Call the function.
    Execute,
}

impl Privilege {
    /// Its name in Postgres.
    const fn name(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Execute => "execute",
        }
    }
}

/// The state of a schema that a program can work with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaState {
    /// The database has exactly the migrations that the program has.
    Current,
    /// The database also has newer migrations.
    Ahead {
        /// Their versions.
        unknown: Vec<i64>,
    },
}

/// Why a program cannot work with a database.
#[derive(Debug, thiserror::Error)]
pub enum SchemaFault {
    /// The database does not answer.
    #[error("the database does not answer")]
    NoAnswer(#[from] sqlx::Error),
    /// Migrations of the program were not applied, or were not completed.
    #[error("the database lacks {}: run `ordersaga migrate`", migrations(.missing))]
    Behind {
        /// Their versions.
        missing: Vec<i64>,
    },
    /// The text of applied migrations differs from the program's.
    #[error(
        "{} in the database differs from this program's: the database was made from another source",
        migrations(.versions)
    )]
    Changed {
        /// Their versions.
        versions: Vec<i64>,
    },
    /// The database excludes programs of this age.
    #[error(
        "this program knows the schema up to migration {known}, and the database needs programs \
         that know migration {minimum}: install a newer release"
    )]
    TooOld {
        /// The program's highest migration.
        known: i64,
        /// The lowest migration that a program must know.
        minimum: i64,
    },
    /// A proxy between the program and the database does not pass the connection's settings on.
    #[error(
        "the database does not have this program's settings for {what}, so a proxy in between drops \
         them, and a statement that hangs would keep its locks: connect directly, or set them for \
         the role by `alter role … set …`"
    )]
    SettingsDropped {
        /// Which settings, such as `lock_timeout`.
        what: String,
    },
    /// The program's role lacks a right.
    #[error("the program's role lacks the right to {what}: run `ordersaga migrate`, or grant it")]
    MissingRight {
        /// The missing right, such as `insert on orders.orders`.
        what: String,
    },
}

/// Checks that a program and a database fit together, at start and for readiness.
#[derive(Clone, Debug)]
pub struct SchemaGate {
    rights: &'static [Right],
    warned: Arc<AtomicBool>,
}

impl SchemaGate {
    /// A gate for a program whose role needs these rights.
    #[must_use]
    pub fn new(rights: &'static [Right]) -> Self {
        Self { rights, warned: Arc::default() }
    }

    /// Checks that the program can work with the database now. A database that is ahead is logged
    /// once.
    pub async fn check(&self, database: &PgPool) -> Result<SchemaState, SchemaFault> {
        let mut connection = database.acquire().await?;
        let state = compare(&MIGRATIONS, &applied(&mut connection).await?)?;
        let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
        if let Some(minimum) = floor(&mut connection).await?.filter(|minimum| known < *minimum) {
            return Err(SchemaFault::TooOld { known, minimum });
        }
        self.check_rights(&mut connection).await?;
        let settings = database.connect_options();
        check_settings(&mut connection, settings.get_options().unwrap_or_default()).await?;
        if let SchemaState::Ahead { unknown } = &state
            && !self.warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "the database has {} that this program does not know; it continues, because \
                 migrations keep what the previous release needs",
                migrations(unknown)
            );
        }
        Ok(state)
    }

    async fn check_rights(&self, connection: &mut PgConnection) -> Result<(), SchemaFault> {
        let privileges: Vec<String> =
            self.rights.iter().map(|right| right.privilege.name().to_owned()).collect();
        let objects: Vec<String> =
            self.rights.iter().map(|right| right.object.to_owned()).collect();
        // Read from the catalogue: `to_regclass` fails without a right on the schema.
        let missing: Vec<String> = sqlx::query_scalar(
            "
            select privilege || ' on ' || object
            from unnest($1::text[], $2::text[]) as needed (privilege, object)
            where not coalesce(
                case when privilege = 'execute' then (
                    select bool_or(has_function_privilege(pg_proc.oid, 'execute')
                        and has_schema_privilege(pronamespace, 'usage'))
                    from pg_proc join pg_namespace on pg_namespace.oid = pronamespace
                    where nspname || '.' || proname = object
                ) else (
                    select bool_or(has_schema_privilege(relnamespace, 'usage') and
                        case when privilege = 'delete'
                            then has_table_privilege(pg_class.oid, privilege)
                            else has_any_column_privilege(pg_class.oid, privilege) end)
                    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
                    where relkind in ('r', 'p', 'v', 'm') and nspname || '.' || relname = object
                ) end,
                false)
            ",
        )
        .bind(privileges)
        .bind(objects)
        .fetch_all(connection)
        .await?;
        if missing.is_empty() {
            return Ok(());
        }
        Err(SchemaFault::MissingRight { what: missing.join(", ") })
    }
}

/// Checks that a connection has the settings that it was opened with. A pooler that shares a
/// session between clients refuses such settings, or is configured to drop them.
async fn check_settings(connection: &mut PgConnection, options: &str) -> Result<(), SchemaFault> {
    let limits = options
        .split_whitespace()
        .filter_map(|word| word.split_once('='))
        .filter(|(name, value)| name.ends_with("_timeout") && value.parse::<u64>().is_ok());
    // If a setting is given twice, the last value counts.
    let (names, values): (Vec<&str>, Vec<&str>) =
        limits.collect::<BTreeMap<_, _>>().into_iter().unzip();
    let dropped: Vec<String> = sqlx::query_scalar(
        "
        select name from unnest($1::text[], $2::text[]) as asked (name, value)
        where current_setting(name)::interval is distinct from (value || ' ms')::interval
        ",
    )
    .bind(names)
    .bind(values)
    .fetch_all(connection)
    .await?;
    if dropped.is_empty() {
        return Ok(());
    }
    Err(SchemaFault::SettingsDropped { what: dropped.join(", ") })
}

/// The migrations that were applied completely. `None` if the database was never migrated.
async fn applied(connection: &mut PgConnection) -> Result<Vec<AppliedMigration>, SchemaFault> {
    let table = &MIGRATIONS.table_name;
    let listed = match connection.list_applied_migrations(table).await {
        Ok(listed) => connection.dirty_version(table).await.map(|dirty| (listed, dirty)),
        Err(error) => Err(error),
    };
    match listed {
        Ok((mut listed, dirty)) => {
            listed.retain(|migration| Some(migration.version) != dirty);
            Ok(listed)
        }
        Err(MigrateError::Execute(error)) => match state_of(&error).as_deref() {
            Some("42P01") => Ok(Vec::new()),
            Some("42501") => Err(SchemaFault::MissingRight { what: format!("select on {table}") }),
            Some(_) | None => Err(error.into()),
        },
        Err(error) => Err(sqlx::Error::Migrate(Box::new(error)).into()),
    }
}

/// The SQLSTATE of an error.
fn state_of(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(Into::into)
}

/// The lowest migration that a program must know, if the database has a minimum.
async fn floor(connection: &mut PgConnection) -> Result<Option<i64>, SchemaFault> {
    let exists: bool = sqlx::query_scalar(
        "select exists (
             select from pg_class join pg_namespace on pg_namespace.oid = relnamespace
             where nspname = 'operations' and relname = 'schema_floor'
         )",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !exists {
        return Ok(None);
    }
    let minimum = sqlx::query_scalar("select max(minimum) from operations.schema_floor");
    match minimum.fetch_one(connection).await {
        Err(error) if state_of(&error).as_deref() == Some("42501") => {
            Err(SchemaFault::MissingRight { what: "select on operations.schema_floor".to_owned() })
        }
        minimum => Ok(minimum?),
    }
}

fn compare(known: &Migrator, applied: &[AppliedMigration]) -> Result<SchemaState, SchemaFault> {
    let applied: BTreeMap<i64, &[u8]> =
        applied.iter().map(|migration| (migration.version, &*migration.checksum)).collect();
    let (mut missing, mut changed) = (Vec::new(), Vec::new());
    for migration in known.iter() {
        match applied.get(&migration.version) {
            Some(checksum) if **checksum == *migration.checksum => {}
            Some(_) => changed.push(migration.version),
            None => missing.push(migration.version),
        }
    }
    if !missing.is_empty() {
        return Err(SchemaFault::Behind { missing });
    }
    if !changed.is_empty() {
        return Err(SchemaFault::Changed { versions: changed });
    }
    let unknown: Vec<i64> =
        applied.into_keys().filter(|version| !known.version_exists(*version)).collect();
    Ok(if unknown.is_empty() { SchemaState::Current } else { SchemaState::Ahead { unknown } })
}

/// `migration 31` or `the migrations 31, 32`.
fn migrations(versions: &[i64]) -> impl fmt::Display {
    let numbers: Vec<String> = versions.iter().map(ToString::to_string).collect();
    let noun = if numbers.len() == 1 { "migration" } else { "the migrations" };
    format!("{noun} {}", numbers.join(", "))
}
