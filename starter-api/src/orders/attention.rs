//! `GET /v1/attention`: which orders wait for a person?

use axum::Json;
use axum::extract::State as Shared;
use chrono::{DateTime, Utc};
use domain::{CustomerId, OrderId, OrderStatus};
use serde::Serialize;
use sqlx::types::Json as Column;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::identity::access::{May, scope};
use crate::problem::{Guarded, OrProblem, Problem, ReadProblems};
use crate::state::State;

/// How many orders one answer names. Where more wait, the first have to be seen to first.
const MOST: i32 = 100;

/// An order that waits for a person.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Waiting {
    /// The order.
    order_id: OrderId,
    /// Whose.
    customer_id: Option<CustomerId>,
    /// Where it stands. `stuck` says at which step, and why; any other status says that not even
    /// that could be put on record.
    #[serde(flatten)]
    status: Option<OrderStatus>,
    /// Since when.
    since: Option<DateTime<Utc>>,
}

/// The orders that wait.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Attention {
    /// Who has waited longest comes first; a hundred at most.
    items: Vec<Waiting>,
}

struct Row {
    order_id: Uuid,
    customer_id: Option<String>,
    status: Option<Column<OrderStatus>>,
    since: Option<DateTime<Utc>>,
}

/// Lists the orders that wait for a person to decide, with the reason.
///
/// The order engine knows which those are, also where the record could not be written.
#[utoipa::path(
    get, path = "/v1/attention", tag = "operators", security(("bearer" = ["orders:resolve"])),
    responses((status = 200, description = "The orders that wait", body = Attention),
              Guarded, ReadProblems),
)]
pub(crate) async fn attention(
    _allowed: May<scope::ResolveOrders>,
    Shared(state): Shared<State>,
) -> Result<Json<Attention>, Problem> {
    let orders = state.temporal.needing_attention(MOST).await?;
    let ids: Vec<_> = orders.iter().map(|order| order.uuid()).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"select waiting.order_id as "order_id!", customer_id as "customer_id?",
               status_data as "status?: Column<OrderStatus>", updated_at as "since?"
           from unnest($1::uuid[]) as waiting (order_id) left join orders.orders using (order_id)
           order by updated_at, order_id"#,
        &ids,
    )
    .fetch_all(&state.database)
    .await
    .or_problem("reading the orders that wait")?;
    let items = rows.into_iter().map(|row| Waiting {
        order_id: OrderId::of(row.order_id),
        customer_id: row.customer_id.and_then(|customer| CustomerId::parse(customer).ok()),
        status: row.status.map(|status| status.0),
        since: row.since,
    });
    Ok(Json(Attention { items: items.collect() }))
}
