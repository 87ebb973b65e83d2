//! Disputes: a customer's bank takes a payment back (a chargeback), or asks about it (an inquiry).
//! This module has their states, their money movements and the ledger entries of these.
//!
//! The provider reports a dispute by snapshots: its state at one moment, with all movements until
//! then. Snapshots arrive more than once, late, and out of order. So each has an age
//! ([`DisputeFacts::age`]), by which a snapshot older than the record is ignored, and each movement
//! has a unique name, under which it is posted once. The final record does not depend on the order
//! of the snapshots.
//!
//! # In the ledger
//!
//! | movement | debit | credit |
//! |---|---|---|
//! | withdrawn: the bank has the money | disputed payments | payment clearing |
//! | fee: what the provider takes for it | dispute fees | payment clearing |
//! | reinstated: the shop has it again | payment clearing | disputed payments |
//! | fee returned | payment clearing | dispute fees |
//! | lost: the customer keeps it | dispute losses | disputed payments |
//! | recovered: it was not lost after all | disputed payments | dispute losses |
//! | settled: its order is undone, and the customer already has the money | payment clearing | dispute losses |
//!
//! The first four are reported by the provider, with its own ids; the shop derives the others.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoStaticStr};

use crate::ledger::{Account, Entry};
use crate::status::InvalidTransition;
use crate::{Attention, Currency, Decision, Money, MoneyError, PaymentStatus, StepName};

/// The status of a dispute, as the provider reports it.
///
/// An inquiry (`warning-…`) is a question by the bank, which takes no money; it may become a
/// dispute that does.
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
pub enum DisputeStatus {
    /// The bank asks about the payment, and the shop has to answer.
    WarningNeedsResponse,
    /// The bank reviews the shop's answer.
    WarningUnderReview,
    /// The bank closed the inquiry without taking money.
    WarningClosed,
    /// The bank has taken the payment back, and the shop may submit evidence against that.
    NeedsResponse,
    /// The bank reviews the shop's evidence.
    UnderReview,
    /// The provider resolved the matter before it became a dispute.
    Prevented,
    /// The customer keeps the money.
    Lost,
    /// The shop keeps the money.
    Won,
}

impl DisputeStatus {
    /// The name as the database and JSON write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether the dispute is undecided. Must agree with `payments.disputes.is_open` in the
    /// database.
    #[must_use]
    pub const fn is_open(self) -> bool {
        match self {
            Self::WarningNeedsResponse
            | Self::WarningUnderReview
            | Self::NeedsResponse
            | Self::UnderReview => true,
            Self::WarningClosed | Self::Prevented | Self::Lost | Self::Won => false,
        }
    }

    /// Whether the bank has the payment in this status: the dispute is open, and more than an
    /// inquiry. Must agree with `payments.disputes.has_payment` in the database.
    #[must_use]
    pub const fn has_payment(self) -> bool {
        match self {
            Self::NeedsResponse | Self::UnderReview => true,
            Self::WarningNeedsResponse
            | Self::WarningUnderReview
            | Self::WarningClosed
            | Self::Prevented
            | Self::Lost
            | Self::Won => false,
        }
    }

    /// Whether it waits for the shop's answer.
    #[must_use]
    pub const fn needs_answer(self) -> bool {
        match self {
            Self::WarningNeedsResponse | Self::NeedsResponse => true,
            Self::WarningUnderReview
            | Self::WarningClosed
            | Self::UnderReview
            | Self::Prevented
            | Self::Lost
            | Self::Won => false,
        }
    }

    /// Changes to the next status. A status that comes before the current one is outdated and not a
    /// transition.
    ///
    /// **Errors.** [`InvalidTransition`].
    pub fn transition_to(self, next: Self) -> Result<Self, InvalidTransition> {
        if next.place() > self.place() {
            Ok(next)
        } else {
            Err(InvalidTransition { from: self.name(), to: next.name() })
        }
    }

    /// The status's position in the course of a dispute; positions may be skipped. `Lost` comes
    /// before `Won`, because a bank may reverse its decision.
    const fn place(self) -> u8 {
        match self {
            Self::WarningNeedsResponse => 0,
            Self::WarningUnderReview => 1,
            Self::WarningClosed => 2,
            Self::NeedsResponse => 3,
            Self::UnderReview => 4,
            Self::Prevented => 5,
            Self::Lost => 6,
            Self::Won => 7,
        }
    }
}

