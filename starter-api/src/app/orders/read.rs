//! Reads one order.

use domain::OrderId;

use crate::app::App;
use crate::app::orders::{OrderResource, StoredOrder};
use crate::error::Problem;
use crate::identity::Caller;

/// The order, if the caller may see it. Another customer's order is answered like an unknown one,
/// so that its existence is not revealed.
pub(crate) async fn read(
    app: &App,
    caller: &Caller,
    order_id: OrderId,
) -> Result<OrderResource, Problem> {
    let row = app.order_rows.one("reading an order", order_id.uuid()).await?;
    let stored = row.map(StoredOrder::try_from).transpose()?;
    let visible = stored.filter(|stored| caller.sees(&stored.resource.customer_id));
    visible.map(|stored| stored.resource).ok_or_else(Problem::order_not_found)
}
