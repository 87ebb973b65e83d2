//! The orders that wait for a person's decision.

use domain::{Attention, CustomerId, OrderId};
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;

use super::{AttentionCursor, Waiting};
use crate::error::{OrProblem, Problem};

#[derive(Debug, thiserror::Error)]
#[error("order {0} waits, and its customer id is not valid")]
struct BadCustomer(Uuid);

/// The orders that wait, the longest waiting first, after the cursor; at most so many.
pub(super) async fn waiting(
    database: &PgPool,
    after: Option<&AttentionCursor>,
    most: i64,
) -> Result<Vec<Waiting>, Problem> {
    const DOING: &str = "reading the orders that wait for a person";
    let rows = sqlx::query!(
        r#"select order_id, customer_id, attention as "attention!: Json<Attention>",
               attention ->> 'since' as "since!"
           from orders.orders
           where attention is not null
             and ((attention ->> 'since'), order_id)
                 > (coalesce($1, ''), coalesce($2, '00000000-0000-0000-0000-000000000000'::uuid))
           order by (attention ->> 'since'), order_id
           limit $3"#,
        after.map(|after| after.since.as_str()),
        after.map(|after| after.order_id),
        most,
    )
    .fetch_all(database)
    .await
    .or_problem(DOING)?;
    let waiting = rows.into_iter().map(|row| {
        let customer_id = CustomerId::parse(row.customer_id)
            .map_err(|_wrong| Problem::internal(DOING, &BadCustomer(row.order_id)))?;
        Ok(Waiting {
            order_id: OrderId::of(row.order_id),
            customer_id,
            attention: row.attention.0,
            since: row.since,
        })
    });
    waiting.collect()
}

/// An order that waits, and which of its waits it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occurrence {
    pub(super) order_id: Uuid,
    pub(super) occurrence: i32,
}

/// The orders that wait at this step and whose reason begins with this, the longest waiting first;
/// at most so many.
pub(super) async fn waiting_alike(
    database: &PgPool,
    step: &str,
    cause: &str,
    most: i64,
) -> Result<Vec<Occurrence>, Problem> {
    sqlx::query_as!(
        Occurrence,
        r#"select order_id, (attention ->> 'occurrence')::integer as "occurrence!"
           from orders.orders
           where attention is not null
             and attention ->> 'step' = $1 and starts_with(attention ->> 'why', $2)
           order by (attention ->> 'since'), order_id
           limit $3"#,
        step,
        cause,
        most,
    )
    .fetch_all(database)
    .await
    .or_problem("reading the orders that wait for the same reason")
}
