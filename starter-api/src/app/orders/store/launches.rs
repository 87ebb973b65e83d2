//! SQL for the launch rows of orders.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{CountryCode, CustomerId, OrderId, Terms};
use rust_decimal::Decimal;
use serde::Deserialize as _;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;
use workflows::Queue;
use workflows::order::OrderStart;

use crate::app::money::stored_money;
use crate::error::{OrProblem, Problem};
use crate::temporal::Launch;

/// The launch backlog at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backlog {
    /// Whether launching is stopped.
    pub(crate) is_stopped: bool,
    /// The number of orders that wait, including those that are being launched.
    pub(crate) waiting: i64,
    /// The age of the oldest of them; zero if none waits.
    pub(crate) oldest_seconds: f64,
}

/// Reads the backlog.
pub(crate) async fn look(database: &PgPool) -> Result<Backlog, sqlx::Error> {
    sqlx::query_as!(
        Backlog,
        r#"select exists (select from operations.paused_queues where queue = $1) as "is_stopped!",
               (select count(*) from orders.launches) as "waiting!",
               (select coalesce(extract(epoch from now() - min(placed_at))::double precision, 0)
                from orders.launches) as "oldest_seconds!""#,
        Queue::Orders.name(),
    )
    .fetch_one(database)
    .await
}

/// Whether the order waits for its launch.
pub(crate) async fn waits(database: &PgPool, order_id: OrderId) -> Result<bool, Problem> {
    sqlx::query_scalar!(
        r#"select exists (select from orders.launches where order_id = $1) as "waits!""#,
        order_id.uuid(),
    )
    .fetch_one(database)
    .await
    .or_problem("looking whether an order waits to be launched")
}

/// An order whose launch is due, as stored. Each field is decoded separately, so that one corrupt
/// order does not block the others.
#[derive(Debug)]
pub(crate) struct DueRow {
    pub(crate) order_id: Uuid,
    is_recovery: bool,
    /// `None` if the order does not exist.
    has_ended: Option<bool>,
    record_version: Option<i32>,
    placed_at: Option<DateTime<Utc>>,
    customer_id: Option<String>,
    total: Option<String>,
    currency: Option<String>,
    country: Option<String>,
    terms: Option<Value>,
    is_unwinding: Option<bool>,
}

/// What to do about a due launch row.
#[derive(Debug)]
pub(crate) enum Due {
    /// Start the workflow.
    Launch(Box<Launch>),
    /// Nothing: the order has ended.
    Ended(Launched),
}

/// A launch row that can be deleted: the order has its workflow, or has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launched {
    pub(crate) order_id: OrderId,
    pub(crate) is_recovery: bool,
}

/// Why an order cannot be launched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("the order is not on record")]
    NotOnRecord,
    #[error("the order's {0} cannot be read")]
    Field(&'static str),
}

/// Claims due orders, oldest first. The claim is a lease of ten seconds, in which no other starter
/// takes them.
pub(crate) async fn claim(database: &PgPool, most: i64) -> Result<Vec<DueRow>, sqlx::Error> {
    sqlx::query_as!(
        DueRow,
        r#"with due as (
               select order_id from orders.launches where not_before <= now()
               order by placed_at, order_id limit $1 for update skip locked
           ), claimed as (
               update orders.launches as launch set not_before = now() + interval '10 s'
               from due where launch.order_id = due.order_id
               returning launch.order_id, launch.placed_at, launch.is_recovery
           )
           select claimed.order_id as "order_id!", is_recovery as "is_recovery!",
               orders.is_terminal(status) as has_ended, record_version as "record_version?",
               known.placed_at as "placed_at?", customer_id as "customer_id?",
               total::text, currency as "currency?", country as "country?",
               terms as "terms?", (ending is not null) as is_unwinding
           from claimed left join orders.orders as known using (order_id)
           order by claimed.placed_at, claimed.order_id"#,
        most,
    )
    .fetch_all(database)
    .await
}

impl DueRow {
    /// Decides what to do about the row.
    pub(crate) fn read(self) -> Result<Due, Unreadable> {
        let order_id = OrderId::of(self.order_id);
        match self.has_ended {
            None => return Err(Unreadable::NotOnRecord),
            Some(true) => {
                return Ok(Due::Ended(Launched { order_id, is_recovery: self.is_recovery }));
            }
            Some(false) => {}
        }
        let terms = self.terms.and_then(|terms| Terms::deserialize(terms).ok());
        let terms = terms.ok_or(Unreadable::Field("terms"))?;
        let placed_at = self.placed_at.ok_or(Unreadable::Field("time"))?;
        let window = TimeDelta::seconds(terms.cancel_window_seconds.into());
        let version = self.record_version.and_then(|version| u32::try_from(version).ok());
        let total = self.total.and_then(|total| total.parse::<Decimal>().ok());
        let total = total.and_then(|total| stored_money(total, self.currency.as_deref()?));
        let total = total.ok_or(Unreadable::Field("total"))?;
        let customer_id = self.customer_id.and_then(|id| CustomerId::parse(id).ok());
        let country = self.country.and_then(|country| CountryCode::parse(&country).ok());
        Ok(Due::Launch(Box::new(Launch {
            start: OrderStart {
                order_id,
                record_version: version.ok_or(Unreadable::Field("version"))?,
                cancellable_until: placed_at
                    .checked_add_signed(window)
                    .ok_or(Unreadable::Field("terms"))?,
                patience_seconds: terms.patience_seconds,
                capture_at: terms.capture_at,
                is_free: total.is_zero(),
                is_screened: terms.screening.is_some(),
                is_unwinding: self.is_unwinding.unwrap_or_default(),
            },
            customer_id: customer_id.ok_or(Unreadable::Field("customer"))?,
            total,
            country: country.ok_or(Unreadable::Field("country"))?,
            is_recovery: self.is_recovery,
        })))
    }
}

/// Deletes the launch rows of orders that have their workflow or have ended. A row that `recover`
/// has renewed since it was claimed is another launch, and stays.
pub(crate) async fn settle(database: &PgPool, launched: &[Launched]) -> Result<(), sqlx::Error> {
    let orders: Vec<_> = launched.iter().map(|one| one.order_id.uuid()).collect();
    let recoveries: Vec<_> = launched.iter().map(|one| one.is_recovery).collect();
    sqlx::query!(
        "delete from orders.launches as waiting
         using unnest($1::uuid[], $2::boolean[]) as launched (order_id, is_recovery)
         where waiting.order_id = launched.order_id and waiting.is_recovery = launched.is_recovery",
        &orders,
        &recoveries,
    )
    .execute(database)
    .await
    .map(|_deleted| ())
}

/// Postpones a launch by a second, because Temporal did not answer.
pub(crate) async fn postpone(database: &PgPool, order: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update orders.launches set not_before = now() + interval '1 s' where order_id = $1",
        order,
    )
    .execute(database)
    .await
    .map(|_postponed| ())
}

/// Postpones a launch that failed because of the order itself, with exponential backoff up to ten
/// minutes.
pub(crate) async fn fail(database: &PgPool, order: Uuid, why: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update orders.launches
         set attempts = attempts + 1, last_error = $2,
             not_before = now() + least(interval '10 min', interval '1 s' * 2 ^ least(attempts, 10))
         where order_id = $1",
        order,
        why,
    )
    .execute(database)
    .await
    .map(|_failed| ())
}
