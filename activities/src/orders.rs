//! The order on record: its first event, its notes, and what an event is.

use domain::{OrderStatus, Placement, StatusNote};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::ActivityFault;
use crate::step_keys::{Claim, Outcome};

/// Something that happened to an order, as `orders.record` takes it.
///
/// **Shape.** A turn in the order's life carries the new status under `status`. No personal
/// data: events leave the house.
pub(crate) struct Event {
    pub(crate) kind: &'static str,
    pub(crate) data: Value,
}

/// Puts the order on record.
///
/// **Errors.** Broken: another order is on record under this id, or this one is and has not
/// come to nothing.
/// **Repeats.** The key is the order's own; the same placement is one row and one event. A new
/// course of an order that came to nothing has a new generation, and starts it anew.
pub async fn open(db: &PgPool, placement: &Placement) -> Result<(), ActivityFault> {
    let claim = Claim::of(placement.key, placement)?;
    let event = Event { kind: "order.placed", data: told_of(placement)? };
    let recorded = claim.conclude(db, Outcome::Done(()), event).await?;
    claim.answer(db, recorded).await
}

/// Everything the order's row can be told anew from. The payment token stays out: it is of use
/// to nobody but the step that charges.
fn told_of(placement: &Placement) -> Result<Value, ActivityFault> {
    let mut data = serde_json::to_value(&placement.order)
        .map_err(|error| ActivityFault::broken("writing an order down", error))?;
    if let Some(told) = data.as_object_mut() {
        told.remove("payment_token");
        told.insert("status".to_owned(), json!(OrderStatus::Processing));
    }
    Ok(data)
}

/// Writes down a turn that no step's own effect records, with who decided it and why.
///
/// **Repeats.** The key is the order's and the note's number. A turn that the order's life does
/// not have is kept as an event and leaves the order where it stands.
pub async fn note_status(db: &PgPool, note: &StatusNote) -> Result<(), ActivityFault> {
    let claim = Claim::of_note(note)?;
    let data = json!({ "status": note.status, "remark": note.remark });
    let event = Event { kind: kind_of(note)?, data };
    let recorded = claim.conclude(db, Outcome::Done(()), event).await?;
    claim.answer(db, recorded).await
}

fn kind_of(note: &StatusNote) -> Result<&'static str, ActivityFault> {
    Ok(match (&note.status, &note.remark) {
        // Only an operator's decision about a stuck order has a remark.
        (OrderStatus::Unwinding | OrderStatus::Shipped { .. }, Some(_)) => "order.resumed",
        (OrderStatus::Unwinding, None) => "order.unwinding",
        (OrderStatus::Cancelled { .. }, _) => "order.cancelled",
        (OrderStatus::Rejected { .. }, _) => "order.rejected",
        (OrderStatus::Stuck { .. }, _) => "order.stuck",
        (OrderStatus::Failed { .. }, _) => "order.failed",
        (
            OrderStatus::Processing
            | OrderStatus::Reserved
            | OrderStatus::Paid
            | OrderStatus::Posted
            | OrderStatus::Shipped { .. },
            _,
        ) => {
            let name = note.status.name();
            return Err(ActivityFault::broken(
                "noting a status",
                format!("`{name}` is told by the step that makes it so, not by a note"),
            ));
        }
    })
}
