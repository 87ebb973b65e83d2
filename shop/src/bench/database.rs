//! The cost of orders in the database, by its own statistics.

use std::time::Duration;

use activities::party::SANDBOXES;
use domain::Order;
use sqlx::{PgPool, postgres::PgPoolOptions};
use uuid::Uuid;

/// The progress of some orders, and the launch backlog.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub(super) struct Standing {
    pub(super) on_record: i64,
    pub(super) ended: i64,
    pub(super) completed: i64,
    /// All orders that wait for their launch.
    pub(super) backlog: i64,
    /// The age of the oldest of them.
    pub(super) oldest_seconds: i64,
}

/// The order in which some orders were begun: the most that one was overtaken.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub(super) struct Course {
    /// How much later an order was placed that was begun earlier, in milliseconds.
    pub(super) overtaken_ms: i64,
    /// How many places later it was begun than it was placed.
    pub(super) overtaken_by: i64,
}

/// The shop's database, queried directly.
#[derive(Clone, Debug)]
pub(super) struct Database(PgPool);

impl Database {
    /// Connects lazily.
    pub(super) fn at(url: &str) -> Result<Self, sqlx::Error> {
        // One connection, so that the benchmark's own queries do not disturb.
        Self::with_connections(url, 1)
    }

    /// The same with this many connections, where those are what is measured.
    pub(super) fn with_connections(url: &str, connections: u32) -> Result<Self, sqlx::Error> {
        PgPoolOptions::new().max_connections(connections).connect_lazy(url).map(Self)
    }

    /// Updates an article's stock without a change, in a transaction of its own.
    #[expect(clippy::disallowed_methods, reason = "the shop is outside: no schema checks its SQL")]
    pub(super) async fn touch_stock(&self, sku: &str) -> Result<(), sqlx::Error> {
        let touch = sqlx::query("update inventory.stock set reserved = reserved where sku = $1");
        touch.bind(sku).execute(&self.0).await.map(drop)
    }

    /// Records an order as the starter does, but without a launch row: no launcher may start it.
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

    /// Fills the outbox with about this many events, for the relay only: the events of one
    /// completed order are copied for many orders that never existed, interleaved as for concurrent
    /// orders.
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

    /// The number of orders on record.
    pub(super) async fn orders(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("select count(*) from orders.orders").fetch_one(&self.0).await
    }

    /// The number of messages.
    pub(super) async fn messages(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("select count(*) from outbox.messages").fetch_one(&self.0).await
    }

    /// The number of messages that the relay has handled for Kafka.
    pub(super) async fn relayed(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(
            "select coalesce(sum(delivered + not_wanted + parked), 0)::bigint
             from outbox.progress where sink = 'kafka'",
        )
        .fetch_one(&self.0)
        .await
    }

    /// The progress of these orders.
    #[expect(clippy::disallowed_methods, reason = "the shop is outside: no schema checks its SQL")]
    pub(super) async fn standing(&self, orders: &[Uuid]) -> Result<Standing, sqlx::Error> {
        let standing = sqlx::query_as(
            "select count(*) as on_record,
                 count(*) filter (where orders.is_terminal(status)) as ended,
                 count(*) filter (where status = 'completed') as completed,
                 (select count(*) from orders.launches) as backlog,
                 (select coalesce(extract(epoch from now() - min(placed_at)), 0)::bigint
                  from orders.launches) as oldest_seconds
             from orders.orders where order_id = any($1)",
        );
        standing.bind(orders).fetch_one(&self.0).await
    }

    /// The order in which these orders were begun, by their first step, the reservation.
    #[expect(clippy::disallowed_methods, reason = "the shop is outside: no schema checks its SQL")]
    pub(super) async fn course(&self, orders: &[Uuid]) -> Result<Course, sqlx::Error> {
        let course = sqlx::query_as(
            "with begun as (
                select placed_at, row_number() over (order by placed_at, order_id) as came,
                    row_number() over (order by occurred_at, event_id) as went
                from orders.orders join orders.order_events using (order_id)
                where order_id = any($1) and type = 'stock.reserved'
            ), overtaken as (
                select went - came as places, max(placed_at) over (order by went) - placed_at as by
                from begun
            )
            select coalesce(max(extract(epoch from by) * 1000), 0)::bigint as overtaken_ms,
                coalesce(max(places), 0) as overtaken_by
            from overtaken",
        );
        course.bind(orders).fetch_one(&self.0).await
    }

    /// The number of committed transactions.
    pub(super) async fn commits(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(
            "select xact_commit from pg_stat_database where datname = current_database()",
        )
        .fetch_one(&self.0)
        .await
    }

    /// The Postgres processes that serve the sandboxes.
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

    /// Its version, and the settings that determine the cost of a commit.
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

/// Postgres backends report their commits when they are busy or, once idle, after ten seconds. The
/// count is complete only after that time.
pub(super) const COUNT_DELAY: Duration = Duration::from_secs(11);
