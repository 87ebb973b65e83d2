//! Compatibility of migrations with the previous release, which serves while they are applied and
//! may be brought back afterwards: a migration must not remove anything that it uses, nor require
//! anything new of it. A migration that does must raise the floor in `operations.schema_floor`,
//! which excludes earlier releases.

#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    reason = "the catalogue is asked, of one schema after another"
)]

use std::collections::BTreeSet;

use runtime::schema::{MIGRATIONS, apply};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, SqlSafeStr as _};

/// The last migration before the first release that served.
const FIRST_RELEASE: i64 = 52;

/// What the database offers to programs, one item per line.
const OFFERED: &str = "
    with tables as (
        select pg_class.*, nspname, pg_class.oid::regclass as name
        from pg_class join pg_namespace on pg_namespace.oid = relnamespace
        where relkind in ('r', 'p', 'v', 'm') and nspname !~ '^(pg_|information_schema)'
    ), functions as (
        select pg_proc.*, pg_proc.oid::regprocedure as name
        from pg_proc join pg_namespace on pg_namespace.oid = pronamespace
        where prorettype <> 'trigger'::regtype and nspname !~ '^(pg_|information_schema)'
    ), rights as (
        select name::text, relacl as acl from tables
        union all select name::text, proacl from functions
        union all select tables.name::text || '.' || attname, attacl
            from tables join pg_attribute on attrelid = tables.oid
        union all select nspname, nspacl from pg_namespace
    )
    select format('%s.%s is %s', name, attname, format_type(atttypid, atttypmod))
        from tables join pg_attribute on attrelid = tables.oid
        where attnum > 0 and not attisdropped
    union all select format('%s.%s may be null', name, attname)
        from tables join pg_attribute on attrelid = tables.oid
        where attnum > 0 and not attisdropped and not attnotnull
    union all select format('%s returns %s', name, pg_get_function_result(oid)) from functions
    union all select format('%s may %s %s', grantee::regrole, lower(privilege_type), name)
        from rights, aclexplode(acl)
        where grantee::regrole::text in ('ordersaga_worker', 'ordersaga_starter')";

/// The columns for which an insert must supply a value: the table, and the column.
const ASKED: &str = "
    select attrelid::regclass::text, attname::text
    from pg_attribute join pg_class on pg_class.oid = attrelid
    where relkind in ('r', 'p') and attnum > 0 and not attisdropped
        and attnotnull and not atthasdef and attidentity = ''";

#[derive(Debug)]
struct Contract {
    offered: BTreeSet<String>,
    asked: BTreeSet<(String, String)>,
}

impl Contract {
    async fn of(database: &mut PgConnection) -> Self {
        let offered = sqlx::query_scalar(OFFERED).fetch_all(&mut *database).await.unwrap();
        let asked = sqlx::query_as(ASKED).fetch_all(database).await.unwrap();
        Self { offered: offered.into_iter().collect(), asked: asked.into_iter().collect() }
    }

    /// What a program written for this contract would miss in a later one.
    fn missing_in(&self, later: &Self) -> Vec<String> {
        let gone = self.offered.difference(&later.offered).map(|line| format!("gone: {line}"));
        let is_old = |table: &str| {
            let of_it = format!("{table}.");
            self.offered.iter().any(|line| line.starts_with(&of_it))
        };
        let asked = later.asked.difference(&self.asked).filter(|(table, _)| is_old(table));
        let asked = asked.map(|(table, column)| format!("asked: {table}.{column}"));
        gone.chain(asked).collect()
    }
}

/// The lowest migration that a program must know.
async fn floor(database: &mut PgConnection) -> i64 {
    let table: Option<String> =
        sqlx::query_scalar("select to_regclass('operations.schema_floor')::text")
            .fetch_one(&mut *database)
            .await
            .unwrap();
    if table.is_none() {
        return 0;
    }
    let minimum = "select max(minimum) from operations.schema_floor";
    sqlx::query_scalar::<_, Option<i64>>(minimum).fetch_one(database).await.unwrap().unwrap_or(0)
}

#[sqlx::test(migrations = false)]
async fn a_migration_keeps_what_the_release_before_uses_or_excludes_it(database: PgPool) {
    sqlx::raw_sql(include_str!("empty.sql")).execute(&database).await.unwrap();
    let mut connection = database.acquire().await.unwrap();
    MIGRATIONS.run_to(FIRST_RELEASE, &mut *connection).await.unwrap();
    let later = MIGRATIONS.iter().filter(|migration| migration.version > FIRST_RELEASE);
    for migration in later {
        let before = Contract::of(&mut connection).await;
        MIGRATIONS.run_to(migration.version, &mut *connection).await.unwrap();
        if floor(&mut connection).await < migration.version {
            let missing = before.missing_in(&Contract::of(&mut connection).await);
            assert_eq!(missing, [""; 0], "{:04} {}", migration.version, migration.description);
        }
    }
}

