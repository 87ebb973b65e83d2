//! Decides the next call when a payment is authorised, captured or closed, from what is known: pure
//! functions, without a provider or a database.
//!
//! A payment is created in two phases. Opening it moves no money; its id at the provider is stored
//! under the step's key before the bank is asked. From then on every query and request names that
//! id, whose state the provider answers consistently. So nothing depends on idempotency keys that
//! the provider may forget, or on a search that may lag.
//!
//! The activities carry these calls out one by one. `models/` drives the same functions through
//! every order in which attempts can overtake each other, die, and be forgotten.

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};

use crate::PaymentStatus;

/// The state of a payment at the provider.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    EnumString,
    IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PaymentState {
    /// The bank has not been asked.
    Opened,
    /// The bank requires the customer to do something, such as to approve the payment in its app.
    AwaitingCustomer,
    /// The bank declined. If asked again, it may approve.
    Declined,
    /// The bank holds the money.
    Authorised,
    /// The money was captured.
    Captured,
    /// No money is held, and none ever will be.
    Voided,
    /// The money was captured and refunded.
    Refunded,
}

impl PaymentState {
    /// The name as the database and JSON write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The record under a step's key, as far as decisions depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyState {
    /// Whether the step has an answer: done or refused.
    pub is_answered: bool,
    /// Whether there is a tombstone.
    pub is_undone: bool,
}

impl KeyState {
    const fn is_open(self) -> bool {
        !self.is_answered && !self.is_undone
    }
}

/// The customer's deadline, according to the payment's record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CustomerTime {
    /// The state for which the customer was given time: a payment that awaits them has to be
    /// approved, a declined one to be replaced.
    pub given_for: Option<PaymentState>,
    /// Whether that time is over.
    pub is_over: bool,
    /// Whether a payment that is declined now may be replaced by another.
    pub may_replace: bool,
}

/// What is known about the payment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Known {
    /// No id is on record.
    #[default]
    Nothing,
    /// It was opened, and its id is not on record yet.
    Fresh,
    /// Its id is on record; its state has to be looked up.
    Unasked,
    /// The provider's answer about this id.
    Is(PaymentState),
}

/// The next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// Reads the key's record and the payment's id.
    Read,
    /// Asks the provider to open a payment. No money moves.
    Open,
    /// Stores the payment's id under the key, in a statement that changes nothing if there is an
    /// id, an answer or a tombstone; returns what is stored then.
    Store,
    /// Asks the provider for the state of the payment with this id.
    LookUp,
    /// Asks the provider to authorise the payment.
    Authorise,
    /// Asks the provider to capture the payment.
    Capture,
    /// Records that the step is done, if there is no answer and no tombstone.
    RecordDone,
    /// Records that the step is refused, under the same condition.
    RecordRefusal,
    /// Records that the step waits for the customer, and until when; once per state of the payment
    /// in which it waits, and under the same condition. The step stays unanswered.
    RecordWait,
    /// Leaves the tombstone, in its own statement.
    LeaveTombstone,
    /// Asks the provider to void the payment.
    Void,
    /// Asks the provider to refund the payment.
    Refund,
    /// Records what happened to the money.
    RecordReturn,
    /// Nothing, until the customer has acted or the deadline has passed.
    Wait,
    /// Nothing: the answer is on record.
    Finish,
}

/// The next call of an authorisation.
///
/// If it finds the tombstone, it leaves the payment alone: the payment's id was stored before the
/// tombstone, so the undo sees it and closes the payment.
///
/// A payment that awaits the customer is voided once their deadline has passed, *before* the step
/// is refused, so that a late approval has no effect. If the approval came before the void, it
/// counts, and the step is done. A declined payment waits to be replaced, if the order's terms
/// allow that: the replacement then answers the step.
#[must_use]
pub const fn authorise(key: Option<KeyState>, payment: Known, time: CustomerTime) -> Call {
    use PaymentState as S;
    match (key, payment) {
        (None, _) => Call::Read,
        (Some(key), _) if !key.is_open() => Call::Finish,
        (Some(_), Known::Nothing) => Call::Open,
        (Some(_), Known::Fresh) => Call::Store,
        (Some(_), Known::Unasked) => Call::LookUp,
        (Some(_), Known::Is(S::Opened)) => Call::Authorise,
        (Some(_), Known::Is(S::AwaitingCustomer)) => match time.given_for {
            Some(S::AwaitingCustomer) if time.is_over => Call::Void,
            Some(S::AwaitingCustomer) => Call::Wait,
            _ => Call::RecordWait,
        },
        (Some(_), Known::Is(S::Authorised | S::Captured)) => Call::RecordDone,
        (Some(_), Known::Is(S::Declined)) => match time.given_for {
            Some(S::Declined) if !time.is_over => Call::Wait,
            Some(S::Declined) => Call::RecordRefusal,
            _ if time.may_replace => Call::RecordWait,
            _ => Call::RecordRefusal,
        },
        // Voided after the deadline; or it expired, or was cancelled by hand, before it was
        // recorded.
        (Some(_), Known::Is(S::Voided | S::Refunded)) => Call::RecordRefusal,
    }
}

/// The next call of a capture. It uses the authorised payment, and never opens one.
#[must_use]
pub const fn capture(key: Option<KeyState>, payment: Known) -> Call {
    use PaymentState as S;
    match (key, payment) {
        (None, _) => Call::Read,
        (Some(key), _) if !key.is_open() => Call::Finish,
        (Some(_), Known::Unasked) => Call::LookUp,
        (Some(_), Known::Is(S::Authorised)) => Call::Capture,
        (Some(_), Known::Is(S::Captured)) => Call::RecordDone,
        // The authorisation no longer exists.
        (
            Some(_),
            Known::Nothing
            | Known::Fresh
            | Known::Is(S::Opened | S::AwaitingCustomer | S::Declined | S::Voided | S::Refunded),
        ) => Call::RecordRefusal,
    }
}

