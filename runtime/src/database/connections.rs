//! A program's connections to its database: one pool for transactions, one for single statements.
//!
//! sqlx's pool pings every connection that is returned to it, in a spawned task, because the
//! rollback of a dropped transaction may not have been sent yet. A single statement is committed by
//! itself and leaves nothing to roll back, so for it the ping is a second round trip without a
//! purpose. The pool for single statements does not ping. It only takes a connection back whose
//! statement has completed, and closes any other.

use std::io;
use std::time::Duration;

use deadpool::Status;
use deadpool::managed::{Manager, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryFutureExt as _, TryStreamExt as _};
use scopeguard::{ScopeGuard, guard};
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgDatabaseError, PgQueryResult, PgRow, PgSeverity, PgStatement, PgTypeInfo};
use sqlx::{
    ConnectOptions as _, Describe, Either, Error, Execute, Executor, PgConnection, PgPool,
    Postgres, SqlStr,
};
use tokio::time::{sleep, timeout};

/// The pause between attempts to connect to a server that is starting.
const RECONNECT_AFTER: Duration = Duration::from_millis(50);

/// A program's connections to its database.
///
/// **Shape.** Two pools with the same settings and the same maximum size: sqlx's for transactions,
/// and one for single statements. Both connect at the first use. Clones share them.
#[derive(Clone, Debug)]
pub struct Database {
    transactions: PgPool,
    statements: Pool<Connector>,
}

/// Executes single statements, in place of a `&PgPool`.
///
/// **Shape.** Made from a [`Database`], it uses the pool for single statements; made from a
/// `&PgPool`, it uses that pool for everything.
#[derive(Clone, Copy, Debug)]
pub struct Db<'a> {
    transactions: &'a PgPool,
    statements: Option<&'a Database>,
}

/// Makes connections with the options of the pool for transactions.
#[derive(Debug)]
pub(super) struct Connector(PgPool);

/// A connection with a statement in progress. It is taken out of the pool and closed when it is
/// dropped; only [`over`] returns it.
///
/// If a statement's future is dropped, the server may still be executing the statement, and the
/// next user of the connection would wait for its end. Until that end, at the statement timeout at
/// the latest, the server has one connection more than the pool. After any error but a refusal by
/// the server, the connection is dead or in an unknown state.
pub(super) type Lent = ScopeGuard<Object<Connector>, fn(Object<Connector>)>;

impl Database {
    /// Adds a pool for single statements to this one for transactions.
    #[must_use]
    pub fn of(transactions: PgPool) -> Self {
        let most = transactions.options().get_max_connections();
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let statements = Pool::builder(Connector(transactions.clone())).max_size(most).build();
        let Ok(statements) = statements else {
            unreachable!("only a pool with timeouts needs a runtime")
        };
        Self { transactions, statements }
    }

    /// The pool for transactions, and for everything else that needs a connection for longer than
    /// one statement.
    #[must_use]
    pub const fn transactions(&self) -> &PgPool {
        &self.transactions
    }

    /// Executes single statements.
    #[must_use]
    pub fn statements(&self) -> Db<'_> {
        self.into()
    }

    /// The number of connections for single statements.
    pub(super) fn status(&self) -> Status {
        self.statements.status()
    }

    /// Takes a connection for one statement.
    ///
    /// **Errors.** As sqlx's pool: timed out if none is free in time, closed once the pool for
    /// transactions is closed, or why it cannot connect.
    pub(super) async fn lend(&self) -> Result<Lent, Error> {
        if self.transactions.is_closed() {
            return Err(Error::PoolClosed);
        }
        let within = self.transactions.options().get_acquire_timeout();
        match timeout(within, self.statements.get()).await {
            Ok(Ok(connection)) => Ok(guard(connection, close)),
            Ok(Err(PoolError::Backend(error))) => Err(error),
            Ok(Err(PoolError::Timeout(_))) | Err(_) => Err(Error::PoolTimedOut),
            Ok(Err(PoolError::Closed)) => Err(Error::PoolClosed),
            // Not possible: the pool has neither hooks nor timeouts.
            Ok(Err(error @ (PoolError::PostCreateHook(_) | PoolError::NoRuntimeSpecified))) => {
                Err(Error::Configuration(error.into()))
            }
        }
    }
}

