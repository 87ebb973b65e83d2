//! Reconciliation: interprets differences between the payment provider's and the shop's view of a
//! payment, and decides which of them may be repaired automatically.
//!
//! Pure functions over both sides' facts about one payment. Only two things are repaired: an
//! authorisation left for an order that is over is voided, because nobody will ever capture it; and
//! an order that waits for something the provider has already decided is told to ask again.
//! Everything else is reported to a person.

use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoEnumIterator as _, IntoStaticStr};

use crate::Money;
use crate::payment::PaymentState;

/// The kind of difference between provider and shop about a payment or a payout.
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
    EnumIter,
    EnumString,
    IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum DifferenceKind {
    /// The provider holds money of a payment that the shop does not know.
    NotInShop,
    /// The shop has a payment that the provider does not know.
    NotAtProvider,
    /// Another amount, or another currency, was taken.
    AmountsDiffer,
    /// The provider has captured the payment, and the shop does not know it.
    CapturedOnlyThere,
    /// The shop considers the payment captured, and the provider has not captured it.
    CapturedOnlyHere,
    /// A payment is still authorised for an order that is over.
    AuthorisedAndLeft,
    /// The provider has refunded more than the shop knows of.
    RefundedOnlyThere,
    /// The shop considers more refunded than the provider has refunded.
    RefundedOnlyHere,
    /// A refund that the shop considers done has failed at the provider.
    RefundFailedThere,
    /// The order was also paid by another payment.
    ChargedTwice,
    /// The provider reports something about a payment that this release does not understand.
    Unreadable,
    /// A payout differs from the payments, refunds and fees in the ledger.
    PayoutDiffers,
    /// A payout contains payments that were captured in another currency.
    SettledInAnotherCurrency,
}

impl DifferenceKind {
    /// The name as the database and JSON write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::iter()
    }

    /// Whether it is about a payout rather than a payment.
    #[must_use]
    pub const fn is_of_payout(self) -> bool {
        match self {
            Self::PayoutDiffers | Self::SettledInAnotherCurrency => true,
            Self::NotInShop
            | Self::NotAtProvider
            | Self::AmountsDiffer
            | Self::CapturedOnlyThere
            | Self::CapturedOnlyHere
            | Self::AuthorisedAndLeft
            | Self::RefundedOnlyThere
            | Self::RefundedOnlyHere
            | Self::RefundFailedThere
            | Self::ChargedTwice
            | Self::Unreadable => false,
        }
    }

    /// What a person should do about it, in one sentence.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::NotInShop => {
                "find out at the provider whose payment it is; if no order is to be paid by it, \
                 refund it there"
            }
            Self::NotAtProvider => {
                "check that the programs use the provider and account that took this payment; if \
                 they do, ask the provider what became of it"
            }
            Self::AmountsDiffer => {
                "compare the payment at the provider with the order's total, and refund or collect \
                 the rest"
            }
            Self::CapturedOnlyThere => {
                "if the order has ended without it, refund the payment at the provider; if it is \
                 still open, see what its workflow waits for"
            }
            Self::CapturedOnlyHere => {
                "the goods may have left unpaid: collect the money, or reverse the sale"
            }
            Self::AuthorisedAndLeft => {
                "cancel the payment at the provider, unless somebody is to capture it by hand"
            }
            Self::RefundedOnlyThere => {
                "somebody has given money back at the provider: record it in your accounts, and ask \
                 for no second refund"
            }
            Self::RefundedOnlyHere => {
                "the customer was told of a refund that was not made: make it at the provider"
            }
            Self::RefundFailedThere => {
                "the bank did not take the refund: give the money back in another way, such as by \
                 bank transfer"
            }
            Self::ChargedTwice => {
                "the customer has paid twice: refund at the provider the payment that the order \
                 does not show"
            }
            Self::Unreadable => {
                "look at the payment at the provider: its state or currency is none that this \
                 release knows"
            }
            Self::PayoutDiffers => {
                "open the payout at the provider, and book what is in it that no order shows, such \
                 as an adjustment, or a dispute that is not on record"
            }
            Self::SettledInAnotherCurrency => {
                "book the exchange that the provider made between the payments' currency and the \
                 payout's"
            }
        }
    }
}

