//! What can be seen of a pool: how many connections it has, how long it takes to get one, and
//! whether the database's clock and this machine's agree.

use std::time::{Duration, SystemTime};

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use sqlx::{PgConnection, PgPool};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::connections::{Database, over};
use crate::chain;
use crate::metrics::count;

/// A pool's connections, by whether they are idle or exist at all, and the most there may be.
const CONNECTIONS: &str = "ordersaga_database_connections";
const CONNECTIONS_MAX: &str = "ordersaga_database_connections_max";

/// How long it took to get a connection from the pool, tried every few seconds.
const ACQUIRE_SECONDS: &str = "ordersaga_database_acquire_seconds";

/// Tries that ended without a connection, or without an answer of the database.
const PROBES_FAILED: &str = "ordersaga_database_probes_failed_total";

/// By how much the database's clock is ahead of this machine's.
const CLOCK_AHEAD: &str = "ordersaga_database_clock_ahead_seconds";

/// How often it is tried.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Makes a pool visible in the metrics, under a name.
///
/// **Repeats.** Any number of watches of one pool say the same.
#[derive(Clone, Debug)]
pub struct PoolWatch {
    pool: Watched,
    name: &'static str,
}

#[derive(Clone, Debug)]
enum Watched {
    Transactions(PgPool),
    Statements(Database),
}

impl PoolWatch {
    /// Begins every series of the pool, so that the first failure is a rise.
    #[must_use]
    pub fn of(pool: &PgPool, name: &'static str) -> Self {
        Self::begin(Watched::Transactions(pool.clone()), name)
    }

    /// The same for the connections of a database that are for single statements.
    #[must_use]
    pub fn of_statements(database: &Database, name: &'static str) -> Self {
        Self::begin(Watched::Statements(database.clone()), name)
    }

    fn begin(pool: Watched, name: &'static str) -> Self {
        counter!(PROBES_FAILED, "pool" => name).absolute(0);
        drop(histogram!(ACQUIRE_SECONDS, "pool" => name));
        Self { pool, name }
    }

    /// Shows how many connections there are at this moment.
    pub fn show(&self) {
        let Self { pool, name } = self;
        let (open, idle, most) = match pool {
            Watched::Transactions(pool) => {
                let most = pool.options().get_max_connections();
                (f64::from(pool.size()), count(pool.num_idle()), f64::from(most))
            }
            Watched::Statements(database) => {
                let status = database.status();
                (count(status.size), count(status.available), count(status.max_size))
            }
        };
        gauge!(CONNECTIONS, "pool" => *name, "state" => "open").set(open);
        gauge!(CONNECTIONS, "pool" => *name, "state" => "idle").set(idle);
        gauge!(CONNECTIONS_MAX, "pool" => *name).set(most);
    }

    /// Gets a connection, as a request or a step does, and asks the database what time it is.
    pub async fn look(&self) {
        let name = self.name;
        match self.ask().await {
            Ok(ahead) => gauge!(CLOCK_AHEAD, "pool" => name).set(ahead),
            Err(error) => {
                counter!(PROBES_FAILED, "pool" => name).increment(1);
                tracing::debug!(pool = name, error = chain(&error), "no answer by way of the pool");
            }
        }
    }

    /// Looks every few seconds. Never ends.
    pub async fn run(self) {
        let mut due = interval(LOOK_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            self.look().await;
        }
    }

    async fn ask(&self) -> sqlx::Result<f64> {
        let asked = Instant::now();
        let acquired = || histogram!(ACQUIRE_SECONDS, "pool" => self.name).record(asked.elapsed());
        match &self.pool {
            Watched::Transactions(pool) => {
                let mut connection = pool.acquire().await?;
                acquired();
                clock_ahead(&mut connection).await
            }
            Watched::Statements(database) => {
                let mut connection = database.lend().await?;
                acquired();
                let ahead = clock_ahead(&mut connection).await;
                over(connection, ahead)
            }
        }
    }
}

/// By how many seconds the database's clock is ahead of this machine's.
async fn clock_ahead(connection: &mut PgConnection) -> sqlx::Result<f64> {
    let here = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let asked = Instant::now();
    let there: i64 =
        sqlx::query_scalar("select (extract(epoch from clock_timestamp()) * 1000000)::bigint")
            .fetch_one(connection)
            .await?;
    // It read its clock somewhere between question and answer.
    let half = asked.elapsed().checked_div(2).unwrap_or_default();
    let here = i64::try_from(here.saturating_add(half).as_micros()).unwrap_or(i64::MAX);
    let ahead = there.saturating_sub(here);
    let sign = if ahead.is_negative() { -1.0 } else { 1.0 };
    Ok(Duration::from_micros(ahead.unsigned_abs()).as_secs_f64().copysign(sign))
}

pub(super) fn describe_metrics() {
    describe_gauge!(CONNECTIONS, "Connections of a pool: all that are open, and those idle");
    describe_gauge!(CONNECTIONS_MAX, "The most connections that a pool may have");
    describe_histogram!(ACQUIRE_SECONDS, "Time to get a connection, tried every 5 s");
    describe_counter!(PROBES_FAILED, "Tries, every 5 s, to which the database did not answer");
    describe_gauge!(CLOCK_AHEAD, "By how much the database's clock is ahead of the program's");
}
