//! The refund's contract table. Whether a person is needed, and what they decide, is recorded by
//! the order's own notes, because the order is what needs attention.

use std::time::Duration;

use domain::StepKey;
use domain::refund::RefundState;

use crate::Queue;

/// A refund may take days at the bank, so it is retried without a time limit.
const FOR_EVER: Option<Duration> = None;

saga::contract! {
    /// Has the provider refund the money, and posts that to the ledger. Stays unanswered while the
    /// provider has not decided; if the provider refuses, a person decides. The undo gives the
    /// refund up: it asks the provider for its state, and keeps a refund that has already
    /// succeeded.
    step "issue-refund": IssueRefund(StepKey) -> (), undone by WithdrawRefund,
        on Queue::Payments.name(), quick 5 s, attempt 30 s, patience FOR_EVER;
    ;
    /// Returns the refund's final state from the record.
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