/// The kind of a dispute's movement.
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
pub enum MovementKind {
    /// The bank took the money.
    Withdrawn,
    /// The provider charged its fee for the dispute.
    Fee,
    /// The shop got the money back.
    Reinstated,
    /// The provider returned its fee.
    FeeReturned,
    /// The customer keeps the money: a loss.
    Lost,
    /// A loss was reversed: the shop keeps the money after all.
    Recovered,
    /// A loss was covered: the order is undone, so the customer had to get the money back anyway.
    Settled,
}

impl MovementKind {
    /// The name as the database and JSON write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether the provider reports it. The shop derives the others.
    #[must_use]
    pub const fn is_of_provider(self) -> bool {
        match self {
            Self::Withdrawn | Self::Fee | Self::Reinstated | Self::FeeReturned => true,
            Self::Lost | Self::Recovered | Self::Settled => false,
        }
    }

    /// The accounts that it debits and credits.
    const fn accounts(self) -> (Account, Account) {
        match self {
            Self::Withdrawn => (Account::DisputedPayments, Account::PaymentClearing),
            Self::Fee => (Account::DisputeFees, Account::PaymentClearing),
            Self::Reinstated => (Account::PaymentClearing, Account::DisputedPayments),
            Self::FeeReturned => (Account::PaymentClearing, Account::DisputeFees),
            Self::Lost => (Account::DisputeLosses, Account::DisputedPayments),
            Self::Recovered => (Account::DisputedPayments, Account::DisputeLosses),
            Self::Settled => (Account::PaymentClearing, Account::DisputeLosses),
        }
    }
}

/// Money moved by a dispute.
///
/// **Shape.** The amount is above zero; the kind gives the direction.
/// **Repeats.** Reference and kind identify it within its dispute: the same pair is one movement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    /// The provider's id of the cause, such as a balance transaction's id.
    pub reference: String,
    /// What it is.
    pub kind: MovementKind,
    /// How much.
    pub amount: Money,
}

impl Movement {
    /// Its ledger entries, which balance.
    #[must_use]
    pub const fn entries(&self) -> [Entry; 2] {
        let (debit, credit) = self.kind.accounts();
        [Entry::debit(debit, self.amount), Entry::credit(credit, self.amount)]
    }

    /// The key of its journal entry.
    #[must_use]
    pub fn key(&self, dispute_id: &str) -> String {
        format!("dispute:{dispute_id}:{}:{}", self.reference, self.kind.name())
    }

    fn is(&self, other: &Self) -> bool {
        self.reference == other.reference && self.kind == other.kind
    }
}

/// A snapshot of a dispute at the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisputeFacts {
    /// The provider's id of the dispute.
    pub dispute_id: String,
    /// The provider's id of the disputed payment.
    pub payment_reference: String,
    /// The disputed amount: usually the payment's, but it may be a part or, due to exchange rates,
    /// more.
    pub amount: Money,
    /// Its status.
    pub status: DisputeStatus,
    /// The bank's reason code, such as `fraudulent`.
    pub reason: String,
    /// The deadline for the shop's answer, if there is one.
    pub evidence_due: Option<DateTime<Utc>>,
    /// All movements so far, each one once.
    pub movements: Vec<Movement>,
}

/// Orders the snapshots of a dispute: the newer one has more movements; or as many, and a later
/// status; or the same status, and a later deadline.
pub type Age = (usize, u8, Option<DateTime<Utc>>);

impl DisputeFacts {
    /// The snapshot's age.
    #[must_use]
    pub const fn age(&self) -> Age {
        (self.movements.len(), self.status.place(), self.evidence_due)
    }
}

/// A dispute on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its status.
    pub status: DisputeStatus,
    /// The deadline for the shop's answer.
    pub evidence_due: Option<DateTime<Utc>>,
    /// All movements posted so far.
    pub movements: Vec<Movement>,
}

impl Recorded {
    fn age(&self) -> Age {
        let of_provider = self.movements.iter().filter(|one| one.kind.is_of_provider());
        (of_provider.count(), self.status.place(), self.evidence_due)
    }
}

/// The change that a snapshot makes to the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whether the snapshot is newer than the record: its status, reason and deadline replace those
    /// on record.
    pub is_newer: bool,
    /// The dispute's status from now on.
    pub status: DisputeStatus,
    /// Whether the customer keeps the money.
    pub is_lost: bool,
    /// The movements to post.
    pub movements: Vec<Movement>,
}

