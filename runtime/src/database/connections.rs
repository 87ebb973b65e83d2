//! A program's connections to its database: a pool for transactions, and one for single statements.
//!
//! sqlx's pool pings every connection that comes back to it, in a task of its own, because the
//! rollback of a dropped transaction may still have to be sent. A single statement commits by itself
//! and leaves nothing behind, so that ping would be a second round trip for nothing. The pool for
//! single statements sends none: it takes a connection back only if its statement is over, and closes
//! it otherwise.

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

/// How soon a server that is starting is tried again.
const RECONNECT_AFTER: Duration = Duration::from_millis(50);

/// A program's connections to its database.
///
/// **Shape.** Two pools of the same size, with the same settings: sqlx's for transactions, and one
/// for single statements. Both connect at the first use. Clones share them.
#[derive(Clone, Debug)]
pub struct Database {
    transactions: PgPool,
    statements: Pool<Connector>,
}

/// A way to the database for single statements, to be used in the place of a `&PgPool`.
///
/// **Shape.** From a [`Database`] it goes through its pool for single statements, from a `&PgPool`
/// through that.
#[derive(Clone, Copy, Debug)]
pub struct Db<'a> {
    transactions: &'a PgPool,
    statements: Option<&'a Database>,
}

/// Connects as the pool for transactions does.
#[derive(Debug)]
pub(super) struct Connector(PgPool);

/// A connection on which a statement is under way. It is closed unless [`over`] gives it back.
///
/// A future that is dropped half-way leaves a statement behind at which the server still is: whoever
/// had the connection next would wait for it. An error that is not the server's refusal of the
/// statement leaves a connection of which nobody knows how far it is, or one that has ended.
pub(super) type Lent = ScopeGuard<Object<Connector>, fn(Object<Connector>)>;

impl Database {
    /// The connections of a program whose pool for transactions is this one.
    #[must_use]
    pub fn of(transactions: PgPool) -> Self {
        let most = transactions.options().get_max_connections();
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let statements = Pool::builder(Connector(transactions.clone())).max_size(most).build();
        let Ok(statements) = statements else {
            unreachable!("only a pool with time limits of its own can be refused")
        };
        Self { transactions, statements }
    }

    /// The pool for transactions, and for whatever else keeps a connection for longer than one
    /// statement.
    #[must_use]
    pub const fn transactions(&self) -> &PgPool {
        &self.transactions
    }

    /// The way for single statements.
    #[must_use]
    pub fn statements(&self) -> Db<'_> {
        self.into()
    }

    /// How the pool for single statements stands.
    pub(super) fn status(&self) -> Status {
        self.statements.status()
    }

    /// A connection for one statement.
    pub(super) async fn lend(&self) -> Result<Lent, Error> {
        let within = self.transactions.options().get_acquire_timeout();
        match timeout(within, self.statements.get()).await {
            Ok(Ok(connection)) => Ok(guard(connection, close)),
            Ok(Err(PoolError::Backend(error))) => Err(error),
            Ok(Err(PoolError::Timeout(_))) | Err(_) => Err(Error::PoolTimedOut),
            Ok(Err(PoolError::Closed)) => Err(Error::PoolClosed),
            // The pool has no hooks and no time limits of its own.
            Ok(Err(error @ (PoolError::PostCreateHook(_) | PoolError::NoRuntimeSpecified))) => {
                Err(Error::Configuration(error.into()))
            }
        }
    }
}

fn close(connection: Object<Connector>) {
    drop(Object::take(connection));
}

/// Ends a statement: its connection goes back if it can take another one.
pub(super) fn over<T>(connection: Lent, ended: Result<T, Error>) -> Result<T, Error> {
    if ended.as_ref().err().is_none_or(is_refusal) {
        drop(ScopeGuard::into_inner(connection));
    }
    ended
}

/// Whether the server has refused the statement, and waits for another one. An error that is fatal
/// ends the connection.
fn is_refusal(error: &Error) -> bool {
    let refused = error.as_database_error();
    let refused = refused.and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    refused.is_some_and(|error| error.severity() == PgSeverity::Error)
}

impl Manager for Connector {
    type Type = PgConnection;
    type Error = Error;

    /// A server that is starting is waited for, as by sqlx's pool. Whoever waits for the connection
    /// has a time limit.
    async fn create(&self) -> Result<PgConnection, Error> {
        loop {
            match self.0.connect_options().connect().await {
                Err(error) if is_starting(&error) => sleep(RECONNECT_AFTER).await,
                ended => return ended,
            }
        }
    }

    /// Asks the server nothing. A connection that is too old, or was idle for too long, is replaced,
    /// as in sqlx's pool.
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
            Err(RecycleError::message("its time is over"))
        }
    }
}

/// Whether the server is starting, or still has to notice that connections have ended.
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

    /// All that is found is read before the first item is given out, so that the connection is back
    /// while whoever asked deals with it.
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

    /// Only there with sqlx's feature `macros`, which this workspace has.
    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
    where
        'a: 'e,
    {
        self.transactions.describe(sql)
    }
}
