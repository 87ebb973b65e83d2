//! Lists an order's events.

use domain::OrderId;

use crate::app::App;
use crate::app::orders::{OrderEvent, read, store};
use crate::app::paging::{Page, PageSize};
use crate::error::Problem;
use crate::identity::Caller;

/// A page of the order's events after this sequence number.
pub(crate) async fn list(
    app: &App,
    caller: &Caller,
    order_id: OrderId,
    after: i32,
    size: PageSize,
) -> Result<Page<OrderEvent>, Problem> {
    read::read(app, caller, order_id).await?;
    let events = store::events_after(&app.database, order_id, after, size.to_read()).await?;
    Ok(Page::of(events, size, |event| event.sequence.to_string()))
}
