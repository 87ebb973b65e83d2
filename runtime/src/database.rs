//! Postgres: connection pools, their metrics, and the classification of errors.

mod connections;
mod watch;

use std::time::Duration;

pub use connections::{Database, Db};
use metrics::counter;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
pub use watch::PoolWatch;

use crate::chain;

/// Counts errors that show a database that does not fit the program. Alarm on any increase.
const MISDEPLOYED: &str = "ordersaga_database_misdeployed_total";

/// If a program disappears in the middle of a transaction, its locks are released after this time.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(10);

/// Settings of a program's connection pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolSettings {
    /// The `application_name`, by which Postgres lists the connections.
    pub program: &'static str,
    /// The most connections of one pool.
    pub connections: u32,
    /// How long to wait for a free connection before failing.
    pub acquire_timeout: Duration,
    /// The time limit of one statement; no limit if none.
    pub statement_timeout: Option<Duration>,
    /// How long a statement may wait for a lock of another transaction; no limit if none.
    pub lock_timeout: Option<Duration>,
    /// Whether each connection is tested before it is used.
    pub test_before_acquire: bool,
}

/// The URL is not a database URL. The error does not repeat it, because it may contain a password.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("it is not of the form postgres://user:password@host:port/name")]
pub struct BadUrl;

/// Parses a database URL.
///
/// Do not let the command line parse it: its error message would repeat the password.
pub fn parse_url(url: &str) -> Result<PgConnectOptions, BadUrl> {
    url.parse::<PgConnectOptions>().map_err(|_repeats_the_url| BadUrl)
}

impl PoolSettings {
    /// A pool that connects on first use, so that the program can start before its database.
    pub fn lazy(&self, url: &str) -> Result<PgPool, BadUrl> {
        // Set even where there is no limit, because the role may have limits of its own.
        let limits = [
            ("statement_timeout", self.statement_timeout.unwrap_or_default()),
            ("lock_timeout", self.lock_timeout.unwrap_or_default()),
            ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION),
        ];
        let limits = limits.map(|(name, limit)| (name, limit.as_millis().to_string()));
        let options = parse_url(url)?.application_name(self.program).options(limits);
        Ok(PgPoolOptions::new()
            .max_connections(self.connections)
            .acquire_timeout(self.acquire_timeout)
            .test_before_acquire(self.test_before_acquire)
            .connect_lazy_with(options))
    }
}

/// The class of a database error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseFault {
    /// The server is unreachable, starting, full or busy, or the transaction lost against another
    /// one: the same statement may succeed later.
    Transient,
    /// The database does not match this program: a table, column or function is missing, the role
    /// lacks a right or cannot sign in, or a prepared statement is lost. The statement succeeds
    /// once an operator has fixed that, so treat it as unavailable, and call [`alarm`] to notify
    /// the operator.
    Misdeployed,
    /// The statement is wrong, or violates a constraint. Retrying does not help.
    Broken,
}

impl DatabaseFault {
    /// Classifies an error.
    #[must_use]
    pub fn of(error: &sqlx::Error) -> Self {
        use sqlx::Error;
        if let Error::Database(refused) = error {
            return refused.code().map_or(Self::Broken, |code| Self::of_state(&code));
        }
        if matches!(
            error,
            Error::Io(_)
                | Error::Tls(_)
                | Error::PoolTimedOut
                | Error::PoolClosed
                | Error::WorkerCrashed
                // The protocol is out of step after the server, or a proxy before it, was
                // restarted.
                | Error::Protocol(_)
                | Error::BeginFailed
        ) {
            return Self::Transient;
        }
        // Fewer columns than requested: a proxy returned the answer to another client's statement.
        if matches!(
            error,
            Error::ColumnNotFound(_)
                | Error::ColumnIndexOutOfBounds { .. }
                | Error::TypeNotFound { .. }
        ) {
            return Self::Misdeployed;
        }
        Self::Broken
    }

    /// **Source.** PostgreSQL's appendix of error codes; the first two characters are the class.
    fn of_state(code: &str) -> Self {
        match code {
            // Class 40 is retried, except for a constraint violation, which would fail again.
            "40002" => return Self::Broken,
            // A lock that is not available, an object that is in use, a snapshot that is too old.
            "55P03" | "55006" | "72000"
            // A standby that has not been promoted yet.
            | "25006"
            // A transaction that was idle or took too long.
            | "25P03" | "25P04" => return Self::Transient,
            // Undefined table, column, function or object; ambiguous function; `on conflict`
            // without a matching constraint; insufficient privilege.
            "42P01" | "42703" | "42883" | "42704" | "42725" | "42P10" | "42501"
            // A prepared statement is unknown or already exists: a proxy gave the session to
            // another client.
            | "26000" | "42P05"
            // A message that the server, or a proxy in front of it, does not accept.
            | "08P01"
            // A cached plan whose result type was changed by a migration.
            | "0A000" => return Self::Misdeployed,
            _ => {}
        }
        match code.get(..2) {
            // Connection exception; transaction rolled back (serialization failure, deadlock, or
            // unknown outcome of a commit, which is safe to retry under an idempotency key);
            // insufficient resources; operator intervention (statement timeout, shutdown, starting
            // up); system error (I/O).
            Some("08" | "40" | "53" | "57" | "58") => Self::Transient,
            // Invalid authorization, role, database name or schema name.
            Some("0P" | "28" | "3D" | "3F") => Self::Misdeployed,
            Some(_) | None => Self::Broken,
        }
    }
}

