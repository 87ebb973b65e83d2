//! An order's events as text for people.

use chrono::{DateTime, SecondsFormat, Utc};
use domain::dispute::DisputeStatus;
use domain::event::{
    AttentionNeeded, Delivered, Disputed, OrderEvent as Happened, RefundEnded, RefundRequested,
    RefundReversed, Reviewed,
};
use domain::{Ending, OrderId, OrderStatus};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::app::orders::OrderEvent;
use crate::app::orders::{read, store};
use crate::error::Problem;
use crate::identity::Caller;

/// The maximum number of lines; the list of events shows more, in pages.
const LINES_MAX: i64 = 500;

/// An order's history as text.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Timeline {
    /// The order.
    pub(crate) order_id: OrderId,
    /// The order's current state.
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
    /// When it happened.
    pub(crate) at: DateTime<Utc>,
    /// The text.
    #[schema(example = "The payment was taken: 23.10 GBP")]
    pub(crate) text: String,
    /// The final status, if the order ended with this event.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "completed")]
    pub(crate) status: Option<&'static str>,
}

/// The order's timeline, if the caller may see the order.
pub(crate) async fn timeline(
    app: &App,
    caller: &Caller,
    order_id: OrderId,
) -> Result<Timeline, Problem> {
    let status = read::read(app, caller, order_id).await?.state.status;
    let events = store::events_after(&app.database, order_id, 0, LINES_MAX).await?;
    let lines = events.iter().map(TimelineLine::of).collect();
    Ok(Timeline { order_id, status, lines })
}

impl TimelineLine {
    /// The text of an event. An event type that this release does not know is shown by its name.
    pub(crate) fn of(event: &OrderEvent) -> Self {
        let (text, ended) = event.read().map_or_else(
            |_unknown| (event.kind.clone(), None),
            |happened| (sentence(&happened), happened.terminal_status()),
        );
        let status = ended.map(|status| status.name());
        Self { sequence: event.sequence, at: event.occurred_at, text, status }
    }
}

fn sentence(event: &Happened) -> String {
    match event {
        Happened::OrderPlaced(placed) => format!("The order was placed: {}", placed.totals.total),
        Happened::StockReserved(_) => "The goods were set aside".to_owned(),
        Happened::StockRefused(refused)
        | Happened::PaymentDeclined(refused)
        | Happened::PaymentExpired(refused)
        | Happened::ShipmentRefused(refused) => format!("Refused: {}", refused.rejection),
        Happened::StockReleased(_) => "The goods were given back to the stock".to_owned(),
        Happened::ReservationExpired(_) => {
            "The goods were held for too long and given back".to_owned()
        }
        Happened::ReviewNeeded(asked) => {
            let until = asked.until.to_rfc3339_opts(SecondsFormat::Secs, true);
            format!("A person of the shop looks at the order by {until}")
        }
        Happened::OrderReviewed(reviewed) => looked_at(reviewed),
        Happened::PaymentAwaitingCustomer(awaiting) => {
            let until = awaiting.until.to_rfc3339_opts(SecondsFormat::Secs, true);
            format!("The customer has to approve the payment of {} by {until}", awaiting.amount)
        }
        Happened::PaymentAuthorised(moved) => {
            format!("The payment was set aside: {}", moved.amount)
        }
        Happened::PaymentCaptured(moved) => format!("The payment was taken: {}", moved.amount),
        Happened::PaymentVoided(moved) => format!("The payment was let go: {}", moved.amount),
        Happened::PaymentRefunded(moved) => format!("The payment was refunded: {}", moved.amount),
        Happened::LedgerPosted(_) => "The payment was booked".to_owned(),
        Happened::LedgerReversed(_) => "The booking was reversed".to_owned(),
        Happened::RevenueRecognised(_) => "The sale was booked as revenue".to_owned(),
        Happened::OrderShipped(parcel) => {
            format!("The parcel was handed over as {}", parcel.tracking)
        }
        Happened::ShipmentCancelled(parcel) => {
            format!("The parcel {} was recalled", parcel.tracking)
        }
        Happened::OrderDelivered(delivery) => delivered(delivery),
        Happened::OrderUnwinding(unwinding) => {
            format!("Everything done so far is being undone: {}", cause(&unwinding.ending))
        }
        Happened::AttentionNeeded(needed) => waits(needed),
        Happened::AttentionResolved(made) => {
            format!("{} decided {} for {}: {}", made.by, made.decision, made.step, made.why)
        }
        Happened::OrderCompleted(_) => "The order is completed".to_owned(),
        Happened::OrderCancelled(cancelled) => {
            format!("The order was cancelled: {}", cancelled.reason)
        }
        Happened::OrderRejected(refused) => {
            format!("The order was rejected: {}", refused.rejection)
        }
        Happened::OrderFailed(failed) => {
            format!("A fault stopped the order, incident {}", failed.incident)
        }
        Happened::RefundRequested(refund) => asked_back(refund),
        Happened::RefundSucceeded(refund) => {
            format!("{} was given back (refund {})", refund.amount, refund.number)
        }
        Happened::RefundFailed(refund) | Happened::RefundCancelled(refund) => not_given(refund),
        Happened::RefundReversed(refund) => came_back(refund),
        Happened::RefundPosted(_) => "The refund was booked".to_owned(),
        Happened::DisputeOpened(dispute)
        | Happened::DisputeUpdated(dispute)
        | Happened::DisputeClosed(dispute) => disputed(dispute),
        Happened::DisputeReleased(released) => {
            format!("{} has dealt with dispute {}: {}", released.by, released.number, released.why)
        }
        Happened::DisputePosted(_) => "What the dispute moved was booked".to_owned(),
    }
}