/// The result of the check for a migration with these statements.
async fn missing_after(database: &PgPool, statements: &'static str) -> Vec<String> {
    let mut transaction = database.begin().await.unwrap();
    let before = Contract::of(&mut transaction).await;
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *transaction).await.unwrap();
    let missing = before.missing_in(&Contract::of(&mut transaction).await);
    transaction.rollback().await.unwrap();
    missing
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_expansion_takes_nothing_away(database: PgPool) {
    for expansion in [
        "alter table orders.orders add column gift_note text",
        "alter table orders.orders add column channel text not null default 'web'",
        "alter table orders.orders alter column fingerprint drop not null",
        "create table orders.gift_wraps (order_id uuid primary key, paper text not null)",
        "create function orders.wrap(the_order uuid) returns void language sql as ''",
        "create index on orders.orders (placed_at)",
        "grant select on operations.paused_queues to ordersaga_starter, ordersaga_worker",
    ] {
        assert_eq!(missing_after(&database, expansion).await, [""; 0], "{expansion}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_contraction_is_told_by_what_it_takes_away(database: PgPool) {
    for (contraction, told) in [
        ("alter table orders.launches drop column attempts", "gone: orders.launches.attempts is"),
        (
            "alter table orders.launches rename column attempts to tries",
            "gone: orders.launches.attempts is integer",
        ),
        (
            "alter table orders.launches alter column attempts type bigint",
            "gone: orders.launches.attempts is integer",
        ),
        (
            "alter table orders.launches alter column last_error set not null",
            "gone: orders.launches.last_error may be null",
        ),
        (
            "alter table orders.launches alter column attempts drop default",
            "asked: orders.launches.attempts",
        ),
        (
            "alter table orders.launches add column starter text not null",
            "asked: orders.launches.starter",
        ),
        ("alter table orders.launches rename to starts", "gone: orders.launches.order_id is uuid"),
        ("drop table operations.paused_queues", "gone: operations.paused_queues.queue is text"),
        ("drop function orders.is_at_rest cascade", "gone: orders.is_at_rest(text,jsonb) returns"),
        (
            "revoke insert on ledger.entries from ordersaga_worker",
            "gone: ordersaga_worker may insert ledger.entries",
        ),
        (
            "revoke usage on schema ledger from ordersaga_worker",
            "gone: ordersaga_worker may usage ledger",
        ),
    ] {
        let missing = missing_after(&database, contraction).await;
        assert!(missing.iter().any(|line| line.starts_with(told)), "{contraction}: {missing:?}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_shop_goes_on_while_a_migration_waits_for_a_table(database: PgPool) {
    let statements = "alter table orders.launches add column starter text";
    let newest = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap();
    let later = Migration::new(
        newest.checked_add(1).unwrap(),
        "of a later release".into(),
        MigrationType::Simple,
        AssertSqlSafe(statements.to_owned()).into_sql_str(),
        false,
    );
    let all = Migrator::with_migrations(MIGRATIONS.iter().cloned().chain([later]).collect());

    let mut report = database.begin().await.unwrap();
    sqlx::raw_sql("select from orders.launches").execute(&mut *report).await.unwrap();
    let goes_on = async {
        let waits = "select exists (select from pg_locks join pg_database on oid = database
            where not granted and datname = current_database()
            and relation = 'orders.launches'::regclass and mode = 'AccessExclusiveLock')";
        while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&database).await.unwrap() {
            tokio::task::yield_now().await;
        }
        // This comes after the migration, while the long report is still running.
        sqlx::raw_sql("select from orders.launches").execute(&database).await.unwrap();
        report.rollback().await.unwrap();
    };
    let options = database.connect_options();
    let (migrated, ()) = tokio::join!(apply(&all, &options), goes_on);
    let applied: Vec<i64> =
        migrated.unwrap().applied.iter().map(|applied| applied.version).collect();
    assert_eq!(applied, all.iter().map(|migration| migration.version).max().as_slice());
}

/// The newest migrations, plus one that builds an index concurrently.
fn with_an_index() -> Migrator {
    let statement = "create index concurrently if not exists launches_of_test
        on orders.launches (attempts)";
    let newest = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap();
    let later = Migration::new(
        newest.checked_add(1).unwrap(),
        "of a later release".into(),
        MigrationType::Simple,
        AssertSqlSafe(statement.to_owned()).into_sql_str(),
        true,
    );
    Migrator::with_migrations(MIGRATIONS.iter().cloned().chain([later]).collect())
}

const IS_VALID: &str =
    "select indisvalid from pg_index where indexrelid = 'orders.launches_of_test'::regclass";

/// An invalid index of that name, as left behind by an interrupted run.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_index_that_was_not_finished_is_built_anew(database: PgPool) {
    let twice = "insert into orders.launches (order_id, placed_at)
        values (gen_random_uuid(), now()), (gen_random_uuid(), now())";
    sqlx::raw_sql(twice).execute(&database).await.unwrap();
    let unfinished =
        "create unique index concurrently launches_of_test on orders.launches (attempts)";
    sqlx::raw_sql(unfinished).execute(&database).await.unwrap_err();
    assert!(!sqlx::query_scalar::<_, bool>(IS_VALID).fetch_one(&database).await.unwrap());
    apply(&with_an_index(), &database.connect_options()).await.unwrap();
    assert!(sqlx::query_scalar::<_, bool>(IS_VALID).fetch_one(&database).await.unwrap());
}

/// Deadlock: each run would wait for the other, one for the lock and one for the other's snapshot.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_index_is_built_while_another_run_waits_for_its_turn(database: PgPool) {
    let (options, migrator) = (database.connect_options(), with_an_index());
    let (first, second) = tokio::join!(apply(&migrator, &options), apply(&migrator, &options));
    let applied = first.unwrap().applied.len().saturating_add(second.unwrap().applied.len());
    assert_eq!(applied, 1);
    assert!(sqlx::query_scalar::<_, bool>(IS_VALID).fetch_one(&database).await.unwrap());
}