fn close(connection: Object<Connector>) {
    drop(Object::take(connection));
}

/// Returns the connection to the pool, unless the statement's error makes it unusable.
pub(super) fn over<T>(connection: Lent, ended: Result<T, Error>) -> Result<T, Error> {
    if ended.as_ref().err().is_none_or(is_refusal) {
        drop(ScopeGuard::into_inner(connection));
    }
    ended
}

/// Whether the server has refused the statement and is ready for another one. After a fatal error,
/// it closes the connection.
fn is_refusal(error: &Error) -> bool {
    let refused = error.as_database_error();
    let refused = refused.and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    refused.is_some_and(|error| error.severity() == PgSeverity::Error)
}

impl Manager for Connector {
    type Type = PgConnection;
    type Error = Error;

    /// Waits for a server that is starting, as sqlx's pool does. [`Database::lend`] limits the
    /// time.
    async fn create(&self) -> Result<PgConnection, Error> {
        loop {
            match self.0.connect_options().connect().await {
                Err(error) if is_starting(&error) => sleep(RECONNECT_AFTER).await,
                ended => return ended,
            }
        }
    }

    /// Replaces a connection that is too old or was idle for too long, as sqlx's pool does. The
    /// server is not asked.
    async fn recycle(
        &self,
        _connection: &mut PgConnection,
        metrics: &Metrics,
    ) -> RecycleResult<Error> {
        let options = self.0.options();
        let is_within = |limit: Option<Duration>, time| limit.is_none_or(|limit| time <= limit);
        if is_within(options.get_max_lifetime(), metrics.age())
            && is_within(options.get_idle_timeout(), metrics.last_used())
        {
            Ok(())
        } else {
            Err(RecycleError::message("too old, or idle for too long"))
        }
    }
}

/// Whether the server is starting, or has not yet noticed that other connections were closed.
fn is_starting(error: &Error) -> bool {
    if let Error::Io(refused) = error {
        return refused.kind() == io::ErrorKind::ConnectionRefused;
    }
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| matches!(code.as_ref(), "57P03" | "53300"))
}

impl<'a> From<&'a Database> for Db<'a> {
    fn from(database: &'a Database) -> Self {
        Self { transactions: &database.transactions, statements: Some(database) }
    }
}

impl<'a> From<&'a PgPool> for Db<'a> {
    fn from(pool: &'a PgPool) -> Self {
        Self { transactions: pool, statements: None }
    }
}

impl<'a> Db<'a> {
    /// The pool for transactions.
    #[must_use]
    pub const fn transactions(self) -> &'a PgPool {
        self.transactions
    }
}

impl<'a> Executor<'a> for Db<'a> {
    type Database = Postgres;

    /// Reads all items before it returns the first, so that the stream holds no connection.
    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'a: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let Some(database) = self.statements else { return self.transactions.fetch_many(query) };
        let found = async move {
            let mut connection = database.lend().await?;
            let found = connection.fetch_many(query).try_collect::<Vec<_>>().await;
            over(connection, found)
        };
        found.map_ok(|found| stream::iter(found.into_iter().map(Ok))).try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'a: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let Some(database) = self.statements else {
            return self.transactions.fetch_optional(query);
        };
        Box::pin(async move {
            let mut connection = database.lend().await?;
            let found = connection.fetch_optional(query).await;
            over(connection, found)
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'a: 'e,
    {
        self.transactions.prepare_with(sql, parameters)
    }

    /// Part of the trait because of sqlx's feature `macros`, which this workspace enables.
    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
    where
        'a: 'e,
    {
        self.transactions.describe(sql)
    }
}
