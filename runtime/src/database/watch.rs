//! Metrics of a connection pool: its size, the time to acquire a connection, and the difference
//! between the database's clock and this machine's.

use std::time::{Duration, SystemTime};

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use sqlx::{PgConnection, PgPool};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::connections::{Database, over};
use crate::chain;
use crate::metrics::count;

/// Gauges: the pool's connections by state (idle, or open at all), and the most there may be.
const CONNECTIONS: &str = "ordersaga_database_connections";
const CONNECTIONS_MAX: &str = "ordersaga_database_connections_max";

/// Histogram of the time to acquire a connection from the pool, probed every few seconds.
const ACQUIRE_SECONDS: &str = "ordersaga_database_acquire_seconds";

/// Counter of probes that got no connection, or no answer from the database.
const PROBES_FAILED: &str = "ordersaga_database_probes_failed_total";

/// Gauge of how many seconds the database's clock is ahead of this machine's.
const CLOCK_AHEAD: &str = "ordersaga_database_clock_ahead_seconds";

/// The interval between probes.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Publishes a pool's metrics under a name.
///
/// **Repeats.** Several watches of one pool publish the same values.
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
    /// Registers every series of the pool, so that the first failure shows as an increase.
    #[must_use]
    pub fn of(pool: &PgPool, name: &'static str) -> Self {
        Self::begin(Watched::Transactions(pool.clone()), name)
    }

    /// The same for a database's pool for single statements.
    #[must_use]
    pub fn of_statements(database: &Database, name: &'static str) -> Self {
        Self::begin(Watched::Statements(database.clone()), name)
    }

    fn begin(pool: Watched, name: &'static str) -> Self {
        counter!(PROBES_FAILED, "pool" => name).absolute(0);
        drop(histogram!(ACQUIRE_SECONDS, "pool" => name));
        Self { pool, name }
    }

    /// Publishes the current number of connections.
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

    /// Probes the pool: acquires a connection, as a request or a step does, and asks the database
    /// for its time.
    pub async fn look(&self) {
        let name = self.name;
        match self.ask().await {
            Ok(ahead) => gauge!(CLOCK_AHEAD, "pool" => name).set(ahead),
            Err(error) => {
                counter!(PROBES_FAILED, "pool" => name).increment(1);
                tracing::debug!(pool = name, error = chain(&error), "a probe of the pool failed");
            }
        }
    }

    /// Probes every few seconds. Never returns.
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

/// How many seconds the database's clock is ahead of this machine's.
async fn clock_ahead(connection: &mut PgConnection) -> sqlx::Result<f64> {
    let here = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let asked = Instant::now();
    let there: i64 =
        sqlx::query_scalar("select (extract(epoch from clock_timestamp()) * 1000000)::bigint")
            .fetch_one(connection)
            .await?;
    // The database read its clock at some moment during the round trip; half of it is the best
    // estimate.
    let half = asked.elapsed().checked_div(2).unwrap_or_default();
    let here = i64::try_from(here.saturating_add(half).as_micros()).unwrap_or(i64::MAX);
    let ahead = there.saturating_sub(here);
    let sign = if ahead.is_negative() { -1.0 } else { 1.0 };
    Ok(Duration::from_micros(ahead.unsigned_abs()).as_secs_f64().copysign(sign))
}

pub(super) fn describe_metrics() {
    describe_gauge!(CONNECTIONS, "Connections of a pool: all that are open, and those idle");
    describe_gauge!(CONNECTIONS_MAX, "The most connections that a pool may have");
    describe_histogram!(ACQUIRE_SECONDS, "Time to acquire a connection, probed every 5 s");
    describe_counter!(PROBES_FAILED, "Probes, every 5 s, that the database did not answer");
    describe_gauge!(CLOCK_AHEAD, "By how much the database's clock is ahead of the program's");
}
