//! Reads one order.

use domain::{OrderId, OrderStatus};

use crate::app::App;
use crate::app::orders::{OrderResource, StoredOrder, store};
use crate::error::Problem;
use crate::identity::Caller;

/// The order, if the caller may see it. Another customer's order is answered like one that does
/// not exist, so that nobody learns of it.
pub(crate) async fn read(
    app: &App,
    caller: &Caller,
    order_id: OrderId,
) -> Result<OrderResource, Problem> {
    let stored = find(app, order_id).await?;
    let visible = stored.filter(|stored| caller.sees(&stored.resource.customer_id));
    visible.map(|stored| stored.resource).ok_or_else(Problem::order_not_found)
}

/// The order from its record, or from its workflow if it is not on record yet. The record comes
/// first: it outlives the workflow.
pub(crate) async fn find(app: &App, order_id: OrderId) -> Result<Option<StoredOrder>, Problem> {
    match store::find(&app.database, order_id).await? {
        Some(stored) => Ok(Some(stored)),
        None => accepted(app, order_id).await,
    }
}

/// The order as its workflow was started with it. Nothing has been done yet for an order that is
/// not on record.
pub(crate) async fn accepted(app: &App, order_id: OrderId) -> Result<Option<StoredOrder>, Problem> {
    let order = app.temporal.order_of(order_id).await?;
    Ok(order.map(|order| StoredOrder {
        request_hash: order.request_hash.as_str().to_owned(),
        resource: OrderResource::of(order, OrderStatus::Processing),
    }))
}