/// The provider's facts about a payment.
///
/// **Shape.** All amounts are in one currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theirs {
    /// Its state.
    pub state: PaymentState,
    /// The amount it was opened with.
    pub amount: Money,
    /// The captured amount.
    pub captured: Money,
    /// The part of it that was refunded, or is being refunded.
    pub refunded: Money,
}

/// The shop's record of a payment.
///
/// **Shape.** All amounts are in one currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ours {
    /// Its state.
    pub state: PaymentState,
    /// The captured amount.
    pub captured: Money,
    /// The refunded part of it.
    pub refunded: Money,
}

/// The state of the payment's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderStanding {
    /// The shop has no such order.
    Unknown,
    /// It changed a moment ago, so the record may be about to change.
    Moving,
    /// It has not ended, and has not changed for a while.
    Waiting,
    /// It has ended, and nothing more will be captured for it: it ended unpaid, or was paid by
    /// another payment.
    Over,
    /// It has ended as completed, but no payment on record paid for it.
    CompletedUnpaid,
}

/// The state of a payment's refunds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundStanding {
    /// None is in progress, and none that the shop considers done has failed.
    AtRest,
    /// One is in progress, so the two sides may differ.
    UnderWay,
    /// One that the shop considers done has failed at the provider.
    FailedThere,
}

/// All inputs of a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The provider's facts; `None` if it does not know the payment.
    pub theirs: Option<Theirs>,
    /// The shop's record; `None` if it does not know the payment.
    pub ours: Option<Ours>,
    /// The order that the payment is for.
    pub order: OrderStanding,
    /// The state of its refunds.
    pub refunds: RefundStanding,
    /// Whether the order is paid by another payment, which takes precedence.
    pub is_surplus: bool,
    /// Whether a person has decided to leave the order's payment as it is.
    pub is_settled_by_hand: bool,
}

/// A repair that needs no person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Void the authorisation. That removes the difference.
    Void,
    /// Have the order's workflow ask the provider at once.
    Hint,
}

/// The result of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// The difference, if there is one.
    pub difference: Option<DifferenceKind>,
    /// The repair, if one is safe.
    pub repair: Option<Repair>,
}

impl Judgement {
    const NONE: Self = Self { difference: None, repair: None };

    const fn only(difference: DifferenceKind) -> Self {
        Self { difference: Some(difference), repair: None }
    }
}

/// Compares both sides' facts about a payment. Reports the most serious difference; a difference
/// that will soon resolve itself is not reported.
#[must_use]
pub fn judge(facts: &Facts) -> Judgement {
    if facts.order == OrderStanding::Moving {
        return Judgement::NONE;
    }
    match (&facts.theirs, &facts.ours) {
        (None, None) => Judgement::NONE,
        (None, Some(ours)) => only_ours(ours),
        (Some(theirs), None) => only_theirs(facts, theirs),
        (Some(theirs), Some(ours)) => known_to_both(facts, theirs, ours),
    }
}

/// A payment that never held money may be missing at the provider.
fn only_ours(ours: &Ours) -> Judgement {
    let has_money = match ours.state {
        PaymentState::Authorised | PaymentState::Captured => true,
        PaymentState::Opened
        | PaymentState::AwaitingCustomer
        | PaymentState::Declined
        | PaymentState::Voided
        | PaymentState::Refunded => false,
    };
    if has_money { Judgement::only(DifferenceKind::NotAtProvider) } else { Judgement::NONE }
}

/// A payment that was opened and never authorised is no difference: a lost answer to the opening
/// leaves one.
fn only_theirs(facts: &Facts, theirs: &Theirs) -> Judgement {
    if holds_money(theirs) {
        let kind =
            if facts.is_surplus { DifferenceKind::ChargedTwice } else { DifferenceKind::NotInShop };
        return Judgement::only(kind);
    }
    if !is_set_aside(theirs) {
        return Judgement::NONE;
    }
    match facts.order {
        OrderStanding::Over | OrderStanding::CompletedUnpaid => left(facts),
        OrderStanding::Unknown => Judgement::only(DifferenceKind::NotInShop),
        OrderStanding::Moving | OrderStanding::Waiting => Judgement::NONE,
    }
}

