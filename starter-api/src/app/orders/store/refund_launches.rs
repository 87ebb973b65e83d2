//! SQL for the launch rows of refunds.

use domain::OrderId;
use domain::refund::RefundId;
use sqlx::PgPool;
use uuid::Uuid;
use workflows::refund::RefundStart;

/// A refund whose launch is due, as stored.
#[derive(Debug)]
pub(crate) struct DueRefund {
    order_id: Uuid,
    number: i32,
    record_version: i32,
    pub(crate) is_recovery: bool,
    /// Whether it has not ended.
    pub(crate) is_open: bool,
}

impl DueRefund {
    /// The workflow's input.
    pub(crate) fn start(&self) -> RefundStart {
        // Numbers in the database start at 1.
        let counted = |number: i32| u32::try_from(number).unwrap_or_default();
        let (order_id, number) = (OrderId::of(self.order_id), counted(self.number));
        RefundStart {
            refund: RefundId { order_id, number },
            record_version: counted(self.record_version),
        }
    }
}

/// Claims due refunds, oldest first. The claim is a lease of ten seconds, in which no other starter
/// takes them.
pub(crate) async fn claim(database: &PgPool, most: i64) -> Result<Vec<DueRefund>, sqlx::Error> {
    sqlx::query_as!(
        DueRefund,
        r#"with due as (
               select order_id, number from orders.refund_launches where not_before <= now()
               order by requested_at limit $1 for update skip locked
           ), claimed as (
               update orders.refund_launches as launch set not_before = now() + interval '10 s'
               from due where (launch.order_id, launch.number) = (due.order_id, due.number)
               returning launch.order_id, launch.number, launch.is_recovery
           )
           select claimed.order_id as "order_id!", claimed.number as "number!",
               known.record_version as "record_version!", is_recovery as "is_recovery!",
               asked.state in ('requested', 'pending') as "is_open!"
           from claimed
           join payments.refund_requests as asked
               on (asked.order_id, asked.number) = (claimed.order_id, claimed.number)
           join orders.orders as known on known.order_id = claimed.order_id"#,
        most,
    )
    .fetch_all(database)
    .await
}

/// Deletes the launch row of a refund that has its workflow or has ended. A row that `recover` has
/// renewed since it was claimed stays.
pub(crate) async fn settle(database: &PgPool, due: &DueRefund) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from orders.refund_launches
         where order_id = $1 and number = $2 and is_recovery = $3",
        due.order_id,
        due.number,
        due.is_recovery,
    )
    .execute(database)
    .await
    .map(|_deleted| ())
}

/// Postpones a launch that failed because of the refund itself, with exponential backoff up to ten
/// minutes.
pub(crate) async fn fail(database: &PgPool, due: &DueRefund, why: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update orders.refund_launches
         set attempts = attempts + 1, last_error = $3,
             not_before = now() + least(interval '10 min', interval '1 s' * 2 ^ least(attempts, 10))
         where order_id = $1 and number = $2",
        due.order_id,
        due.number,
        why,
    )
    .execute(database)
    .await
    .map(|_failed| ())
}