fn waits(needed: &AttentionNeeded) -> String {
    let doing = if needed.undoing { "undone" } else { "done" };
    format!("{} cannot be {doing} and waits for an operator: {}", needed.step, needed.why)
}

fn disputed(Disputed { number, status, amount, reason, .. }: &Disputed) -> String {
    let what = match status {
        DisputeStatus::WarningNeedsResponse => "the customer's bank asks about the payment",
        DisputeStatus::WarningUnderReview => "the customer's bank looks at the answer",
        DisputeStatus::WarningClosed => "the customer's bank leaves it at the question",
        DisputeStatus::NeedsResponse => "the customer's bank has taken the payment back",
        DisputeStatus::UnderReview => "the customer's bank looks at the evidence",
        DisputeStatus::Prevented => "the payment provider has dealt with it before",
        DisputeStatus::Lost => "lost, the customer keeps the money",
        DisputeStatus::Won => "won, the money is the shop's",
    };
    format!("Dispute {number} about {amount} ({reason}): {what}")
}

fn looked_at(Reviewed { decision, by_default }: &Reviewed) -> String {
    let by = if *by_default { "because nobody did in time" } else { "by a person" };
    format!("The order was looked at: {decision}, {by}")
}

fn delivered(Delivered { tracking, delivered_at, reported_by }: &Delivered) -> String {
    let at = delivered_at.to_rfc3339_opts(SecondsFormat::Secs, true);
    format!("The parcel {tracking} was delivered at {at}, {reported_by} reported")
}

fn asked_back(refund: &RefundRequested) -> String {
    let RefundRequested { number, amount, reason, requested_by, .. } = refund;
    format!("{requested_by} asked for {amount} to be given back (refund {number}): {reason}")
}

fn not_given(RefundEnded { number, amount, why }: &RefundEnded) -> String {
    format!("{amount} was not given back (refund {number}): {why}")
}

fn came_back(RefundReversed { number, amount, why, .. }: &RefundReversed) -> String {
    format!("{amount} did not reach the customer and came back (refund {number}): {why}")
}

fn cause(ending: &Ending) -> String {
    match ending {
        Ending::Cancelled { reason } => format!("cancelled, {reason}"),
        Ending::Rejected { rejection } => rejection.to_string(),
        Ending::Failed { incident } => format!("a fault, incident {incident}"),
    }
}