fn known_to_both(facts: &Facts, theirs: &Theirs, ours: &Ours) -> Judgement {
    let is_waiting = facts.order == OrderStanding::Waiting;
    let hint = (is_waiting && has_decided(theirs.state, ours.state)).then_some(Repair::Hint);
    let difference = captures(facts, theirs, ours).or_else(|| refunds(facts, theirs, ours));
    let is_over = matches!(facts.order, OrderStanding::Over | OrderStanding::CompletedUnpaid);
    if difference.is_none() && is_over && is_set_aside(theirs) && ours.captured.is_zero() {
        return left(facts);
    }
    Judgement { difference, repair: hint }
}

fn captures(facts: &Facts, theirs: &Theirs, ours: &Ours) -> Option<DifferenceKind> {
    if facts.is_surplus && holds_money(theirs) {
        return Some(DifferenceKind::ChargedTwice);
    }
    if theirs.amount.currency() != ours.captured.currency() {
        return Some(DifferenceKind::AmountsDiffer);
    }
    match (theirs.captured.is_zero(), ours.captured.is_zero()) {
        (true, true) => None,
        // Captured and refunded before the shop noticed: the balance is zero, so there is no
        // difference.
        (false, true) => holds_money(theirs).then_some(DifferenceKind::CapturedOnlyThere),
        (true, false) => Some(DifferenceKind::CapturedOnlyHere),
        (false, false) => {
            (theirs.captured != ours.captured).then_some(DifferenceKind::AmountsDiffer)
        }
    }
}

fn refunds(facts: &Facts, theirs: &Theirs, ours: &Ours) -> Option<DifferenceKind> {
    if ours.captured.is_zero() || theirs.refunded == ours.refunded {
        return None;
    }
    let is_more_there = theirs.refunded.amount() > ours.refunded.amount();
    match (facts.refunds, is_more_there) {
        (RefundStanding::UnderWay, _) => None,
        (RefundStanding::AtRest | RefundStanding::FailedThere, true) => {
            Some(DifferenceKind::RefundedOnlyThere)
        }
        (RefundStanding::AtRest, false) => Some(DifferenceKind::RefundedOnlyHere),
        (RefundStanding::FailedThere, false) => Some(DifferenceKind::RefundFailedThere),
    }
}

/// A payment is authorised for an order that is over. It is voided, unless a person wants to keep
/// it, or the order may still be paid with it.
fn left(facts: &Facts) -> Judgement {
    let may_void = facts.order == OrderStanding::Over && !facts.is_settled_by_hand;
    let repair = may_void.then_some(Repair::Void);
    Judgement { difference: Some(DifferenceKind::AuthorisedAndLeft), repair }
}

fn holds_money(theirs: &Theirs) -> bool {
    theirs.captured.amount() > theirs.refunded.amount()
}

/// Whether the payment is authorised, or the customer can still have it authorised.
const fn is_set_aside(theirs: &Theirs) -> bool {
    match theirs.state {
        PaymentState::Authorised | PaymentState::AwaitingCustomer => true,
        PaymentState::Opened
        | PaymentState::Declined
        | PaymentState::Captured
        | PaymentState::Voided
        | PaymentState::Refunded => false,
    }
}

/// Whether the provider has decided what the shop still waits for.
fn has_decided(theirs: PaymentState, ours: PaymentState) -> bool {
    let is_decided = match theirs {
        PaymentState::Authorised
        | PaymentState::Declined
        | PaymentState::Captured
        | PaymentState::Voided
        | PaymentState::Refunded => true,
        PaymentState::Opened | PaymentState::AwaitingCustomer => false,
    };
    is_decided && theirs != ours
}

#[cfg(test)]
mod tests {
    use iso_currency::Currency;
    use rust_decimal::Decimal;

    use super::DifferenceKind as Kind;
    use super::*;
    use crate::payment::PaymentState as State;

