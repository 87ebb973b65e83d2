//! The payment protocol without halves: the step's key is all that the shop has, and one call makes
//! a payment and authorises it. It is right as long as the provider never forgets a key and its
//! search never lags.

use domain::payment::{BankAnswer, Call as Right, KeyState, Known, PaymentState as S};

use super::{Attempt, Call, Role};

/// What a payment is made as. Nobody asks the customer here.
pub(super) const fn made_by(bank: BankAnswer) -> S {
    match bank {
        BankAnswer::Approved => S::Authorised,
        BankAnswer::Declined | BankAnswer::AsksCustomer => S::Declined,
    }
}

/// What an attempt does next.
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

/// What a capture does next. It looks once more for its tombstone before it takes the money.
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

/// What an undo does next: it asks by key, and trusts that nothing found is nothing there.
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
