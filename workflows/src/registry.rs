//! Every process of the shop. The worker registers this list, and replay tests, the fault matrix
//! and `prove` iterate it, so a new process is served and tested by adding it here.

use saga::Contract;

/// A process: a workflow of the shop. Most are sagas.
#[derive(Clone, Copy, Debug)]
pub struct ProcessEntry {
    /// The workflow type in Temporal.
    pub workflow_type: &'static str,
    /// Prefix of its workflow ids.
    pub id_prefix: &'static str,
    /// Its activities.
    pub contracts: &'static [Contract],
}

/// Expands `$each!(Workflow)` for the workflow of every process, in the order of [`PROCESSES`].
#[macro_export]
macro_rules! for_each_process {
    ($each:ident) => {
        $each!($crate::order::OrderSaga);
        $each!($crate::refund::RefundSaga);
        $each!($crate::reconcile::Reconciliation);
    };
}

/// All processes.
pub const PROCESSES: &[ProcessEntry] = &[
    ProcessEntry {
        workflow_type: "OrderSaga",
        id_prefix: domain::OrderId::WORKFLOW_ID_PREFIX,
        contracts: crate::order::CONTRACTS,
    },
    ProcessEntry {
        workflow_type: "RefundSaga",
        id_prefix: domain::refund::RefundId::WORKFLOW_ID_PREFIX,
        contracts: crate::refund::CONTRACTS,
    },
    ProcessEntry {
        workflow_type: "Reconciliation",
        id_prefix: crate::reconcile::WORKFLOW_ID_PREFIX,
        contracts: crate::reconcile::CONTRACTS,
    },
];

/// The contract of an activity, of whichever process.
#[must_use]
pub fn contract_of(activity: &str) -> Option<&'static Contract> {
    PROCESSES.iter().flat_map(|process| process.contracts).find(|one| one.name == activity)
}