    fn pence(amount: u32) -> Money {
        Money::new(Decimal::new(amount.into(), 2), Currency::GBP).unwrap()
    }

    fn theirs(state: State, captured: u32, refunded: u32) -> Theirs {
        let (captured, refunded) = (pence(captured), pence(refunded));
        Theirs { state, amount: pence(2_430), captured, refunded }
    }

    fn ours(state: State, captured: u32, refunded: u32) -> Ours {
        Ours { state, captured: pence(captured), refunded: pence(refunded) }
    }

    /// Both sides agree about a captured payment of an order that is over.
    fn paid() -> Facts {
        Facts {
            theirs: Some(theirs(State::Captured, 2_430, 0)),
            ours: Some(ours(State::Captured, 2_430, 0)),
            order: OrderStanding::Over,
            refunds: RefundStanding::AtRest,
            is_surplus: false,
            is_settled_by_hand: false,
        }
    }

    fn between(theirs: Theirs, ours: Ours) -> Facts {
        Facts { theirs: Some(theirs), ours: Some(ours), ..paid() }
    }

    /// Asserts this difference without a repair.
    #[track_caller]
    fn is(facts: Facts, difference: Kind) {
        let expected = Judgement { difference: Some(difference), repair: None };
        assert_eq!(judge(&facts), expected, "{facts:?}");
    }

    #[track_caller]
    fn agree(facts: Facts) {
        assert_eq!(judge(&facts), Judgement::default(), "{facts:?}");
    }

    #[test]
    fn a_kind_is_read_back_as_it_was_written_and_says_what_to_do() {
        for kind in Kind::all() {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            assert!(kind.advice().len() > 40, "{kind:?}");
            assert!(!kind.advice().ends_with('.'), "{kind:?}");
        }
    }

    #[test]
    fn what_both_sides_say_is_no_difference() {
        agree(paid());
        agree(between(theirs(State::Refunded, 2_430, 2_430), ours(State::Refunded, 2_430, 2_430)));
        agree(between(theirs(State::Captured, 2_430, 400), ours(State::Captured, 2_430, 400)));
        agree(between(theirs(State::Voided, 0, 0), ours(State::Voided, 0, 0)));
        // A payment that never held money is irrelevant.
        agree(between(theirs(State::Opened, 0, 0), ours(State::Voided, 0, 0)));
    }

    #[test]
    fn a_payment_that_one_side_does_not_know_matters_if_it_has_money() {
        let only_theirs = |theirs| Facts { theirs: Some(theirs), ours: None, ..paid() };
        is(only_theirs(theirs(State::Captured, 2_430, 0)), Kind::NotInShop);
        agree(only_theirs(theirs(State::Refunded, 2_430, 2_430)));
        agree(only_theirs(theirs(State::Opened, 0, 0)));
        let of_nobody =
            Facts { order: OrderStanding::Unknown, ..only_theirs(theirs(State::Authorised, 0, 0)) };
        is(of_nobody, Kind::NotInShop);
        let only_ours = |ours| Facts { theirs: None, ours: Some(ours), ..paid() };
        is(only_ours(ours(State::Captured, 2_430, 0)), Kind::NotAtProvider);
        is(only_ours(ours(State::Authorised, 0, 0)), Kind::NotAtProvider);
        agree(only_ours(ours(State::Opened, 0, 0)));
    }

    #[test]
    fn what_was_taken_is_compared_to_the_coin_and_in_its_currency() {
        let taken = |there, here| {
            let there_state = if there == 0 { State::Voided } else { State::Captured };
            let here_state = if here == 0 { State::Voided } else { State::Captured };
            between(theirs(there_state, there, 0), ours(here_state, here, 0))
        };
        is(taken(2_429, 2_430), Kind::AmountsDiffer);
        is(taken(2_430, 0), Kind::CapturedOnlyThere);
        is(taken(0, 2_430), Kind::CapturedOnlyHere);
        let dollars = Money::new(Decimal::new(2_430, 2), Currency::USD).unwrap();
        let nothing = Money::zero(Currency::USD).unwrap();
        let there = Theirs {
            state: State::Captured,
            amount: dollars,
            captured: dollars,
            refunded: nothing,
        };
        is(between(there, ours(State::Captured, 2_430, 0)), Kind::AmountsDiffer);
        // Captured and refunded before the shop noticed.
        agree(between(theirs(State::Refunded, 2_430, 2_430), ours(State::Voided, 0, 0)));
    }

