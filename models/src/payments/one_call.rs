//! The payment protocol without halves: the charge's key is all that the shop has, and one call
//! makes a payment and authorises it. It is right as long as the provider never forgets a key and
//! its search never lags.

use super::protocol::{Key, Payment, PaymentState as S, Step};
use super::{Attempt, Call};

/// What a charge does next. One that finds the tombstone takes itself back.
pub(super) const fn charge(attempt: &Attempt) -> Call {
    if attempt.has_left_tombstone {
        return refund(attempt);
    }
    match (attempt.key, attempt.payment) {
        (None, _) => Call::By(Step::Read),
        (Some(Key { answer: Some(_), .. }), _) => Call::By(Step::Finish),
        (Some(Key { is_undone: true, .. }), _) => Call::By(Step::LeaveTombstone),
        (Some(_), Payment::Nothing | Payment::Fresh) => Call::AuthoriseByKey,
        (Some(_), Payment::Unasked) => Call::By(Step::LookUp),
        (Some(_), Payment::Is(S::Authorised)) if !attempt.has_looked_again => Call::LookAgain,
        (Some(_), Payment::Is(S::Authorised)) => Call::By(Step::Capture),
        (Some(_), Payment::Is(S::Captured)) => Call::By(Step::RecordCharge),
        (Some(_), Payment::Is(S::Declined)) => Call::By(Step::RecordRefusal),
        (Some(_), Payment::Is(S::Opened | S::Voided | S::Refunded)) => Call::By(Step::Finish),
    }
}

/// What a refund does next: it asks by key, and trusts that nothing found is nothing there.
pub(super) const fn refund(attempt: &Attempt) -> Call {
    if !attempt.has_left_tombstone {
        return Call::By(Step::LeaveTombstone);
    }
    match (attempt.has_searched, attempt.payment) {
        (false, _) => Call::Search,
        (true, Payment::Nothing | Payment::Fresh | Payment::Is(S::Opened | S::Declined)) => {
            Call::By(Step::Finish)
        }
        (true, Payment::Unasked) => Call::By(Step::LookUp),
        (true, Payment::Is(S::Authorised)) => Call::By(Step::Void),
        (true, Payment::Is(S::Captured)) => Call::By(Step::Refund),
        (true, Payment::Is(S::Voided | S::Refunded)) => Call::By(Step::RecordReturn),
    }
}
