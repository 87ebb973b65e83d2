//! The refund's contract table. That a person is needed, and what they decide, is noted by the
//! order's own notes: it is the order that waits.

use std::time::Duration;

use domain::StepKey;
use domain::refund::RefundState;

use crate::Queue;

/// A refund may take its bank days.
const FOR_EVER: Option<Duration> = None;

saga::contract! {
    /// Has the provider give the money back, and books that. While the provider has not decided, it
    /// does not answer; where it does not give the money back, it is refused, and a person decides.
    /// The undo gives the refund up: it asks the provider what became of it, and money that was
    /// given back stays that.
    step "issue-refund": IssueRefund(StepKey) -> (), undone by WithdrawRefund,
        on Queue::Payments.name(), quick 5 s, attempt 30 s, patience FOR_EVER;
    ;
    /// Answers how the refund has ended, by the record.
    note NoteRefundEnd(StepKey) -> RefundState,
        on Queue::Orders.name(), quick 3 s, attempt 10 s;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use saga::Role;

    use super::*;
    use crate::order;

    #[test]
    fn every_activity_has_a_name_of_its_own_and_belongs_to_a_refunds_step() {
        let all = CONTRACTS.iter().chain(order::CONTRACTS);
        let names: BTreeSet<_> = all.clone().map(|contract| contract.name).collect();
        assert_eq!(names.len(), all.count());
        for contract in CONTRACTS {
            let step = order::step_name(contract.step);
            let is_of_refund = step.is_some_and(domain::StepName::is_of_refund);
            assert_eq!(is_of_refund, contract.role != Role::Notes, "{}", contract.name);
        }
    }
}
