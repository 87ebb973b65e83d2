//! Invariants of everything that is decoded from Stripe's answers.

use std::time::SystemTime;

use domain::payment::PaymentState;
use domain::refund::AtProvider;
use domain::{Money, to_stripe_units};

use super::{Intent, Problem, Refund, Refunding, Refunds, Refusal, intent_id};
use crate::party::answer::{Answer, Said};
use crate::payment::port::Payment;

/// Decodes the answer as each of Stripe's objects. Amounts must be exact in Stripe's units, states
/// must have exactly the data that belongs to them, and only single words of Stripe's text may be
/// passed on.
pub(crate) fn read(answer: &Answer, now: SystemTime) {
    match answer.read::<Intent, Refusal>(now) {
        Ok(Said::Yes(intent)) => of_intent(&intent),
        Ok(Said::No { why, .. }) => of_problem(&why.error),
        Err(_unread) => {}
    }
    if let Ok(Said::Yes(refund)) = answer.read::<Refund, Refusal>(now) {
        of_refund(&refund);
    }
    if let Ok(Said::Yes(Refunds { data, .. })) = answer.read::<Refunds, Refusal>(now) {
        data.iter().for_each(of_refund);
        if let Ok(Said::Yes(intent)) = answer.read::<Intent, Refusal>(now) {
            of_both(&intent, &data);
        }
    }
}

fn of_intent(intent: &Intent) {
    if let Ok(id) = intent.id() {
        assert_eq!(intent_id(&id), Some(id.0.as_str()));
        assert!(!id.0.contains(['/', '?', '#', '.', '%']), "an id that leads elsewhere");
    }
    assert!(!intent.has_less_left_than(1));
    if let Some(problem) = &intent.last_payment_error {
        of_problem(problem);
    }
    let Ok(payment) = intent.payment() else { return };
    let taken = if payment.state == PaymentState::Captured { intent.amount_received } else { 0 };
    is_counted(payment.captured, taken);
    assert!(payment.refunded.amount() <= payment.captured.amount());
    let Payment { state, decline_code, expires_at, approval, .. } = &payment;
    assert_eq!(decline_code.is_some(), *state == PaymentState::Declined);
    decline_code.iter().for_each(|code| is_word(code));
    assert!(expires_at.is_none() || *state == PaymentState::Authorised);
    assert!(approval.is_none() || *state == PaymentState::AwaitingCustomer);
    assert!(!intent.may_be_given_back() || *state == PaymentState::Captured);
    if let Ok(checked) = payment.clone().checked() {
        assert_eq!(checked, payment);
    }
}

fn of_refund(refund: &Refund) {
    let Ok(known) = refund.as_known() else { return };
    is_counted(known.amount, refund.amount);
    let outcome = match known.state {
        AtProvider::Succeeded => Refunding::Done,
        AtProvider::Pending => Refunding::Undecided,
        AtProvider::Failed => Refunding::Failed,
    };
    assert_eq!(refund.outcome(), outcome);
    known.failure.iter().for_each(|why| is_word(why));
    if let Ok(checked) = known.clone().checked() {
        assert_eq!(checked, known);
    }
}

/// An answer may be read as a payment and as its refunds at once.
fn of_both(intent: &Intent, refunds: &[Refund]) {
    if intent.is_given_back(refunds) {
        assert!(intent.may_be_given_back());
        assert!(refunds.iter().all(|refund| refund.outcome() != Refunding::Undecided));
    }
}

fn of_problem(problem: &Problem) {
    for word in [problem.kind(), problem.code(), problem.parameter(), problem.decline_code()] {
        is_word(word);
    }
    if let Some(intent) = &problem.payment_intent {
        of_intent(intent);
    }
}

/// Some currencies have amounts that Stripe reports but does not charge.
fn is_counted(money: Money, units: u64) {
    let counted = to_stripe_units(money).ok();
    assert!(counted.is_none_or(|counted| counted == units), "{money} of {units}");
}

/// A word that can be logged: it cannot be a person's name.
fn is_word(word: &str) {
    let is_letter = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'[' | b']')
    };
    assert!((1..=64).contains(&word.len()) && word.bytes().all(is_letter), "{word:?}");
}