/// Merges a snapshot into the record. `None` if all of it is already on record.
///
/// **Errors.** Amounts that cannot be added up.
pub fn take_in(
    known: Option<&Recorded>,
    facts: &DisputeFacts,
) -> Result<Option<Change>, MoneyError> {
    let is_newer = known.is_none_or(|known| facts.age() > known.age());
    let on_record = known.map(|known| known.movements.as_slice()).unwrap_or_default();
    let is_new = |one: &&Movement| !on_record.iter().any(|other| other.is(one));
    let mut movements: Vec<_> = facts.movements.iter().filter(is_new).cloned().collect();
    if !is_newer && movements.is_empty() {
        return Ok(None);
    }
    let status = known.filter(|_| !is_newer).map_or(facts.status, |known| known.status);
    let all: Vec<_> = on_record.iter().chain(&movements).cloned().collect();
    let currency = facts.amount.currency();
    let lost = lost(status, &all, currency)?;
    movements.extend(written_off(lost, &all, currency)?);
    let is_lost = match status {
        DisputeStatus::Lost => true,
        DisputeStatus::Prevented => !lost.is_zero(),
        DisputeStatus::WarningNeedsResponse
        | DisputeStatus::WarningUnderReview
        | DisputeStatus::WarningClosed
        | DisputeStatus::NeedsResponse
        | DisputeStatus::UnderReview
        | DisputeStatus::Won => false,
    };
    Ok(Some(Change { is_newer, status, is_lost, movements }))
}

/// How much is lost to the customer. When the shop has won, the money may not be back yet, so a
/// missing rest counts as lost only once a part has been reinstated.
fn lost(
    status: DisputeStatus,
    movements: &[Movement],
    currency: Currency,
) -> Result<Money, MoneyError> {
    let sum = |kind| sum(movements, kind, currency);
    let (withdrawn, reinstated) = (sum(MovementKind::Withdrawn)?, sum(MovementKind::Reinstated)?);
    let is_final = match status {
        DisputeStatus::Lost | DisputeStatus::Prevented => true,
        DisputeStatus::Won | DisputeStatus::WarningClosed => !reinstated.is_zero(),
        DisputeStatus::WarningNeedsResponse
        | DisputeStatus::WarningUnderReview
        | DisputeStatus::NeedsResponse
        | DisputeStatus::UnderReview => false,
    };
    if is_final && withdrawn.amount() > reinstated.amount() {
        withdrawn.checked_sub(reinstated)
    } else {
        Money::zero(currency)
    }
}

/// The movement that brings the loss in the ledger to this amount.
fn written_off(
    lost: Money,
    movements: &[Movement],
    currency: Currency,
) -> Result<Option<Movement>, MoneyError> {
    let sum = |kind| sum(movements, kind, currency);
    let booked = sum(MovementKind::Lost)?.checked_sub(sum(MovementKind::Recovered)?)?;
    let (kind, amount) = if lost.amount() >= booked.amount() {
        (MovementKind::Lost, lost.checked_sub(booked)?)
    } else {
        (MovementKind::Recovered, booked.checked_sub(lost)?)
    };
    // The number of the provider's movements makes the reference unique: without another one, a
    // dispute cannot reach the same outcome twice.
    let so_far = movements.iter().filter(|one| one.kind.is_of_provider()).count();
    let movement = Movement { reference: so_far.to_string(), kind, amount };
    Ok((!amount.is_zero()).then_some(movement))
}

fn sum(
    movements: &[Movement],
    kind: MovementKind,
    currency: Currency,
) -> Result<Money, MoneyError> {
    let of_kind = movements.iter().filter(|one| one.kind == kind);
    Money::sum(currency, of_kind.map(|one| one.amount))
}

/// The part of a dispute that determines its order's payment status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its status.
    pub status: DisputeStatus,
    /// Whether the customer keeps the money.
    pub is_lost: bool,
}

