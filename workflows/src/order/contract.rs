//! The order's contract table: every activity it asks for, with its name on the wire, its queue
//! and its time limits. A step and its undo stand on one row and take the same reference.

use std::time::Duration;

use domain::screening::ScreeningAnswer;
use domain::{
    AuthorisationAnswer, Decision, Ending, OrderId, OrderStatus, Shipment, StepKey, StepName,
};
use serde::{Deserialize, Serialize};

use crate::Queue;

/// Nothing limits the patience of what lies past the point of no return.
const FOR_EVER: Option<Duration> = None;

const TEN_MINUTES: Option<Duration> = Some(Duration::from_mins(10));

const AN_HOUR: Option<Duration> = Some(Duration::from_hours(1));

/// From now on the order is unwound. Answered with the ending that counts: of two runs of an order
/// that stop for different reasons, the first one's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnwindingNote {
    /// The order.
    pub order_id: OrderId,
    /// How it is to end.
    pub ending: Ending,
}

/// The order has ended. Answered with the status that counts, as for [`UnwindingNote`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndNote {
    /// The order.
    pub order_id: OrderId,
    /// Its terminal status.
    #[serde(flatten)]
    pub status: OrderStatus,
}

/// A step of the order needs a person. Answered with the number of the occurrence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttentionNote {
    /// The order.
    pub order_id: OrderId,
    /// The workflow run that says so.
    pub run_id: String,
    /// Counts the run's notes; with the run, it makes the note idempotent.
    pub number: u32,
    /// Which step.
    pub step: StepName,
    /// Whether the step is being undone, or must be done.
    pub undoing: bool,
    /// What went wrong, as far as it may be shown.
    pub why: String,
    /// What can be decided.
    pub decisions: Vec<Decision>,
}

/// A person has decided, or a retry that the saga made by itself has succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedNote {
    /// The order.
    pub order_id: OrderId,
    /// The step that was decided about.
    pub step: StepName,
    /// The occurrence that was decided about; with the order, it makes the note idempotent.
    pub occurrence: u32,
    /// What was decided.
    pub decision: Decision,
    /// Who decided.
    pub by: String,
    /// Why.
    pub why: String,
}

saga::contract! {
    /// Sets the order's stock aside, all of it or nothing. Refused as out of stock.
    step "reserve-stock": ReserveStock(StepKey) -> (), undone by ReleaseStock,
        on Queue::Orders.name(), quick 3 s, attempt 10 s, patience TEN_MINUTES;

    /// Looks whether anything speaks against the order, before its payment is asked for and once more
    /// when it is authorised. Refused as declined. While a person has to look at it, it answers until
    /// when. The undo takes the order from those that are counted. Only an order whose terms say so
    /// is screened.
    step "screen-order": ScreenOrder(StepKey) -> ScreeningAnswer, undone by WithdrawScreening,
        on Queue::Orders.name(), quick 3 s, attempt 10 s, patience TEN_MINUTES;

    /// Has the customer's money set aside. Refused as declined, or as not approved in time. While
    /// the customer has to act, it answers until when. The undo asks the provider what became of
    /// the payment, and lets it go.
    step "authorise-payment": AuthorisePayment(StepKey) -> AuthorisationAnswer,
        undone by VoidPayment,
        on Queue::Payments.name(), quick 5 s, attempt 30 s, patience TEN_MINUTES;

    /// Takes the money that is set aside. Refused as expired. The undo asks the provider what
    /// became of the payment, and gives the money back if it was taken.
    step "capture-payment": CapturePayment(StepKey) -> (), undone by RefundPayment,
        on Queue::Payments.name(), quick 5 s, attempt 30 s, patience TEN_MINUTES;

    /// Books the payment. The undo books the reversal; nothing in the books is ever erased.
    step "post-entries": PostEntries(StepKey) -> (), undone by ReverseEntries,
        on Queue::Orders.name(), quick 3 s, attempt 10 s, patience TEN_MINUTES;

    /// Hands the parcel to the carrier. Refused as undeliverable. The undo asks the carrier what
    /// became of the parcel, and recalls it.
    step "ship-order": ShipOrder(StepKey) -> Shipment, undone by CancelShipment,
        accepted by AcceptShipment,
        on Queue::Fulfilment.name(), quick 5 s, attempt 30 s, patience AN_HOUR;

    /// Books the sale and completes the order: the deposit becomes revenue, tax and shipping
    /// income, and the goods their cost. It lies past the point of no return; the undo is for the
    /// order that a lost run completed and this one does not know of.
    step "recognise-revenue": RecogniseRevenue(StepKey) -> (), undone by ReverseRevenue,
        on Queue::Orders.name(), quick 3 s, attempt 10 s, patience FOR_EVER;
    ;
    /// Puts on record that the order is unwound from now on, and how it will end.
    note NoteUnwinding(UnwindingNote) -> Ending,
        on Queue::Orders.name(), quick 3 s, attempt 10 s;

    /// Puts on record that a step of the order needs a person.
    note NoteAttention(AttentionNote) -> u32,
        on Queue::Orders.name(), quick 3 s, attempt 10 s;

    /// Puts a decision on record.
    note NoteResolved(ResolvedNote) -> (),
        on Queue::Orders.name(), quick 3 s, attempt 10 s;

    /// Puts on record how the order ended.
    note NoteEnd(EndNote) -> OrderStatus,
        on Queue::Orders.name(), quick 3 s, attempt 10 s;
}

/// The step by the name that the contract table has for it.
#[must_use]
pub fn step_name(step: &str) -> Option<StepName> {
    step.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use saga::Role;

    use super::*;

    #[test]
    fn every_activity_has_a_name_of_its_own_and_belongs_to_a_known_step() {
        let names: BTreeSet<_> = CONTRACTS.iter().map(|contract| contract.name).collect();
        assert_eq!(names.len(), CONTRACTS.len());
        for contract in CONTRACTS {
            assert_eq!(step_name(contract.step).is_none(), contract.role == Role::Notes);
        }
    }
}
