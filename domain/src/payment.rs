//! What authorising, capturing and closing a payment do next, from what they know: pure functions,
//! without a provider or a database.
//!
//! A payment is called in two halves. Opening it moves no money; its id at the provider is stored
//! under the step's key before anything decisive is asked. From then on every question and every
//! request names that id, whose state the provider answers consistently. Neither a key that the
//! provider has forgotten nor a search that lags decides anything.
//!
//! The activities carry these calls out one by one. `models/` drives the same functions through
//! every order in which attempts can overtake each other, die, and be forgotten.

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};

use crate::PaymentStatus;

/// What can have become of a payment at the provider.
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
    /// Nothing has been asked of the bank.
    Opened,
    /// The bank wants the customer to do something, such as to approve the payment in its app.
    AwaitingCustomer,
    /// The bank said no. Asked again, it may say yes.
    Declined,
    /// The money is set aside.
    Authorised,
    /// The money is taken.
    Captured,
    /// Nothing is set aside, and nothing ever will be.
    Voided,
    /// The money was taken and given back.
    Refunded,
}

impl PaymentState {
    /// The name as the database and JSON write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What is on record under a step's key, as far as a decision depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyState {
    /// Whether the step has answered, with yes or no.
    pub is_answered: bool,
    /// Whether the tombstone is there.
    pub is_undone: bool,
}

impl KeyState {
    const fn is_open(self) -> bool {
        !self.is_answered && !self.is_undone
    }
}

/// The time that the customer has, by what is on record of the payment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CustomerTime {
    /// What the customer was given time for: a payment that awaits them is to be approved, and a
    /// declined one to be replaced.
    pub given_for: Option<PaymentState>,
    /// Whether that time is over.
    pub is_over: bool,
    /// Whether a payment that is declined now may be replaced by another.
    pub may_replace: bool,
}

/// What is known of the payment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Known {
    /// No id is on record.
    #[default]
    Nothing,
    /// It is opened, and its id is not on record yet.
    Fresh,
    /// Its id is on record; what became of it has to be asked.
    Unasked,
    /// What the provider answered about this id.
    Is(PaymentState),
}

/// What is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// Reads the key's record and the payment's id.
    Read,
    /// Asks the provider to open a payment. No money moves.
    Open,
    /// Stores the payment's id under the key, in a statement that changes nothing if there is an
    /// id, an answer or a tombstone; and reads what is there then.
    Store,
    /// Asks the provider what became of the payment with this id.
    LookUp,
    /// Asks the provider to set the money aside.
    Authorise,
    /// Asks the provider to take the money.
    Capture,
    /// Answers that the step is done, if nothing was answered and there is no tombstone.
    RecordDone,
    /// Answers that the step is refused, under the same condition.
    RecordRefusal,
    /// Puts on record that the step waits for the customer, and until when; once for each state of
    /// the payment that it waits in, and under the same condition. The step stays unanswered.
    RecordWait,
    /// Leaves the tombstone, in a statement of its own.
    LeaveTombstone,
    /// Asks the provider to let the payment go.
    Void,
    /// Asks the provider to give the money back.
    Refund,
    /// Records what became of the money.
    RecordReturn,
    /// Nothing, until the customer has acted or their time is over.
    Wait,
    /// Nothing: the answer is on record.
    Finish,
}

/// What authorising does next.
///
/// One that finds the tombstone leaves the payment alone: its id was stored before the tombstone
/// was left, so the undo sees it and closes the payment.
///
/// A payment that awaits the customer is let go once their time is over, *before* the step is
/// refused: an approval that comes late finds nothing to approve. One that came before the provider
/// was asked is what counts, and the step is done. A declined payment waits to be replaced, if
/// the order's terms grant time for that: whoever replaces it answers the step.
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
        // Let go after the customer's time; or lapsed, or taken back by hand, before it was recorded.
        (Some(_), Known::Is(S::Voided | S::Refunded)) => Call::RecordRefusal,
    }
}

/// What capturing does next. It takes the payment that was authorised, and opens none.
#[must_use]
pub const fn capture(key: Option<KeyState>, payment: Known) -> Call {
    use PaymentState as S;
    match (key, payment) {
        (None, _) => Call::Read,
        (Some(key), _) if !key.is_open() => Call::Finish,
        (Some(_), Known::Unasked) => Call::LookUp,
        (Some(_), Known::Is(S::Authorised)) => Call::Capture,
        (Some(_), Known::Is(S::Captured)) => Call::RecordDone,
        // The money is not set aside any more.
        (
            Some(_),
            Known::Nothing
            | Known::Fresh
            | Known::Is(S::Opened | S::AwaitingCustomer | S::Declined | S::Voided | S::Refunded),
        ) => Call::RecordRefusal,
    }
}

/// What the undo of a capture does next. It reads the payment's id only after the tombstone is
/// committed: from then on no id is stored any more.
///
/// Whatever is not captured is voided, a declined payment too: a late request to authorise it might
/// find the bank of another mind, and a late request to capture it must find nothing to take.
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

/// What the customer's bank says when it is asked to set the money aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BankAnswer {
    /// Yes.
    Approved,
    /// No.
    Declined,
    /// It asks the customer first.
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

/// What the undo of an authorisation does next: the same as [`close`], but money that was taken stays
/// where it is. The undo of the capture, which comes first, gives it back; where a person decided to
/// go on without that, the money has been settled in another way.
#[must_use]
pub const fn void(has_left_tombstone: bool, key: Option<KeyState>, payment: Known) -> Call {
    let call = close(has_left_tombstone, key, payment);
    if matches!(call, Call::Refund) { Call::Finish } else { call }
}

/// What a request makes of a payment at the provider; none if the payment has moved on, and nothing
/// was done.
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

/// What the order's payment status becomes once this is recorded; as `OrderState::apply`, a
/// transition that the status machine does not have changes nothing.
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
        // The approval came first.
        assert_eq!(authorise(OPEN, Known::Is(PaymentState::Authorised), over), Call::RecordDone);
    }

    #[test]
    fn a_declined_payment_waits_to_be_replaced_as_long_as_the_terms_say() {
        let declined = Known::Is(PaymentState::Declined);
        let given = CustomerTime { given_for: Some(PaymentState::Declined), ..GIVEN };
        for (time, call) in [
            (CustomerTime::default(), Call::RecordRefusal),
            (CustomerTime { may_replace: true, ..CustomerTime::default() }, Call::RecordWait),
            // The customer was asked to approve it first, and their bank declined then.
            (CustomerTime { may_replace: true, ..GIVEN }, Call::RecordWait),
            (given, Call::Wait),
            (CustomerTime { is_over: true, may_replace: true, ..given }, Call::RecordRefusal),
        ] {
            assert_eq!(authorise(OPEN, declined, time), call, "{time:?}");
        }
    }
}
