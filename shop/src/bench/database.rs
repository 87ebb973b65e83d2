//! What the orders take of the database, by its own count.

use std::time::Duration;

use activities::party::SANDBOXES;
use domain::Order;
use sqlx::{PgPool, postgres::PgPoolOptions};
use uuid::Uuid;

/// How far some orders are, and what waits beside them.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub(super) struct Standing {
    pub(super) on_record: i64,
    pub(super) ended: i64,
    pub(super) completed: i64,
    /// How many orders wait for their launch, whosever they are.
    pub(super) backlog: i64,
    /// For how long the oldest of them has waited.
    pub(super) oldest_seconds: i64,
}

/// In which order some orders were begun: the most that one of them was overtaken.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub(super) struct Course {
    /// How much later an order was placed that was begun earlier, in milliseconds.
    pub(super) overtaken_ms: i64,
    /// How many places later it was begun than it was placed.
    pub(super) overtaken_by: i64,
}

/// The shop's database, looked at from outside.
#[derive(Clone, Debug)]
pub(super) struct Database(PgPool);

impl Database {
    /// Connects when it is first needed.
    pub(super) fn at(url: &str) -> Result<Self, sqlx::Error> {
        // One connection: what the benchmark itself asks must not disturb.
        Self::with_connections(url, 1)
    }

    /// The same by so many connections, where they are what is measured.
    pub(super) fn with_connections(url: &str, connections: u32) -> Result<Self, sqlx::Error> {
        PgPoolOptions::new().max_connections(connections).connect_lazy(url).map(Self)
    }

    /// Writes an article's stock anew as it is, in a transaction of its own.
    #[expect(clippy::disallowed_methods, reason = "the shop is outside: no schema checks its SQL")]
    pub(super) async fn touch_stock(&self, sku: &str) -> Result<(), sqlx::Error> {
        let touch = sqlx::query("update inventory.stock set reserved = reserved where sku = $1");
        touch.bind(sku).execute(&self.0).await.map(drop)
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

    /// How many orders are on record.
    pub(super) async fn orders(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("select count(*) from orders.orders").fetch_one(&self.0).await
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

    /// How far these orders are.
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

    /// In which order these orders were begun: the first step of each is the reservation.
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
