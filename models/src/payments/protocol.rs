//! What a charge and its refund do next, from what they know: pure functions, without a provider
//! or a database.
//!
//! A payment is called in two halves. Opening it moves no money; its id at the provider is stored
//! under the charge's key before anything decisive is asked. From then on every question and every
//! request names that id, whose state the provider answers consistently. Neither a key that the
//! provider has forgotten nor a search that lags decides anything.

use domain::PaymentStatus;

/// What can have become of a payment at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PaymentState {
    /// Nothing has been asked of the bank.
    Opened,
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

/// What was answered under the charge's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// The customer has paid.
    Charged,
    /// The bank, or time, said no.
    Refused,
}

/// What is on record under the charge's key, as far as a decision depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// What was answered, if anything was.
    pub answer: Option<Answer>,
    /// Whether the tombstone is there.
    pub is_undone: bool,
}

/// What is known of the payment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Payment {
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

/// What a charge or a refund does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Reads the key's record, the payment's id included.
    Read,
    /// Asks the provider to open a payment. No money moves.
    Open,
    /// Stores the payment's id under the key, in a statement that changes nothing if there is an
    /// id, an answer or a tombstone.
    Store,
    /// Asks the provider what became of the payment with this id.
    LookUp,
    /// Asks the provider to set the money aside.
    Authorise,
    /// Asks the provider to take the money.
    Capture,
    /// Answers that the customer has paid, if nothing was answered and there is no tombstone.
    RecordCharge,
    /// Answers that the charge is refused, under the same condition.
    RecordRefusal,
    /// Leaves the tombstone, in a statement of its own.
    LeaveTombstone,
    /// Asks the provider to let the payment go.
    Void,
    /// Asks the provider to give the money back.
    Refund,
    /// Records what became of the money.
    RecordReturn,
    /// Nothing: the answer is on record.
    Finish,
}

/// What a charge does next.
///
/// A charge that finds the tombstone leaves the payment alone: its id was stored before the
/// tombstone was left, so the refund sees it and closes the payment.
#[must_use]
pub const fn charge(key: Option<Key>, payment: Payment) -> Step {
    use PaymentState as S;
    match key {
        None => Step::Read,
        Some(Key { answer: Some(_), .. } | Key { is_undone: true, .. }) => Step::Finish,
        Some(Key { answer: None, is_undone: false }) => match payment {
            Payment::Nothing => Step::Open,
            Payment::Fresh => Step::Store,
            Payment::Unasked => Step::LookUp,
            Payment::Is(S::Opened) => Step::Authorise,
            Payment::Is(S::Authorised) => Step::Capture,
            Payment::Is(S::Captured) => Step::RecordCharge,
            // Declined; or lapsed, or taken back by hand, before it was recorded.
            Payment::Is(S::Declined | S::Voided | S::Refunded) => Step::RecordRefusal,
        },
    }
}

/// What a refund does next. It reads the payment's id only after the tombstone is committed: from
/// then on no id is stored any more.
///
/// Whatever is not captured is voided, a declined payment too: a late request to authorise it might
/// find the bank of another mind.
#[must_use]
pub const fn refund(has_left_tombstone: bool, key: Option<Key>, payment: Payment) -> Step {
    use PaymentState as S;
    if !has_left_tombstone {
        return Step::LeaveTombstone;
    }
    match (key, payment) {
        (None, _) => Step::Read,
        (Some(_), Payment::Nothing | Payment::Fresh) => Step::Finish,
        (Some(_), Payment::Unasked) => Step::LookUp,
        (Some(_), Payment::Is(S::Opened | S::Declined | S::Authorised)) => Step::Void,
        (Some(_), Payment::Is(S::Captured)) => Step::Refund,
        (Some(_), Payment::Is(S::Voided | S::Refunded)) => Step::RecordReturn,
    }
}

/// What a request makes of a payment at the provider; none if the payment has moved on, and nothing
/// was done.
#[must_use]
pub const fn at_the_provider(
    step: Step,
    is_approved: bool,
    now: PaymentState,
) -> Option<PaymentState> {
    use PaymentState as S;
    match (step, now) {
        (Step::Authorise, S::Opened | S::Declined) => {
            Some(if is_approved { S::Authorised } else { S::Declined })
        }
        (Step::Capture, S::Authorised) => Some(S::Captured),
        (Step::Void, S::Opened | S::Declined | S::Authorised) => Some(S::Voided),
        (Step::Refund, S::Captured) => Some(S::Refunded),
        _ => None,
    }
}

/// What the order's payment status becomes once this is recorded; as `OrderState::apply`, a
/// transition that the status machine does not have changes nothing.
#[must_use]
pub fn recorded(status: PaymentStatus, payment: PaymentState) -> PaymentStatus {
    let next = match payment {
        PaymentState::Opened => return status,
        PaymentState::Authorised => PaymentStatus::Authorised,
        PaymentState::Declined => PaymentStatus::Declined,
        PaymentState::Captured => PaymentStatus::Paid,
        PaymentState::Voided => PaymentStatus::Voided,
        PaymentState::Refunded => PaymentStatus::Refunded,
    };
    status.transition_to(next).unwrap_or(status)
}
