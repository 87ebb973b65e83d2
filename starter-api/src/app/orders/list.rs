//! Lists orders, newest first.

use crate::app::App;
use crate::app::orders::OrderResource;
use crate::app::orders::filter::{ListOrders, OrderCursor};
use crate::app::orders::store::pages::{self, Found};
use crate::app::paging::Page;
use crate::error::Problem;
use crate::identity::Caller;

fn cursor_after(order: &OrderResource) -> String {
    OrderCursor { placed_at: order.placed_at, order_id: order.order_id.uuid() }.into()
}

/// A page of the orders that the caller may see.
///
/// It may have fewer orders than requested, or none, and still a cursor: a scan stops after a
/// bounded number of orders ([`Found::looked_through`]).
pub(crate) async fn list(
    app: &App,
    caller: &Caller,
    listing: &ListOrders,
) -> Result<Page<OrderResource>, Problem> {
    let customer = match (caller.customer(), &listing.customer_id) {
        // Another customer's orders are answered like an empty list, so that their existence is not
        // revealed.
        (Some(own), Some(asked)) if own != asked => {
            return Ok(Page { items: Vec::new(), next_cursor: None });
        }
        (Some(customer), _) | (None, Some(customer)) => Some(customer),
        (None, None) => None,
    };
    let Found { orders, looked_through } = pages::page(&app.database, customer, listing).await?;
    let mut page = Page::of(orders, listing.size, cursor_after);
    page.next_cursor = page.next_cursor.or_else(|| looked_through.map(String::from));
    Ok(page)
}
