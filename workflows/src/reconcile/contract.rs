//! The reconciliation's contract table: it has no step, because nothing of it is ever taken back.

use crate::Queue;
use crate::reconcile::{ReconcileStart, Reconciled};

saga::contract! {
    ;
    /// Compares provider and shop over the last so many days, voids what is left set aside, and books
    /// what was paid out. It goes on where its attempt before ended.
    note Reconcile(ReconcileStart) -> Reconciled,
        on Queue::Payments.name(), quick 5 s, attempt 3600 s;
}
