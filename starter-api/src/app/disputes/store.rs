//! SQL for disputes.

use chrono::{DateTime, Utc};
use domain::OrderId;
use rust_decimal::Decimal;
use sqlx::PgPool;
use uuid::Uuid;

use super::DisputeResource;
use crate::app::money::stored_money;
use crate::error::{OrProblem, Problem};

/// Reads disputes as [`Row`]s: every query selects the same columns.
macro_rules! disputes_where {
    ($condition:literal, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            Row,
            "select position, dispute_id, order_id, number, status, currency, amount, reason,
                 evidence_due, opened_at, updated_at, released_by
             from payments.disputes " + $condition,
            $($argument),+
        )
    };
}

/// A dispute, as stored.
struct Row {
    position: i64,
    dispute_id: String,
    order_id: Uuid,
    number: i32,
    status: String,
    currency: String,
    amount: Decimal,
    reason: String,
    evidence_due: Option<DateTime<Utc>>,
    opened_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    released_by: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("dispute {0} is not valid as stored")]
struct BadDispute(i64);

impl TryFrom<Row> for DisputeResource {
    type Error = Problem;

    fn try_from(row: Row) -> Result<Self, Problem> {
        let position = row.position;
        let read = read(row);
        read.ok_or_else(|| Problem::internal("reading a dispute", &BadDispute(position)))
    }
}

fn read(row: Row) -> Option<DisputeResource> {
    Some(DisputeResource {
        dispute_id: row.dispute_id,
        order_id: OrderId::of(row.order_id),
        number: u32::try_from(row.number).ok()?,
        status: row.status.parse().ok()?,
        amount: stored_money(row.amount, &row.currency)?,
        reason: row.reason,
        evidence_due: row.evidence_due,
        opened_at: row.opened_at,
        updated_at: row.updated_at,
        released_by: row.released_by,
        position: row.position,
    })
}

/// The disputes of a page, plus one if there is a next page.
pub(super) async fn page(
    database: &PgPool,
    is_open: Option<bool>,
    before: Option<i64>,
    most: i64,
) -> Result<Vec<DisputeResource>, Problem> {
    let rows = disputes_where!(
        "where position < coalesce($1, 9223372036854775807)
             and ($2::boolean is null or is_open = $2)
         order by position desc limit $3",
        before,
        is_open,
        most,
    )
    .fetch_all(database)
    .await
    .or_problem("listing disputes")?;
    rows.into_iter().map(DisputeResource::try_from).collect()
}

/// The order's disputes, the oldest first.
pub(super) async fn of(
    database: &PgPool,
    order_id: OrderId,
) -> Result<Vec<DisputeResource>, Problem> {
    let rows = disputes_where!("where order_id = $1 order by number", order_id.uuid())
        .fetch_all(database)
        .await
        .or_problem("reading an order's disputes")?;
    rows.into_iter().map(DisputeResource::try_from).collect()
}

/// Whether the order had an open dispute that nobody had released, or that the same person had
/// released with the same reason.
pub(super) async fn release(
    database: &PgPool,
    order_id: OrderId,
    number: u32,
    by: &str,
    why: &str,
) -> Result<bool, Problem> {
    // A number outside the column's range matches no dispute.
    let Ok(number) = i32::try_from(number) else { return Ok(false) };
    sqlx::query_scalar!(
        r#"with outcome as (select payments.release_dispute($1, $2, $3, $4) = 'released' as is_now)
           select is_now or exists (
               select from payments.disputes
               where order_id = $1 and number = $2 and released_by = $3 and released_why = $4
           ) as "is_released!" from outcome"#,
        order_id.uuid(),
        number,
        by,
        why,
    )
    .fetch_one(database)
    .await
    .or_problem("dealing with a dispute")
}
