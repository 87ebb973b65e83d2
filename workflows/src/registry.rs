//! Every process of the shop. Replay, the fault matrix and `prove` iterate this list, and the
//! worker registers from it, so a new process is served and tested without being asked for.

use saga::Contract;

/// A process: a workflow of the shop's. Most are carried out as sagas.
#[derive(Clone, Copy, Debug)]
pub struct ProcessEntry {
    /// The workflow type in Temporal.
    pub workflow_type: &'static str,
    /// What every id of such a workflow begins with.
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

/// The whole list.
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

/// The contract of an activity, whichever process it belongs to.
#[must_use]
pub fn contract_of(activity: &str) -> Option<&'static Contract> {
    PROCESSES.iter().flat_map(|process| process.contracts).find(|one| one.name == activity)
}
