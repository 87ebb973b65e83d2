//! What the orders take of the database, by its own count.

use std::time::Duration;

use activities::party::SANDBOXES;
use domain::Order;
use sqlx::{PgPool, postgres::PgPoolOptions};

/// The shop's database, looked at from outside.
#[derive(Clone, Debug)]
pub(super) struct Database(PgPool);

impl Database {
    /// Connects when it is first needed.
    pub(super) fn at(url: &str) -> Result<Self, sqlx::Error> {
        // One connection: what the benchmark itself asks must not disturb.
        PgPoolOptions::new().max_connections(1).connect_lazy(url).map(Self)
    }

    /// Puts an order on record as the starter does, without a launch: nobody else is to start it.
    #[expect(clippy::disallowed_methods, reason = "the shop is outside: no schema checks its SQL")]
    pub(super) async fn put_on_record(&self, order: &Order) -> Result<(), sqlx::Error> {
        let placed = serde_json::to_value(order.placed())
            .map_err(|error| sqlx::Error::Encode(error.into()))?;
        let place = sqlx::query("select from orders.place($1, $2, $3, $4, null, '1 day')");
        place
            .bind(order.order_id.uuid())
            .bind(order.order_id.to_string())
            .bind(placed)
            .bind(order.payment_token.as_str())
            .execute(&self.0)
            .await?;
        let unlaunch = sqlx::query("delete from orders.launches where order_id = $1");
        unlaunch.bind(order.order_id.uuid()).execute(&self.0).await.map(drop)
    }

    /// Fills the outbox with so many events or a few less, for the relay alone: what was told of one
    /// order that is completed, of many that never were. They are in the order in which orders that
    /// are under way at the same time are told of.
    #[expect(clippy::disallowed_methods, reason = "the shop is outside: no schema checks its SQL")]
    pub(super) async fn fill_outbox(&self, run: &str, events: i64) -> Result<(), sqlx::Error> {
        let fill = sqlx::query(
            "with told as materialized (
                select sequence, type, payload from outbox.messages
                where aggregateid = (
                    select aggregateid from outbox.messages
                    where type = 'ordersaga.order.completed.v1' order by position desc limit 1
                )
            )
            insert into outbox.messages (aggregatetype, aggregateid, sequence, type, payload)
            select 'order', md5($1 || number)::uuid::text, sequence, type, payload
            from told, generate_series(1, $2 / (select greatest(count(*), 1) from told)) as number
            order by number + 100 * sequence, number",
        );
        fill.bind(run).bind(events).execute(&self.0).await.map(drop)
    }

    /// How many messages there are.
    pub(super) async fn messages(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("select count(*) from outbox.messages").fetch_one(&self.0).await
    }

    /// How many messages the relay has dealt with for Kafka.
    pub(super) async fn relayed(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(
            "select coalesce(sum(delivered + not_wanted + parked), 0)::bigint
             from outbox.progress where sink = 'kafka'",
        )
        .fetch_one(&self.0)
        .await
    }

    /// How many transactions have been committed in it.
    pub(super) async fn commits(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(
            "select xact_commit from pg_stat_database where datname = current_database()",
        )
        .fetch_one(&self.0)
        .await
    }

    /// The processes of Postgres that serve the sandboxes.
    pub(super) async fn sandbox_processes(&self) -> Result<Vec<u32>, sqlx::Error> {
        let pids: Vec<i32> = sqlx::query_scalar(
            "select pid from pg_stat_activity
             where datname = current_database() and application_name = $1",
        )
        .bind(SANDBOXES)
        .fetch_all(&self.0)
        .await?;
        Ok(pids.into_iter().filter_map(|pid| u32::try_from(pid).ok()).collect())
    }

    /// Its version, and the settings that decide what a commit costs.
    pub(super) async fn described(&self) -> Result<String, sqlx::Error> {
        sqlx::query_scalar(
            "select format('Postgres %s (fsync %s, synchronous_commit %s)',
                current_setting('server_version'), current_setting('fsync'),
                current_setting('synchronous_commit'))",
        )
        .fetch_one(&self.0)
        .await
    }
}

/// Postgres' processes report what they have committed when they are busy or, once idle, after
/// ten seconds. Only after that long is the count complete.
pub(super) const COUNT_DELAY: Duration = Duration::from_secs(11);