    #[test]
    fn what_was_given_back_is_compared_unless_that_is_about_to_change() {
        let given = |there, here| {
            between(theirs(State::Captured, 2_430, there), ours(State::Captured, 2_430, here))
        };
        is(given(400, 0), Kind::RefundedOnlyThere);
        is(given(0, 400), Kind::RefundedOnlyHere);
        let failed = RefundStanding::FailedThere;
        is(Facts { refunds: failed, ..given(0, 400) }, Kind::RefundFailedThere);
        agree(Facts { refunds: failed, ..given(400, 400) });
        agree(Facts { refunds: RefundStanding::UnderWay, ..given(400, 0) });
    }

    #[test]
    fn a_second_payment_of_an_order_is_told_as_that() {
        is(Facts { is_surplus: true, ..paid() }, Kind::ChargedTwice);
        is(Facts { is_surplus: true, ours: None, ..paid() }, Kind::ChargedTwice);
        let given_back =
            between(theirs(State::Refunded, 2_430, 2_430), ours(State::Refunded, 2_430, 2_430));
        agree(Facts { is_surplus: true, ..given_back });
    }

    #[test]
    fn an_authorisation_is_voided_where_nobody_will_ever_capture_it_and_nowhere_else() {
        for (state, ours) in [
            (State::Authorised, Some(ours(State::Voided, 0, 0))),
            (State::AwaitingCustomer, Some(ours(State::Voided, 0, 0))),
            (State::Authorised, None),
        ] {
            let left = Facts { theirs: Some(theirs(state, 0, 0)), ours, ..paid() };
            let told = Some(Kind::AuthorisedAndLeft);
            let voided = Judgement { difference: told, repair: Some(Repair::Void) };
            assert_eq!(judge(&left), voided, "{left:?}");
            is(Facts { is_settled_by_hand: true, ..left }, Kind::AuthorisedAndLeft);
            is(Facts { order: OrderStanding::CompletedUnpaid, ..left }, Kind::AuthorisedAndLeft);
            for order in [OrderStanding::Moving, OrderStanding::Waiting] {
                assert_ne!(judge(&Facts { order, ..left }).repair, Some(Repair::Void));
            }
        }
        // The shop considers it paid: voiding it would lose the money.
        let taken_here = between(theirs(State::Authorised, 0, 0), ours(State::Captured, 2_430, 0));
        is(taken_here, Kind::CapturedOnlyHere);
    }

    #[test]
    fn an_order_that_waits_for_what_is_decided_is_told_and_one_that_moves_is_let_be() {
        let approved =
            between(theirs(State::Authorised, 0, 0), ours(State::AwaitingCustomer, 0, 0));
        let waiting = Facts { order: OrderStanding::Waiting, ..approved };
        let hint = Judgement { difference: None, repair: Some(Repair::Hint) };
        assert_eq!(judge(&waiting), hint);
        agree(Facts { order: OrderStanding::Moving, ..approved });
        let undecided = theirs(State::AwaitingCustomer, 0, 0);
        agree(Facts { theirs: Some(undecided), ..waiting });
        // A payment captured only at the provider is reported, too.
        let taken = between(theirs(State::Captured, 2_430, 0), ours(State::Authorised, 0, 0));
        let taken = Facts { order: OrderStanding::Waiting, ..taken };
        let told = Some(Kind::CapturedOnlyThere);
        assert_eq!(judge(&taken), Judgement { difference: told, repair: Some(Repair::Hint) });
        // While the order is changing, a difference between the sides is not reported.
        let moving = Facts { order: OrderStanding::Moving, ..taken };
        let taken_here = Facts { ours: Some(ours(State::Captured, 2_430, 0)), ..moving };
        for facts in [moving, taken_here, Facts { theirs: None, ..taken_here }] {
            agree(facts);
        }
    }
}
