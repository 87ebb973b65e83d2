//! What is checked: everything, or only what has changed lately.
//!
//! Every change of an order is recorded by `orders.record`, which appends an event. So an order
//! that has ended and has no recent event has not changed.

use chrono::{DateTime, SecondsFormat, Utc};
use domain::{OrderId, StepKey, StepName};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Finding;

/// The reason why a recent proof does not show a promise about the whole history.
const CUMULATIVE: &str = "only a proof of everything adds this up";

/// What a proof checks. Each method returns a query's parameter that restricts what it reads; null
/// means no restriction.
///
/// A query restricts each table that it reads, before it groups or joins: Postgres does not move a
/// condition on the result of a full join down to its tables.
#[derive(Debug)]
pub(super) enum Scope {
    /// Everything.
    Everything,
    /// What has changed lately or has not ended.
    Recent(Recent),
}

/// What has changed lately or has not ended.
#[derive(Debug)]
pub(super) struct Recent {
    /// The beginning of the time that is checked.
    since: DateTime<Utc>,
    /// The orders with an event since then, and those that have not ended.
    orders: Vec<Uuid>,
    /// The keys of these orders' reservations.
    reservations: Vec<String>,
    /// The last transaction of the last closing of the books; 0 if they were never closed.
    closed_through: i64,
    /// The position of the first message since then.
    first_message: i64,
}

impl Scope {
    /// Reads what has changed in the last hours; without hours, it is everything.
    pub(super) async fn read(
        db: &mut PgConnection,
        hours: Option<u16>,
    ) -> Result<Self, sqlx::Error> {
        match hours {
            None => Ok(Self::Everything),
            Some(hours) => Ok(Self::Recent(Recent::read(db, hours).await?)),
        }
    }

    const fn recent(&self) -> Option<&Recent> {
        match self {
            Self::Everything => None,
            Self::Recent(recent) => Some(recent),
        }
    }

    /// The orders.
    pub(super) fn orders(&self) -> Option<&[Uuid]> {
        self.recent().map(|recent| recent.orders.as_slice())
    }

    /// The keys of the orders' reservations. `inventory.reservations` has no index of orders: the
    /// key contains the order's id.
    pub(super) fn reservations(&self) -> Option<&[String]> {
        self.recent().map(|recent| recent.reservations.as_slice())
    }

    /// The last transaction of the closed books. The closing has checked the transactions up to it.
    pub(super) fn closed_through(&self) -> Option<i64> {
        self.recent().map(|recent| recent.closed_through)
    }

    /// The first position of messages. An order's messages from there on are its last ones, because
    /// positions follow the order of its events.
    pub(super) fn first_message(&self) -> Option<i64> {
        self.recent().map(|recent| recent.first_message)
    }

    /// The beginning of the time that is checked.
    pub(super) fn since(&self) -> Option<DateTime<Utc>> {
        self.recent().map(|recent| recent.since)
    }

    /// A condition for a visibility query: only workflows that were started since then.
    pub(super) fn started(&self) -> String {
        self.since().map_or_else(String::new, |since| {
            format!(" AND StartTime >= '{}'", since.to_rfc3339_opts(SecondsFormat::Micros, true))
        })
    }

    /// The finding for a promise that only a proof of everything shows, in any other proof.
    pub(super) fn leaves_out(
        &self,
        invariant: &'static str,
        promise: &'static str,
    ) -> Option<Finding> {
        self.recent().map(|_| Finding::not_shown(invariant, promise, CUMULATIVE))
    }
}

impl Recent {
    async fn read(db: &mut PgConnection, hours: u16) -> Result<Self, sqlx::Error> {
        // By itself, so that the messages are found by their time: to find the lowest position,
        // Postgres would otherwise go through all positions from the first on.
        let from = sqlx::query!(
            r#"
            with message as materialized (
                select position from outbox.messages
                where created_at >= now() - make_interval(hours => $1)
            )
            select now() - make_interval(hours => $1) as "since!",
                (select coalesce(max(through), 0) from ledger.closings) as "closed_through!",
                (select coalesce(min(position), 9223372036854775807) from message)
                    as "first_message!"
            "#,
            i32::from(hours),
        )
        .fetch_one(&mut *db)
        .await?;
        let changed = sqlx::query!(
            r#"
            with changed as (
                select order_id from orders.order_events where occurred_at >= $1
                union
                select order_id from orders.orders where status = 'processing'
            )
            select order_id as "order_id!", record_version as "record_version?"
            from changed left join orders.orders using (order_id)
            order by order_id
            "#,
            from.since,
        )
        .fetch_all(db)
        .await?;
        let reservations = changed.iter().filter_map(|order| {
            let version = u32::try_from(order.record_version?).ok()?;
            Some(reservation(OrderId::of(order.order_id), version))
        });
        Ok(Self {
            since: from.since,
            reservations: reservations.collect(),
            orders: changed.iter().map(|order| order.order_id).collect(),
            closed_through: from.closed_through,
            first_message: from.first_message,
        })
    }
}

/// The key of an order's reservation.
fn reservation(order_id: OrderId, version: u32) -> String {
    StepKey { order_id, step: StepName::ReserveStock, version, attempt: 1 }.to_string()
}
