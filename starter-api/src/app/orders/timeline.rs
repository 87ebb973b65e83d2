//! What happened to an order, in words for people.

use chrono::{DateTime, Utc};
use domain::{OrderId, OrderStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::App;
use crate::app::orders::OrderEvent;
use crate::app::orders::{read, store};
use crate::error::Problem;
use crate::identity::Caller;

/// The list of events shows more lines, in pages.
const LINES_MAX: i64 = 500;

/// An order's history in words.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Timeline {
    /// The order.
    pub(crate) order_id: OrderId,
    /// Where the order stands now.
    #[serde(skip)]
    #[schema(ignore)]
    pub(crate) status: OrderStatus,
    /// Oldest first, at most 500 lines.
    #[serde(rename = "timeline")]
    pub(crate) lines: Vec<TimelineLine>,
}

/// One line of a timeline.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Line)]
pub(crate) struct TimelineLine {
    /// The number of the event that it describes.
    pub(crate) sequence: i32,
    /// When.
    pub(crate) at: DateTime<Utc>,
    /// What happened.
    #[schema(example = "The payment was taken: 23.10 GBP")]
    pub(crate) text: String,
    /// The order's status from then on, if the event changed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "paid")]
    pub(crate) status: Option<String>,
}

/// What happened to the order, if the caller may see it.
pub(crate) async fn timeline(
    app: &App,
    caller: &Caller,
    order_id: OrderId,
) -> Result<Timeline, Problem> {
    let status = read::read(app, caller, order_id).await?.status;
    let events = store::events_after(&app.database, order_id, 0, LINES_MAX).await?;
    let lines = events.iter().map(TimelineLine::of).collect();
    Ok(Timeline { order_id, status, lines })
}

impl TimelineLine {
    /// The event in words.
    pub(crate) fn of(event: &OrderEvent) -> Self {
        let status = event.data.pointer("/status/status").and_then(Value::as_str);
        Self {
            sequence: event.sequence,
            at: event.occurred_at,
            text: sentence(&event.kind, &event.data),
            status: status.map(str::to_owned),
        }
    }
}

/// The parts of an event that a sentence names.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Particulars {
    amount: Option<domain::Money>,
    totals: Option<domain::Totals>,
    status: Option<OrderStatus>,
    rejection: Option<domain::Rejection>,
    tracking: Option<String>,
    remark: Option<String>,
}

/// The event as a sentence. A kind that is newer than this code is shown by its name.
fn sentence(kind: &str, data: &Value) -> String {
    // An event of another shape is shown without its particulars, not withheld.
    let particulars = Particulars::deserialize(data).unwrap_or_default();
    let of = |amount: Option<domain::Money>| amount.map(|it| format!(": {it}")).unwrap_or_default();
    let refused = || {
        particulars
            .rejection
            .as_ref()
            .map_or_else(|| kind.to_owned(), |no| format!("Refused: {no}"))
    };
    let parcel =
        particulars.tracking.as_ref().map(|number| format!(" as {number}")).unwrap_or_default();
    match kind {
        "order.placed" => {
            format!("The order was placed{}", of(particulars.totals.map(|totals| totals.total)))
        }
        "stock.reserved" => "The goods were set aside".to_owned(),
        "stock.refused" | "payment.declined" | "shipment.refused" => refused(),
        "stock.released" => "The goods were given back to the stock".to_owned(),
        "stock.reservation-expired" => "The goods were held for too long and given back".to_owned(),
        "payment.captured" => format!("The payment was taken{}", of(particulars.amount)),
        "payment.refunded" => format!("The payment was refunded{}", of(particulars.amount)),
        "payment.voided" => format!("The authorised payment was let go{}", of(particulars.amount)),
        "ledger.posted" => "The payment was booked".to_owned(),
        "ledger.reversed" => "The booking was reversed".to_owned(),
        "ledger.revenue-recognised" => "The sale was booked as revenue".to_owned(),
        "order.shipped" => format!("The parcel was handed over{parcel}"),
        "shipment.cancelled" => format!("The parcel{parcel} was called off"),
        _ => transition(kind, particulars.status, particulars.remark),
    }
}

/// A transition that no step's own effect describes.
fn transition(kind: &str, status: Option<OrderStatus>, remark: Option<String>) -> String {
    let remark = remark.map(|remark| format!(" ({remark})")).unwrap_or_default();
    let sentence = match status {
        Some(OrderStatus::Unwinding) if remark.is_empty() => {
            "Everything done so far is being taken back".to_owned()
        }
        Some(OrderStatus::Unwinding | OrderStatus::Shipped { .. }) => {
            "The order goes on".to_owned()
        }
        Some(OrderStatus::Cancelled { reason }) => format!("The order was cancelled: {reason}"),
        Some(OrderStatus::Rejected { rejection }) => format!("The order was refused: {rejection}"),
        Some(OrderStatus::Stuck { step, .. }) => {
            format!("The order is stuck at {step} and waits for an operator")
        }
        Some(OrderStatus::Failed { incident }) => {
            format!("A fault stopped the order, incident {incident}")
        }
        Some(
            OrderStatus::Processing
            | OrderStatus::Reserved
            | OrderStatus::Paid
            | OrderStatus::Posted,
        )
        | None => kind.to_owned(),
    };
    sentence + &remark
}
