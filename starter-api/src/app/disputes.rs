//! Disputes of customers' banks, for staff. The bank decides a dispute; the worker records the
//! decision.

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
    /// The disputed amount.
    pub(crate) amount: Money,
    /// The bank's reason code.
    #[schema(example = "fraudulent")]
    pub(crate) reason: String,
    /// The deadline for the shop's answer at the payment provider, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) evidence_due: Option<DateTime<Utc>>,
    /// When the shop learned of it.
    pub(crate) opened_at: DateTime<Utc>,
    /// When it changed last.
    pub(crate) updated_at: DateTime<Utc>,
    /// Who has released it, if somebody has: no parcel is held for it any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "eve")]
    pub(crate) released_by: Option<String>,
    /// The cursor.
    #[serde(skip)]
    #[schema(ignore)]
    pub(crate) position: i64,
}

/// A page of all disputes before the cursor, newest first: open ones, decided ones, or both.
pub(crate) async fn list(
    app: &App,
    is_open: Option<bool>,
    before: Option<i64>,
    size: PageSize,
) -> Result<Page<DisputeResource>, Problem> {
    let disputes = store::page(&app.database, is_open, before, size.to_read()).await?;
    Ok(Page::of(disputes, size, |dispute| dispute.position.to_string()))
}

/// The order, with its disputes if the caller may see them.
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

/// Records that somebody has dealt with an open dispute of the order; returns whether there was
/// one.
///
/// **Repeats.** A dispute is released once, until it has to be answered again. The same person with
/// the same reason gets the same answer.
pub(crate) async fn release(
    app: &App,
    order_id: OrderId,
    number: u32,
    by: &str,
    why: &str,
) -> Result<bool, Problem> {
    store::release(&app.database, order_id, number, by, why).await
}