/// The status of a payment, given the amounts captured and refunded, and its disputes: disputed
/// while a bank has it; refunded once a dispute is lost, because the customer has the money;
/// otherwise as without disputes. `None` if nothing was captured.
#[must_use]
pub fn payment_status(
    captured: Money,
    refunded: Money,
    disputes: &[Claim],
) -> Option<PaymentStatus> {
    if captured.is_zero() {
        None
    } else if disputes.iter().any(|one| one.status.has_payment()) {
        Some(PaymentStatus::Disputed)
    } else if disputes.iter().any(|one| one.is_lost) || refunded.amount() >= captured.amount() {
        Some(PaymentStatus::Refunded)
    } else if refunded.is_zero() {
        Some(PaymentStatus::Paid)
    } else {
        Some(PaymentStatus::PartiallyRefunded)
    }
}

/// A dispute that waits for the shop's answer, as shown to an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToAnswer {
    /// The provider's id of the dispute.
    pub dispute_id: String,
    /// Counts the order's disputes, from 1.
    pub number: u32,
    /// Its status.
    pub status: DisputeStatus,
    /// How much is disputed.
    pub amount: Money,
    /// How much of the payment had been refunded before.
    pub refunded: Money,
    /// The bank's reason.
    pub reason: String,
    /// The deadline for the answer.
    pub evidence_due: Option<DateTime<Utc>>,
    /// When it started to wait.
    pub since: DateTime<Utc>,
}

impl ToAnswer {
    /// Shows it as something that needs a person's decision.
    ///
    /// `skip` says that somebody has dealt with it: it is no longer shown, and a parcel that was
    /// held for it is sent.
    #[must_use]
    pub fn attention(&self) -> Attention {
        Attention {
            step: StepName::AnswerDispute,
            occurrence: self.number,
            undoing: false,
            why: self.instruction(),
            decisions: vec![Decision::Skip],
            since: self.since,
        }
    }

