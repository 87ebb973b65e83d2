//! The payment protocol in one phase: the shop only has the step's key, and one call makes a
//! payment and authorises it. It is correct as long as the provider never forgets a key and its
//! search never lags.

use domain::payment::{BankAnswer, Call as Right, KeyState, Known, PaymentState as S};

use super::{Attempt, Call, Role};

/// The state of a newly made payment. The customer is not asked here.
pub(super) const fn made_by(bank: BankAnswer) -> S {
    match bank {
        BankAnswer::Approved => S::Authorised,
        BankAnswer::Declined | BankAnswer::AsksCustomer => S::Declined,
    }
}

/// The next call of an attempt.
pub(super) const fn next(role: Role, attempt: &Attempt) -> Call {
    match role {
        Role::Authorise => authorise(attempt),
        Role::Capture => capture(attempt),
        Role::Close => close(attempt),
    }
}

const fn authorise(attempt: &Attempt) -> Call {
    match (attempt.key, attempt.payment) {
        (None, _) => Call::By(Right::Read),
        (Some(KeyState { is_answered: true, .. } | KeyState { is_undone: true, .. }), _) => {
            Call::By(Right::Finish)
        }
        (Some(_), Known::Nothing | Known::Fresh) => Call::AuthoriseByKey,
        (Some(_), Known::Unasked) => Call::By(Right::LookUp),
        (Some(_), Known::Is(S::Authorised | S::Captured)) => Call::By(Right::RecordDone),
        (
            Some(_),
            Known::Is(S::Opened | S::AwaitingCustomer | S::Declined | S::Voided | S::Refunded),
        ) => Call::By(Right::RecordRefusal),
    }
}

/// The next call of a capture. It checks for its tombstone once more before it captures.
const fn capture(attempt: &Attempt) -> Call {
    match (attempt.key, attempt.payment) {
        (None, _) => Call::By(Right::Read),
        (Some(KeyState { is_answered: true, .. } | KeyState { is_undone: true, .. }), _) => {
            Call::By(Right::Finish)
        }
        (Some(_), _) if !attempt.has_searched => Call::Search,
        (Some(_), Known::Unasked) => Call::By(Right::LookUp),
        (Some(_), Known::Is(S::Authorised)) if !attempt.has_looked_again => Call::LookAgain,
        (Some(_), Known::Is(S::Authorised)) => Call::By(Right::Capture),
        (Some(_), Known::Is(S::Captured)) => Call::By(Right::RecordDone),
        (
            Some(_),
            Known::Nothing
            | Known::Fresh
            | Known::Is(S::Opened | S::AwaitingCustomer | S::Declined | S::Voided | S::Refunded),
        ) => Call::By(Right::RecordRefusal),
    }
}

/// The next call of an undo: it searches by key, and assumes that an empty result means no payment.
const fn close(attempt: &Attempt) -> Call {
    if !attempt.has_left_tombstone {
        return Call::By(Right::LeaveTombstone);
    }
    match (attempt.has_searched, attempt.payment) {
        (false, _) => Call::Search,
        (
            true,
            Known::Nothing
            | Known::Fresh
            | Known::Is(S::Opened | S::AwaitingCustomer | S::Declined),
        ) => Call::By(Right::Finish),
        (true, Known::Unasked) => Call::By(Right::LookUp),
        (true, Known::Is(S::Authorised)) => Call::By(Right::Void),
        (true, Known::Is(S::Captured)) => Call::By(Right::Refund),
        (true, Known::Is(S::Voided | S::Refunded)) => Call::By(Right::RecordReturn),
    }
}
