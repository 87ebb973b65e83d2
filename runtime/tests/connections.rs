//! Whether a connection returns to the pool for single statements, for each end of a statement.

#![cfg(test)]

use std::pin::pin;
use std::time::Duration;

use runtime::database::{Database, DatabaseFault, Db};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Error, PgPool, PgTransaction};
use tokio::task::yield_now;
use tokio::time::timeout;

/// Longer than any statement that does not wait for a lock.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for [`lock`], and returns the process id of the connection's backend.
const WAIT: &str = "select pg_backend_pid() from pg_advisory_xact_lock(1)";

fn one_connection() -> PgPoolOptions {
    PgPoolOptions::new().max_connections(1)
}

fn database(owner: &PgPool, options: PgPoolOptions) -> Database {
    Database::of(options.connect_lazy_with(PgConnectOptions::clone(&owner.connect_options())))
}

/// The backend that executes the next statement.
async fn backend(database: &Database) -> Result<i32, Error> {
    let answer = sqlx::query_scalar("select pg_backend_pid()").fetch_one(database.statements());
    timeout(PATIENCE, answer).await.expect("the next statement does not wait")
}

async fn lock(owner: &PgPool) -> PgTransaction<'static> {
    let mut lock = owner.begin().await.unwrap();
    sqlx::raw_sql("select pg_advisory_xact_lock(1)").execute(&mut *lock).await.unwrap();
    lock
}

/// Polls a statement until its backend waits for the lock, and then drops it; returns the backend.
async fn begin_to_wait(owner: &PgPool, statement: impl Future<Output = Result<i32, Error>>) -> i32 {
    tokio::select! {
        ended = statement => panic!("it did not wait: {ended:?}"),
        backend = waiting(owner) => backend,
    }
}

async fn waiting(owner: &PgPool) -> i32 {
    loop {
        let waiting = sqlx::query_scalar(
            "select pid from pg_locks join pg_database on pg_database.oid = database
             where datname = current_database() and locktype = 'advisory' and not granted",
        );
        if let Some(backend) = waiting.fetch_optional(owner).await.unwrap() {
            return backend;
        }
        yield_now().await;
    }
}

async fn until_gone(owner: &PgPool, backend: i32) {
    loop {
        let is_there = sqlx::query_scalar::<_, bool>(
            "select exists (select from pg_stat_activity where pid = $1)",
        );
        if !is_there.bind(backend).fetch_one(owner).await.unwrap() {
            return;
        }
        yield_now().await;
    }
}

#[sqlx::test(migrations = false)]
async fn statements_in_a_row_use_the_same_connection(owner: PgPool) {
    let database = database(&owner, PgPoolOptions::new().max_connections(10));
    let first = backend(&database).await.unwrap();
    assert_eq!(backend(&database).await.unwrap(), first);
    let all = sqlx::query_scalar::<_, i32>("select pg_backend_pid() from generate_series(1, 3)");
    assert_eq!(all.fetch_all(database.statements()).await.unwrap(), [first; 3]);
    sqlx::raw_sql("create table kept ()").execute(database.statements()).await.unwrap();
    assert_eq!(backend(&database).await.unwrap(), first);
}

#[sqlx::test(migrations = false)]
async fn both_pools_return_the_same(owner: PgPool) {
    sqlx::raw_sql("create table kept (number int)").execute(&owner).await.unwrap();
    let database = database(&owner, one_connection());
    for db in [Db::from(&owner), Db::from(&database)] {
        let kept = sqlx::raw_sql("insert into kept values (1), (2)").execute(db).await.unwrap();
        assert_eq!(kept.rows_affected(), 2);
        let all = sqlx::query_scalar::<_, i32>("select number from kept order by number");
        assert_eq!(all.fetch_all(db).await.unwrap(), [1, 2]);
        let first = sqlx::query_scalar::<_, i32>("select number from kept order by number");
        assert_eq!(first.fetch_optional(db).await.unwrap(), Some(1));
        let none = sqlx::query_scalar::<_, i32>("select number from kept where number > 2");
        assert_eq!(none.fetch_optional(db).await.unwrap(), None);
        let none = sqlx::query_scalar::<_, i32>("select number from kept where number > 2");
        assert!(matches!(none.fetch_one(db).await, Err(Error::RowNotFound)));
        let removed = sqlx::raw_sql("delete from kept").execute(db).await.unwrap();
        assert_eq!(removed.rows_affected(), 2);
    }
}

