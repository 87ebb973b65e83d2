//! The orders that wait for an operator.

use chrono::{DateTime, Utc};
use domain::{CustomerId, OrderId, OrderStatus};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::app::orders::store;
use crate::error::Problem;

/// How many orders one answer names. Where more wait, the first have to be resolved first.
const ORDERS_MAX: i32 = 100;

/// An order that waits for an operator.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Waiting {
    /// The order.
    order_id: OrderId,
    /// Who ordered.
    customer_id: Option<CustomerId>,
    /// Its status. `stuck` says at which step, and why; any other status means that even this could
    /// not be recorded.
    #[serde(flatten)]
    status: Option<OrderStatus>,
    /// Since when.
    since: Option<DateTime<Utc>>,
}

/// The orders that wait.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Attention {
    /// The longest waiting first; a hundred at most.
    items: Vec<Waiting>,
}

/// The orders that wait for a decision. Temporal knows which those are, even where the record
/// could not be written.
pub(crate) async fn attention(app: &App) -> Result<Attention, Problem> {
    let orders = app.temporal.needing_attention(ORDERS_MAX).await?;
    let rows = store::waiting(&app.database, &orders).await?;
    let items = rows.into_iter().map(|row| Waiting {
        order_id: OrderId::of(row.order_id),
        customer_id: row.customer_id.and_then(|customer| CustomerId::parse(customer).ok()),
        status: row.status.map(|status| status.0),
        since: row.since,
    });
    Ok(Attention { items: items.collect() })
}
