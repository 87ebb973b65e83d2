//! Disputes of customers' banks, as staff see them. What becomes of one is decided by the bank; the
//! worker puts that on record.

mod store;

use chrono::{DateTime, Utc};
use domain::dispute::DisputeStatus;
use domain::{Money, OrderId};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::app::orders::OrderResource;
use crate::app::paging::{Page, PageSize};
use crate::error::Problem;
use crate::identity::Caller;
use crate::identity::scope::Scope;

/// A dispute of a customer's bank about a payment.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Dispute)]
pub(crate) struct DisputeResource {
    /// The payment provider's own id for it.
    #[schema(example = "dp_1MtJUT2eZvKYlo2CNaw2HvEv")]
    pub(crate) dispute_id: String,
    /// The order whose payment it is about.
    pub(crate) order_id: OrderId,
    /// Counts the order's disputes, from 1.
    #[schema(example = 1)]
    pub(crate) number: u32,
    /// Where it stands.
    pub(crate) status: DisputeStatus,
    /// How much is disputed.
    pub(crate) amount: Money,
    /// The bank's word for why.
    #[schema(example = "fraudulent")]
    pub(crate) reason: String,
    /// Until when the shop can answer, at the payment provider, if there is such a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) evidence_due: Option<DateTime<Utc>>,
    /// When the shop heard of it.
    pub(crate) opened_at: DateTime<Utc>,
    /// When it changed last.
    pub(crate) updated_at: DateTime<Utc>,
    /// Who has dealt with it, if somebody has: a parcel is not held for it any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "eve")]
    pub(crate) released_by: Option<String>,
    /// The cursor.
    #[serde(skip)]
    #[schema(ignore)]
    pub(crate) position: i64,
}

/// A page of all disputes, the newest first, before this one: those that are open, those that are
/// decided, or both.
pub(crate) async fn list(
    app: &App,
    is_open: Option<bool>,
    before: Option<i64>,
    size: PageSize,
) -> Result<Page<DisputeResource>, Problem> {
    let disputes = store::page(&app.database, is_open, before, size.to_read()).await?;
    Ok(Page::of(disputes, size, |dispute| dispute.position.to_string()))
}

/// The order, with its disputes for a caller who may see them.
pub(crate) async fn shown_with(
    app: &App,
    caller: &Caller,
    order: OrderResource,
) -> Result<OrderResource, Problem> {
    if !caller.has(Scope::ReadDisputes) {
        return Ok(order);
    }
    let disputes = store::of(&app.database, order.order_id).await?;
    Ok(OrderResource { disputes, ..order })
}

/// Puts on record that somebody has dealt with an open dispute of the order; whether there is one.
///
/// **Repeats.** A dispute is dealt with once, until it has to be answered anew. The same person with
/// the same reason gets the same answer again.
pub(crate) async fn release(
    app: &App,
    order_id: OrderId,
    number: u32,
    by: &str,
    why: &str,
) -> Result<bool, Problem> {
    store::release(&app.database, order_id, number, by, why).await
}
