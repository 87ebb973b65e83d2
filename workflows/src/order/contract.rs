//! The order's contract table: every activity it calls, with its name on the wire, its queue and
//! its time limits. A step and its undo share one row and take the same reference.

use std::time::Duration;

use domain::screening::ScreeningAnswer;
use domain::{
    AuthorisationAnswer, Decision, Ending, OrderId, OrderStatus, Shipment, StepKey, StepName,
};
use serde::{Deserialize, Serialize};

use crate::Queue;

/// Steps past the point of no return are retried without a time limit.
const FOR_EVER: Option<Duration> = None;

const TEN_MINUTES: Option<Duration> = Some(Duration::from_mins(10));

const AN_HOUR: Option<Duration> = Some(Duration::from_hours(1));

/// The order is unwound from now on. The activity returns the ending that counts: if two runs of an
/// order stop for different reasons, that of the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnwindingNote {
    /// The order.
    pub order_id: OrderId,
    /// How it is to end.
    pub ending: Ending,
}

/// The order has ended. The activity returns the status that counts, as for [`UnwindingNote`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndNote {
    /// The order.
    pub order_id: OrderId,
    /// Its terminal status.
    #[serde(flatten)]
    pub status: OrderStatus,
}

/// A step of the order needs a person. The activity returns the number of the occurrence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttentionNote {
    /// The order.
    pub order_id: OrderId,
    /// The workflow run that reports it.
    pub run_id: String,
    /// Counts the run's notes; together with `run_id` it makes the note idempotent.
    pub number: u32,
    /// Which step.
    pub step: StepName,
    /// `true`: the step's undo is broken. `false`: the step itself must be completed.
    pub undoing: bool,
    /// What went wrong, without internal details.
    pub why: String,
    /// The decisions that a person can choose from.
    pub decisions: Vec<Decision>,
}

/// A person has decided, or the saga's own retry has succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedNote {
    /// The order.
    pub order_id: OrderId,
    /// The step that the decision is about.
    pub step: StepName,
    /// The occurrence that the decision is about; together with the order it makes the note
    /// idempotent.
    pub occurrence: u32,
    /// What was decided.
    pub decision: Decision,
    /// Who decided.
    pub by: String,
    /// Why.
    pub why: String,
}

saga::contract! {
    /// Reserves the order's stock, all of it or nothing. Refused as out of stock.
    step "reserve-stock": ReserveStock(StepKey) -> (), undone by ReleaseStock,
        on Queue::Orders.name(), quick 3 s, attempt 10 s, patience TEN_MINUTES;

    /// Checks the order for fraud, once before its payment is requested and once when it is
    /// authorised. Refused as declined. While a person has to review it, returns the deadline of
    /// the review. The undo removes the order from those that the rules count. Only an order whose
    /// terms require it is screened.
    step "screen-order": ScreenOrder(StepKey) -> ScreeningAnswer, undone by WithdrawScreening,
        on Queue::Orders.name(), quick 3 s, attempt 10 s, patience TEN_MINUTES;

    /// Authorises the payment: the customer's bank holds the money. Refused as declined, or as not
    /// approved in time. While the customer has to act, returns the deadline. The undo asks the
    /// provider for the payment's state, and voids it.
    step "authorise-payment": AuthorisePayment(StepKey) -> AuthorisationAnswer,
        undone by VoidPayment,
        on Queue::Payments.name(), quick 5 s, attempt 30 s, patience TEN_MINUTES;

    /// Captures the authorised payment. Refused as expired. The undo asks the provider for the
    /// payment's state, and refunds it if it was captured.
    step "capture-payment": CapturePayment(StepKey) -> (), undone by RefundPayment,
        on Queue::Payments.name(), quick 5 s, attempt 30 s, patience TEN_MINUTES;

    /// Posts the payment to the ledger. The undo posts the reversal; no ledger entry is ever
    /// deleted.
    step "post-entries": PostEntries(StepKey) -> (), undone by ReverseEntries,
        on Queue::Orders.name(), quick 3 s, attempt 10 s, patience TEN_MINUTES;

    /// Hands the parcel to the carrier. Refused as undeliverable. The undo asks the carrier for the
    /// parcel's state, and recalls it.
    step "ship-order": ShipOrder(StepKey) -> Shipment, undone by CancelShipment,
        accepted by AcceptShipment,
        on Queue::Fulfilment.name(), quick 5 s, attempt 30 s, patience AN_HOUR;

    /// Posts the sale to the ledger and completes the order: the deposit becomes revenue, tax and
    /// shipping income, and the goods become cost of goods sold. The step is past the point of no
    /// return; its undo exists for an order that a lost run completed without this run knowing it.
    step "recognise-revenue": RecogniseRevenue(StepKey) -> (), undone by ReverseRevenue,
        on Queue::Orders.name(), quick 3 s, attempt 10 s, patience FOR_EVER;
    ;
    /// Records that the order is unwound from now on, and how it will end.
    note NoteUnwinding(UnwindingNote) -> Ending,
        on Queue::Orders.name(), quick 3 s, attempt 10 s;

    /// Records that a step of the order needs a person.
    note NoteAttention(AttentionNote) -> u32,
        on Queue::Orders.name(), quick 3 s, attempt 10 s;

    /// Records a decision.
    note NoteResolved(ResolvedNote) -> (),
        on Queue::Orders.name(), quick 3 s, attempt 10 s;

    /// Records how the order ended.
    note NoteEnd(EndNote) -> OrderStatus,
        on Queue::Orders.name(), quick 3 s, attempt 10 s;
}

/// Parses a step's name as it stands in the contract table.
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
