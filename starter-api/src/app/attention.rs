//! Which orders wait for a person?

use chrono::{DateTime, Utc};
use domain::{CustomerId, OrderId, OrderStatus};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::app::orders::store;
use crate::error::Problem;

/// How many orders one answer names. Where more wait, the first have to be resolved first.
const ORDERS_MAX: i32 = 100;

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