#[sqlx::test(migrations = false)]
async fn a_statement_that_fails_gives_its_connection_back(owner: PgPool) {
    let database = database(&owner, one_connection());
    let first = backend(&database).await.unwrap();
    // Refused when it is parsed, refused when it is executed, and of another type.
    for wrong in ["select from nowhere", "select 1 / (select 0)", "select 'a'"] {
        for at_most_one in [true, false] {
            let wrong = sqlx::query_scalar::<_, i32>(wrong);
            let failed = if at_most_one {
                wrong.fetch_optional(database.statements()).await.map(drop)
            } else {
                wrong.fetch_all(database.statements()).await.map(drop)
            };
            assert!(failed.is_err());
            assert_eq!(backend(&database).await.unwrap(), first);
        }
    }
}

/// A dropped statement's backend still executes it, and is not used for the next statement.
async fn is_not_returned(
    owner: &PgPool,
    database: &Database,
    statement: impl Future<Output = Result<i32, Error>>,
) {
    let lock = lock(owner).await;
    let dropped = begin_to_wait(owner, statement).await;
    assert_ne!(backend(database).await.unwrap(), dropped);
    lock.rollback().await.unwrap();
    until_gone(owner, dropped).await;
}

#[sqlx::test(migrations = false)]
async fn a_statement_that_is_dropped_half_way_does_not_give_its_connection_back(owner: PgPool) {
    let database = database(&owner, one_connection());
    let one = sqlx::query_scalar(WAIT).fetch_one(database.statements());
    is_not_returned(&owner, &database, one).await;
    let all = async {
        let all = sqlx::query_scalar(WAIT).fetch_all(database.statements()).await;
        all.map(|all| all[0])
    };
    is_not_returned(&owner, &database, all).await;
}

#[sqlx::test(migrations = false)]
async fn a_statement_whose_backend_was_terminated_fails_once(owner: PgPool) {
    let database = database(&owner, one_connection());
    let first = backend(&database).await.unwrap();
    let ended = sqlx::query_scalar::<_, bool>("select pg_terminate_backend($1, 20000)");
    assert!(ended.bind(first).fetch_one(&owner).await.unwrap(), "it is still there");
    let lost = backend(&database).await.unwrap_err();
    assert_eq!(DatabaseFault::of(&lost), DatabaseFault::Transient, "{lost}");
    assert_ne!(backend(&database).await.unwrap(), first);
}

#[sqlx::test(migrations = false)]
async fn a_statement_that_gets_no_connection_in_time_fails(owner: PgPool) {
    // The first connection is made within this time, too.
    let within = Duration::from_secs(5);
    let database = database(&owner, one_connection().acquire_timeout(within));
    let lock = lock(&owner).await;
    let mut statement = pin!(sqlx::query_scalar(WAIT).fetch_one(database.statements()));
    let busy = begin_to_wait(&owner, statement.as_mut()).await;
    assert!(matches!(backend(&database).await, Err(Error::PoolTimedOut)));
    lock.rollback().await.unwrap();
    assert_eq!(statement.await.unwrap(), busy);
    assert_eq!(backend(&database).await.unwrap(), busy);
}

#[sqlx::test(migrations = false)]
async fn a_closed_database_executes_nothing(owner: PgPool) {
    let database = database(&owner, one_connection());
    backend(&database).await.unwrap();
    database.transactions().close().await;
    assert!(matches!(backend(&database).await, Err(Error::PoolClosed)));
}

#[sqlx::test(migrations = false)]
async fn a_connection_that_is_too_old_is_replaced(owner: PgPool) {
    let lifetime = Duration::from_millis(20);
    let database = database(&owner, one_connection().max_lifetime(lifetime));
    let first = backend(&database).await.unwrap();
    while backend(&database).await.unwrap() == first {}
}
