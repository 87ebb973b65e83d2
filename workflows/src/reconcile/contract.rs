//! The reconciliation's contract table. It has no step, because nothing in it is ever undone.

use crate::Queue;
use crate::reconcile::{ReconcileStart, Reconciled};

saga::contract! {
    ;
    /// Compares provider and shop over the given number of days, voids authorisations that nothing
    /// needs, and posts payouts. A retry continues where the previous attempt stopped.
    note Reconcile(ReconcileStart) -> Reconciled,
        on Queue::Payments.name(), quick 5 s, attempt 3600 s;
}