    /// What to do, and until when.
    fn instruction(&self) -> String {
        let Self { dispute_id, status, amount, refunded, reason, .. } = self;
        let until = self.evidence_due.map_or_else(
            || "as soon as you can".to_owned(),
            |due| format!("by {}", due.format("%Y-%m-%d %H:%M UTC")),
        );
        let what = if status.has_payment() {
            format!("the customer's bank has taken {amount} back ({reason})")
        } else {
            format!("the customer's bank asks about {amount} ({reason}); a refund ends that")
        };
        let given = if refunded.is_zero() {
            String::new()
        } else {
            format!("; {refunded} was given back before: show that")
        };
        format!(
            "{what}: answer dispute {dispute_id} at the payment provider {until}{given}; it is off \
             this list once the provider says that it is answered, or somebody decides `skip`"
        )
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use itertools::Itertools as _;
    use proptest::prelude::*;
    use rust_decimal::Decimal;
    use strum::IntoEnumIterator as _;

    use super::*;
    use crate::ledger::Side;

    fn pence(amount: u32) -> Money {
        Money::new(Decimal::new(amount.into(), 2), Currency::GBP).unwrap()
    }

    fn moved(reference: &str, kind: MovementKind, amount: u32) -> Movement {
        Movement { reference: reference.to_owned(), kind, amount: pence(amount) }
    }

    /// £24.30 withdrawn, with a fee of £15.
    fn withdrawn() -> Vec<Movement> {
        vec![moved("t1", MovementKind::Withdrawn, 2_430), moved("t1", MovementKind::Fee, 1_500)]
    }

    fn reinstated(amount: u32) -> Vec<Movement> {
        let back = moved("t2", MovementKind::Reinstated, amount);
        withdrawn().into_iter().chain([back]).collect()
    }

    fn facts(status: DisputeStatus, movements: Vec<Movement>) -> DisputeFacts {
        DisputeFacts {
            dispute_id: "dp_1".to_owned(),
            payment_reference: "pi_1".to_owned(),
            amount: pence(2_430),
            status,
            reason: "fraudulent".to_owned(),
            evidence_due: DateTime::from_timestamp(1_793_534_400, 0),
            movements,
        }
    }

    /// The record after all of these snapshots.
    fn record(snapshots: &[DisputeFacts]) -> Recorded {
        let mut known: Option<Recorded> = None;
        for facts in snapshots {
            let Some(change) = take_in(known.as_ref(), facts).unwrap() else { continue };
            let mut movements = known.as_ref().map(|it| it.movements.clone()).unwrap_or_default();
            movements.extend(change.movements);
            let old = known.filter(|_| !change.is_newer);
            let evidence_due = old.map_or(facts.evidence_due, |old| old.evidence_due);
            known = Some(Recorded { status: change.status, evidence_due, movements });
        }
        known.unwrap()
    }

    fn balance_of(record: &Recorded, account: Account) -> Decimal {
        let entries = record.movements.iter().flat_map(Movement::entries);
        let of_account = entries.filter(|entry| entry.account == account);
        let balance = of_account.fold(Decimal::ZERO, |sum, entry| match entry.side {
            Side::Debit => sum.saturating_add(entry.amount.amount()),
            Side::Credit => sum.saturating_sub(entry.amount.amount()),
        });
        // Zero has no sign in the snapshot.
        if balance.is_zero() { Decimal::ZERO } else { balance }
    }

    fn balances(record: &Recorded) -> String {
        let accounts = [
            Account::PaymentClearing,
            Account::DisputedPayments,
            Account::DisputeFees,
            Account::DisputeLosses,
        ];
        accounts.map(|account| format!("{:.2}", balance_of(record, account))).join(" ")
    }

    #[test]
    fn a_dispute_has_these_transitions_and_no_others() {
        let lines = DisputeStatus::iter().map(|from| {
            let next = DisputeStatus::iter().filter(|to| from.transition_to(*to).is_ok());
            format!("{} -> {}\n", from.name(), next.map(DisputeStatus::name).join(" | "))
        });
        expect![[r"
            warning-needs-response -> warning-under-review | warning-closed | needs-response | under-review | prevented | lost | won
            warning-under-review -> warning-closed | needs-response | under-review | prevented | lost | won
            warning-closed -> needs-response | under-review | prevented | lost | won
            needs-response -> under-review | prevented | lost | won
            under-review -> prevented | lost | won
            prevented -> lost | won
            lost -> won
            won -> 
        "]]
        .assert_eq(&lines.collect::<String>());
    }

    #[test]
    fn what_the_bank_has_is_open_and_what_waits_for_an_answer_too() {
        for status in DisputeStatus::iter() {
            assert!(status.is_open() || !status.has_payment(), "{status:?}");
            assert!(status.is_open() || !status.needs_answer(), "{status:?}");
            assert_eq!(status.name().parse(), Ok(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.name());
        }
    }

    #[test]
    fn the_books_say_who_has_the_money() {
        use DisputeStatus as S;
        for (snapshots, told) in [
            (vec![facts(S::WarningNeedsResponse, vec![])], "0.00 0.00 0.00 0.00"),
            (vec![facts(S::NeedsResponse, withdrawn())], "-39.30 24.30 15.00 0.00"),
            (vec![facts(S::Lost, withdrawn())], "-39.30 0.00 15.00 24.30"),
            (vec![facts(S::Won, withdrawn())], "-39.30 24.30 15.00 0.00"),
            (vec![facts(S::Won, reinstated(2_430))], "-15.00 0.00 15.00 0.00"),
            (vec![facts(S::Won, reinstated(1_000))], "-29.30 0.00 15.00 14.30"),
            (vec![facts(S::Prevented, withdrawn())], "-39.30 0.00 15.00 24.30"),
            (vec![facts(S::Prevented, vec![])], "0.00 0.00 0.00 0.00"),
            (
                vec![facts(S::Lost, withdrawn()), facts(S::Won, reinstated(2_430))],
                "-15.00 0.00 15.00 0.00",
            ),
        ] {
            assert_eq!(balances(&record(&snapshots)), told, "{snapshots:?}");
        }
    }

    #[test]
    fn each_movement_is_as_much_on_the_left_as_on_the_right_under_a_name_of_its_own() {
        for kind in MovementKind::iter() {
            let [debit, credit] = moved("t1", kind, 100).entries();
            assert_eq!((debit.side, credit.side), (Side::Debit, Side::Credit));
            assert_eq!(debit.amount, credit.amount);
            assert_ne!(debit.account, credit.account);
        }
        let mut keys = MovementKind::iter().map(|kind| moved("t1", kind, 100).key("dp_1"));
        assert!(keys.all_unique());
        let key = moved("t1", MovementKind::FeeReturned, 100).key("dp_1");
        assert_eq!(key, "dispute:dp_1:t1:fee-returned");
    }

    #[test]
    fn a_payment_is_disputed_while_a_bank_has_it_and_refunded_once_it_is_lost() {
        use DisputeStatus as S;
        let claim = |status, is_lost| Claim { status, is_lost };
        let won = claim(S::Won, false);
        for (refunded, disputes, status) in [
            (0, vec![claim(S::NeedsResponse, false)], PaymentStatus::Disputed),
            (2_430, vec![claim(S::UnderReview, false)], PaymentStatus::Disputed),
            (0, vec![claim(S::WarningNeedsResponse, false)], PaymentStatus::Paid),
            (0, vec![won], PaymentStatus::Paid),
            (1_000, vec![won], PaymentStatus::PartiallyRefunded),
            (2_430, vec![won], PaymentStatus::Refunded),
            (0, vec![claim(S::Lost, true)], PaymentStatus::Refunded),
            (1_000, vec![won, claim(S::Lost, true)], PaymentStatus::Refunded),
            (0, vec![claim(S::Lost, true), claim(S::UnderReview, false)], PaymentStatus::Disputed),
        ] {
            let made = payment_status(pence(2_430), pence(refunded), &disputes);
            assert_eq!(made, Some(status), "{refunded} {disputes:?}");
        }
        assert_eq!(payment_status(pence(0), pence(0), &[claim(S::NeedsResponse, false)]), None);
    }

    #[test]
    fn an_operator_is_told_what_to_do_and_until_when() {
        let to_answer = ToAnswer {
            dispute_id: "dp_1".to_owned(),
            number: 2,
            status: DisputeStatus::NeedsResponse,
            amount: pence(2_430),
            refunded: pence(1_000),
            reason: "fraudulent".to_owned(),
            evidence_due: DateTime::from_timestamp(1_793_534_400, 0),
            since: DateTime::UNIX_EPOCH,
        };
        let attention = to_answer.attention();
        assert_eq!((attention.step, attention.occurrence), (StepName::AnswerDispute, 2));
        assert_eq!(
            attention.why,
            "the customer's bank has taken 24.30 GBP back (fraudulent): answer dispute dp_1 at the \
             payment provider by 2026-11-01 12:00 UTC; 10.00 GBP was given back before: show that; \
             it is off this list once the provider says that it is answered, or somebody decides \
             `skip`"
        );
        let inquiry = ToAnswer {
            status: DisputeStatus::WarningNeedsResponse,
            refunded: pence(0),
            evidence_due: None,
            ..to_answer
        };
        assert_eq!(
            inquiry.attention().why,
            "the customer's bank asks about 24.30 GBP (fraudulent); a refund ends that: answer \
             dispute dp_1 at the payment provider as soon as you can; it is off this list once the \
             provider says that it is answered, or somebody decides `skip`"
        );
    }

    /// The course of a dispute at the provider, as a list of possible snapshots.
    fn courses() -> impl Strategy<Value = Vec<DisputeFacts>> {
        use DisputeStatus as S;
        let ends = prop::sample::select(vec![
            vec![(S::Lost, 0)],
            vec![(S::Won, 0), (S::Won, 2_430)],
            vec![(S::Won, 1_000)],
            vec![(S::Lost, 0), (S::Won, 2_430)],
            vec![(S::Prevented, 0)],
            vec![],
        ]);
        (any::<bool>(), ends).prop_map(|(is_asked_first, ends)| {
            let first = is_asked_first.then(|| facts(S::WarningNeedsResponse, vec![]));
            let taken = [
                facts(S::NeedsResponse, vec![]),
                facts(S::NeedsResponse, withdrawn()),
                facts(S::UnderReview, withdrawn()),
            ];
            let ends = ends.into_iter().map(|(status, back)| {
                facts(status, if back == 0 { withdrawn() } else { reinstated(back) })
            });
            first.into_iter().chain(taken).chain(ends).collect()
        })
    }

    proptest! {
        #[test]
        fn in_whatever_order_and_however_often_snapshots_come_the_record_is_the_same(
            (course, told) in courses().prop_flat_map(|course| {
                let snapshots = prop::collection::vec(prop::sample::select(course.clone()), 0..12);
                (Just(course), snapshots)
            }),
            last_comes in any::<prop::sample::Index>(),
        ) {
            let mut told = told;
            let last = course.last().unwrap().clone();
            told.insert(last_comes.index(told.len().saturating_add(1)), last);
            let (straight, made) = (record(&course), record(&told));
            prop_assert_eq!(made.status, straight.status);
            prop_assert_eq!(balances(&made), balances(&straight));
            let mut names = made.movements.iter().map(|one| one.key("dp_1"));
            prop_assert!(names.all_unique(), "{:?}", made.movements);
        }
    }
}