/// The next call of a capture's undo. It reads the payment's id only after the tombstone is
/// committed: from then on no further id can be stored.
///
/// Everything that is not captured is voided, even a declined payment: the bank might approve a
/// late request to authorise it, and a late request to capture it must fail.
#[must_use]
pub const fn close(has_left_tombstone: bool, key: Option<KeyState>, payment: Known) -> Call {
    use PaymentState as S;
    if !has_left_tombstone {
        return Call::LeaveTombstone;
    }
    match (key, payment) {
        (None, _) => Call::Read,
        (Some(_), Known::Nothing | Known::Fresh) => Call::Finish,
        (Some(_), Known::Unasked) => Call::LookUp,
        (Some(_), Known::Is(S::Opened | S::AwaitingCustomer | S::Declined | S::Authorised)) => {
            Call::Void
        }
        (Some(_), Known::Is(S::Captured)) => Call::Refund,
        (Some(_), Known::Is(S::Voided | S::Refunded)) => Call::RecordReturn,
    }
}

/// The bank's answer to an authorisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BankAnswer {
    /// Yes.
    Approved,
    /// No.
    Declined,
    /// The customer has to approve it first.
    AsksCustomer,
}

impl BankAnswer {
    const fn makes(self) -> PaymentState {
        match self {
            Self::Approved => PaymentState::Authorised,
            Self::Declined => PaymentState::Declined,
            Self::AsksCustomer => PaymentState::AwaitingCustomer,
        }
    }
}

/// The next call of an authorisation's undo: as for [`close`], but captured money is not refunded.
/// The capture's undo runs first and refunds it; if a person skipped that, the money was settled in
/// another way.
#[must_use]
pub const fn void(has_left_tombstone: bool, key: Option<KeyState>, payment: Known) -> Call {
    let call = close(has_left_tombstone, key, payment);
    if matches!(call, Call::Refund) { Call::Finish } else { call }
}

/// The payment's state after a request at the provider; `None` if its state did not allow the
/// request, and nothing was done.
#[must_use]
pub const fn at_the_provider(
    call: Call,
    bank: BankAnswer,
    now: PaymentState,
) -> Option<PaymentState> {
    use PaymentState as S;
    match (call, now) {
        (Call::Authorise, S::Opened | S::Declined) => Some(bank.makes()),
        (Call::Capture, S::Authorised) => Some(S::Captured),
        (Call::Void, S::Opened | S::AwaitingCustomer | S::Declined | S::Authorised) => {
            Some(S::Voided)
        }
        (Call::Refund, S::Captured) => Some(S::Refunded),
        _ => None,
    }
}

/// The order's payment status after this is recorded; as in `OrderState::apply`, an invalid
/// transition changes nothing.
#[must_use]
pub fn recorded(status: PaymentStatus, payment: PaymentState) -> PaymentStatus {
    let next = match payment {
        PaymentState::Opened => return status,
        PaymentState::AwaitingCustomer => PaymentStatus::AwaitingCustomer,
        PaymentState::Authorised => PaymentStatus::Authorised,
        PaymentState::Declined => PaymentStatus::Declined,
        PaymentState::Captured => PaymentStatus::Paid,
        PaymentState::Voided => PaymentStatus::Voided,
        PaymentState::Refunded => PaymentStatus::Refunded,
    };
    status.transition_to(next).unwrap_or(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Option<KeyState> = Some(KeyState { is_answered: false, is_undone: false });
    const GIVEN: CustomerTime = CustomerTime {
        given_for: Some(PaymentState::AwaitingCustomer),
        is_over: false,
        may_replace: false,
    };

    #[test]
    fn a_payment_that_awaits_the_customer_is_let_go_before_the_step_is_refused() {
        let awaits = Known::Is(PaymentState::AwaitingCustomer);
        assert_eq!(authorise(OPEN, awaits, CustomerTime::default()), Call::RecordWait);
        assert_eq!(authorise(OPEN, awaits, GIVEN), Call::Wait);
        let over = CustomerTime { is_over: true, ..GIVEN };
        assert_eq!(authorise(OPEN, awaits, over), Call::Void);
        assert_eq!(authorise(OPEN, Known::Is(PaymentState::Voided), over), Call::RecordRefusal);
        // The approval arrived before the void.
        assert_eq!(authorise(OPEN, Known::Is(PaymentState::Authorised), over), Call::RecordDone);
    }

    #[test]
    fn a_declined_payment_waits_to_be_replaced_as_long_as_the_terms_say() {
        let declined = Known::Is(PaymentState::Declined);
        let given = CustomerTime { given_for: Some(PaymentState::Declined), ..GIVEN };
        for (time, call) in [
            (CustomerTime::default(), Call::RecordRefusal),
            (CustomerTime { may_replace: true, ..CustomerTime::default() }, Call::RecordWait),
            // The customer was asked to approve it first, and then the bank declined.
            (CustomerTime { may_replace: true, ..GIVEN }, Call::RecordWait),
            (given, Call::Wait),
            (CustomerTime { is_over: true, may_replace: true, ..given }, Call::RecordRefusal),
        ] {
            assert_eq!(authorise(OPEN, declined, time), call, "{time:?}");
        }
    }
}