/// Reports an error of class [`DatabaseFault::Misdeployed`], in the log and as a metric.
pub fn alarm(doing: &str, error: &sqlx::Error) {
    counter!(MISDEPLOYED).increment(1);
    tracing::error!(
        doing,
        error = chain(error),
        "the database does not fit this program: compare their releases, run `ordersaga migrate`, \
         and check the role's rights"
    );
}

pub(crate) fn describe_metrics() {
    watch::describe_metrics();
    metrics::describe_counter!(MISDEPLOYED, "Errors of a database that does not fit the program");
    // The series starts at zero, so that the first alarm shows as an increase.
    counter!(MISDEPLOYED).absolute(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_transient() {
        for code in [
            "08000", "08006", "25006", "40001", "40003", "40P01", "53100", "53300", "55P03",
            "57014", "57P01", "57P02", "57P03", "58030", "25P03", "25P04", "40000", "55006",
            "72000",
        ] {
            assert_eq!(DatabaseFault::of_state(code), DatabaseFault::Transient, "{code}");
        }
        for error in [
            sqlx::Error::PoolTimedOut,
            sqlx::Error::PoolClosed,
            sqlx::Error::WorkerCrashed,
            sqlx::Error::Io(std::io::Error::other("reset by peer")),
            sqlx::Error::Protocol("expecting ParseComplete but received ReadyForQuery".to_owned()),
            sqlx::Error::BeginFailed,
        ] {
            assert_eq!(DatabaseFault::of(&error), DatabaseFault::Transient, "{error}");
        }
    }

    #[test]
    fn what_an_operator_has_to_put_right_is_misdeployed_and_never_broken() {
        for code in [
            "42P01", "42703", "42883", "42704", "42501", "26000", "42P05", "08P01", "0A000",
            "28P01", "28000", "3D000", "3F000", "0P000", "42725", "42P10",
        ] {
            assert_eq!(DatabaseFault::of_state(code), DatabaseFault::Misdeployed, "{code}");
        }
        for error in [
            sqlx::Error::ColumnNotFound("status".to_owned()),
            sqlx::Error::ColumnIndexOutOfBounds { index: 3, len: 1 },
            sqlx::Error::TypeNotFound { type_name: "status".to_owned() },
        ] {
            assert_eq!(DatabaseFault::of(&error), DatabaseFault::Misdeployed, "{error}");
        }
    }

    /// At least one code of each class in PostgreSQL's appendix that a statement can fail with.
    #[test]
    fn every_class_of_errors_has_its_meaning() {
        let transient = ["08000", "40000", "53000", "57000", "58000", "72000"];
        let misdeployed = ["0A000", "0P000", "26000", "28000", "3D000", "3F000"];
        let broken = [
            "03000", "09000", "0B000", "0F000", "0L000", "0Z000", "10608", "20000", "21000",
            "22000", "23000", "24000", "25000", "27000", "2B000", "2D000", "2F000", "34000",
            "38000", "39000", "3B000", "42000", "44000", "54000", "55000", "F0000", "HV000",
            "P0000", "XX000",
        ];
        for (codes, fault) in [
            (transient.as_slice(), DatabaseFault::Transient),
            (&misdeployed, DatabaseFault::Misdeployed),
            (&broken, DatabaseFault::Broken),
        ] {
            for code in codes {
                assert_eq!(DatabaseFault::of_state(code), fault, "{code}");
            }
        }
    }

    #[test]
    fn what_a_developer_has_to_put_right_is_broken() {
        for code in
            ["23505", "23514", "23503", "22003", "40002", "42601", "42804", "XX000", "P0001", ""]
        {
            assert_eq!(DatabaseFault::of_state(code), DatabaseFault::Broken, "{code}");
        }
        assert_eq!(DatabaseFault::of(&sqlx::Error::RowNotFound), DatabaseFault::Broken);
    }

    const SETTINGS: PoolSettings = PoolSettings {
        program: "test",
        connections: 1,
        acquire_timeout: Duration::from_secs(1),
        statement_timeout: Some(Duration::from_secs(8)),
        lock_timeout: None,
        test_before_acquire: true,
    };

    #[tokio::test]
    async fn a_connection_asks_for_each_limit_also_for_one_that_it_is_to_be_without() {
        let options = SETTINGS.lazy("postgres://shop@localhost/shop").unwrap().connect_options();
        let limits = options.get_options().unwrap_or_default();
        let asked = "-c statement_timeout=8000 -c lock_timeout=0 \
                     -c idle_in_transaction_session_timeout=10000";
        assert!(limits.ends_with(asked), "{limits}");
    }

    #[test]
    fn a_url_that_is_none_is_refused_without_repeating_it() {
        let refused = SETTINGS.lazy("mysql//shop:secret@localhost").unwrap_err();
        assert!(!chain(&refused).contains("secret"), "{refused}");
    }
}
