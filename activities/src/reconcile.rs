//! Reconciliation: compares provider and shop payment by payment, and posts the provider's payouts.
//!
//! # The phases of a run
//!
//! 1. The provider's lists of the range are read, page by page, and stored: payments, then refunds.
//! 2. The shop's payments of the range that the list lacks, and those with an open difference, are
//!    looked up one by one. So a payment at the range's border is never missing.
//! 3. The payouts of the range are posted, with the fees of their items.
//! 4. All payments that were read are judged by `domain::reconciliation`. If one seems to differ,
//!    both sides are read once more, so that an order which was just changing is left alone.
//!
//! Each page's transaction also saves the run's progress, so a retry continues after the last page.
//! All records are keyed by the provider's ids, so a run that is repeated, or overlaps another,
//! posts nothing twice and opens no difference twice.
//!
//! A rehearsal is the same run in one transaction that is rolled back. It only reads the provider's
//! lists.

mod payouts;
mod store;

use chrono::{DateTime, Utc};
use domain::payment::PaymentState;
use domain::reconciliation::{DifferenceKind, Judgement, OrderStanding, Repair, Theirs, judge};
use domain::{Money, OrderId};
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::PgPool;
use workflows::reconcile::{HINTS_MAX, Hint, Reconciled};

use self::store::{Checkpoint, Found, Notes, Pair, PairStanding, Phase, Run, Said};
use crate::ActivityFault;
use crate::payment::lists::{ListedPayment, ProviderLists};
use crate::payment::port::{PaymentId, PaymentProvider, ProviderError};

/// The request for a run.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The run's name: a request with the same name continues the run.
    pub name: String,
    /// The start of the range, inclusive.
    pub from: Option<DateTime<Utc>>,
    /// The end of the range, exclusive. By default a quarter of an hour ago: younger payments may
    /// not have reached the shop's records yet.
    pub to: Option<DateTime<Utc>>,
    /// The length of the range in days, if `from` is not given.
    pub days: u32,
}

/// The result of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Its number on record; a rehearsal's number does not exist afterwards.
    pub run: i64,
    /// The start of the range, inclusive.
    pub from: DateTime<Utc>,
    /// The end of the range, exclusive.
    pub to: DateTime<Utc>,
    /// The number of payments that the provider listed.
    pub payments: i64,
    /// The number of refunds.
    pub refunds: i64,
    /// The number of payouts.
    pub payouts: i64,
    /// The number of differences that the run opened.
    pub opened: i64,
    /// The number of differences that it found resolved, and closed.
    pub closed: i64,
    /// The number of open differences.
    pub found: i64,
    /// The number of payments that it voided, because their orders are over.
    pub voided: i64,
    /// The workflows that wait for something already decided.
    pub hints: Vec<Hint>,
    /// The open differences, the oldest first; a thousand at most.
    pub differences: Vec<Difference>,
}

/// A difference between provider and shop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its kind.
    pub kind: DifferenceKind,
    /// The provider's id of the payment or the payout.
    pub subject: String,
    /// The order, if it is known.
    pub order_id: Option<OrderId>,
    /// The provider's amount.
    pub at_provider: Option<Amount>,
    /// The shop's amount.
    pub in_shop: Option<Amount>,
    /// When it was first seen.
    pub since: DateTime<Utc>,
    /// What to do about it.
    pub advice: &'static str,
}

/// An amount that may be negative.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// In major units.
    pub amount: Decimal,
    /// ISO 4217.
    pub currency: String,
}

impl Report {
    /// Whether no difference is open.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.found == 0
    }

    /// The part of the report that the workflow gets.
    #[must_use]
    pub fn reconciled(self) -> Reconciled {
        Reconciled { run: self.run, found: self.found, hints: self.hints }
    }
}

impl From<Money> for Amount {
    fn from(money: Money) -> Self {
        Self { amount: money.amount(), currency: money.currency().code().to_owned() }
    }
}

/// Compares, repairs what is safe to repair, and posts payouts.
///
/// **Errors.** Unavailable while the provider does not answer, or while another run is in progress.
/// Not open if this run made no progress for so long that another has replaced it.
/// **Repeats.** By the run's name: continues it; a finished run is only reported.
pub async fn reconcile(
    db: &PgPool,
    provider: &dyn PaymentProvider,
    asked: &Asked,
) -> Result<Report, ActivityFault> {
    Box::pin(carry_out(Notes::Kept(db), provider, asked)).await
}

/// A dry run: reports what a run would find and do, without any effect.
pub async fn rehearse(
    db: &PgPool,
    provider: &dyn PaymentProvider,
    asked: &Asked,
) -> Result<Report, ActivityFault> {
    const DOING: &str = "rehearsing a reconciliation";
    let mut transaction = db.begin().await.map_err(|error| store::fault(DOING, error))?;
    let report = Box::pin(carry_out(Notes::Undone(&mut transaction), provider, asked)).await;
    transaction.rollback().await.map_err(|error| store::fault(DOING, error))?;
    report
}

async fn carry_out(
    mut notes: Notes<'_>,
    provider: &dyn PaymentProvider,
    asked: &Asked,
) -> Result<Report, ActivityFault> {
    let run = store::begin(&mut notes, asked).await?;
    if run.has_finished {
        return store::report(&mut notes, run.id, Vec::new()).await;
    }
    let mut session = Session { notes, provider, run, hints: Vec::new() };
    loop {
        match session.run.at.phase {
            Phase::Payments => session.read_payments().await?,
            Phase::Refunds => session.read_refunds().await?,
            Phase::LeftOut => session.look_up_left_out().await?,
            Phase::Payouts => session.read_payouts().await?,
            Phase::Judging => break,
        }
    }
    Box::pin(session.judge()).await?;
    let Session { mut notes, run, hints, .. } = session;
    store::finish(&mut notes, run.id, hints.len()).await?;
    store::report(&mut notes, run.id, hints).await
}

/// The result of judging a payment.
enum Verdict {
    /// It is left to the next run, together with an open difference about it.
    LeftAlone,
    /// Both sides agree, possibly after a repair.
    Agree,
    Differ(Found),
}

/// A run in progress.
struct Session<'a> {
    notes: Notes<'a>,
    provider: &'a dyn PaymentProvider,
    run: Run,
    hints: Vec<Hint>,
}

impl<'a> Session<'a> {
    fn lists(&self) -> &'a dyn ProviderLists {
        self.provider.lists()
    }

    /// The run's checkpoint after this page: the next page, or the next phase.
    fn after(&self, next: Option<String>, then: Phase) -> Checkpoint {
        match next {
            Some(cursor) => Checkpoint { phase: self.run.at.phase, cursor: Some(cursor) },
            None => Checkpoint { phase: then, cursor: None },
        }
    }

    async fn read_payments(&mut self) -> Result<(), ActivityFault> {
        let cursor = self.run.at.cursor.as_deref();
        let page = self.lists().list_payments(self.run.range, cursor).await;
        let page = page.map_err(|error| error.into_fault("listing payments"))?;
        let next = self.after(page.next, Phase::Refunds);
        let said: Vec<_> = page.items.iter().map(Said::of).collect::<Result<_, _>>()?;
        store::keep_payments(&mut self.notes, self.run.id, &said, Some(&next)).await?;
        self.run.at = next;
        Ok(())
    }

    async fn read_refunds(&mut self) -> Result<(), ActivityFault> {
        let cursor = self.run.at.cursor.as_deref();
        let page = self.lists().list_refunds(self.run.range, cursor).await;
        let page = page.map_err(|error| error.into_fault("listing refunds"))?;
        let next = self.after(page.next, Phase::LeftOut);
        store::keep_refunds(&mut self.notes, self.run.id, &page.items, &next).await?;
        self.run.at = next;
        Ok(())
    }

    /// Looks up some of the payments that no page contained; once none is left, starts the next
    /// phase.
    async fn look_up_left_out(&mut self) -> Result<(), ActivityFault> {
        let left_out = store::left_out(&mut self.notes, &self.run).await?;
        for reference in &left_out {
            self.look_up(reference).await?;
        }
        if left_out.is_empty() {
            let next = Checkpoint { phase: Phase::Payouts, cursor: None };
            store::go_on(&mut self.notes, self.run.id, &next).await?;
            self.run.at = next;
        }
        Ok(())
    }

    /// Looks up a payment at the provider and stores its state.
    async fn look_up(&mut self, reference: &str) -> Result<(), ActivityFault> {
        let id = PaymentId(reference.to_owned());
        let found = self.lists().find(&id).await;
        let found = match found {
            Ok(found) => Some(ListedPayment { id, ..found }),
            Err(ProviderError::NotFound) => None,
            Err(
                error @ (ProviderError::MovedOn
                | ProviderError::Unavailable { .. }
                | ProviderError::InvalidAnswer(_)),
            ) => return Err(error.into_fault("looking a payment up")),
        };
        let said = match &found {
            Some(found) => Said::of(found)?,
            None => Said::missing(reference),
        };
        store::keep_payments(&mut self.notes, self.run.id, &[said], None).await
    }

    /// Compares the stored states with the shop's records.
    async fn judge(&mut self) -> Result<(), ActivityFault> {
        let mut after = String::new();
        loop {
            let pairs = store::pairs(&mut self.notes, self.run.id, &after).await?;
            let Some(last) = pairs.last() else { break };
            after.clone_from(&last.reference);
            let (mut examined, mut found) = (Vec::new(), Vec::new());
            for pair in &pairs {
                match self.judge_pair(pair).await? {
                    Verdict::LeftAlone => {}
                    Verdict::Agree => examined.push(pair.reference.clone()),
                    Verdict::Differ(difference) => {
                        examined.push(pair.reference.clone());
                        found.push(difference);
                    }
                }
            }
            store::settle(&mut self.notes, self.run.id, &examined, &found).await?;
        }
        self.judge_payouts().await?;
        let room = HINTS_MAX.saturating_sub(self.hints.len());
        self.hints.extend(store::decided_refunds(&mut self.notes, self.run.id, room).await?);
        Ok(())
    }

    /// Judges a payment; if it seems to differ, reads both sides again and judges again.
    async fn judge_pair(&mut self, pair: &Pair) -> Result<Verdict, ActivityFault> {
        match pair.standing {
            PairStanding::Undecided => return Ok(Verdict::LeftAlone),
            PairStanding::Unreadable => {
                return Ok(Verdict::Differ(pair.found(DifferenceKind::Unreadable)));
            }
            PairStanding::Told => {}
        }
        if pair.facts.order == OrderStanding::Moving {
            return Ok(Verdict::LeftAlone);
        }
        if judge(&pair.facts) == Judgement::default() {
            return Ok(Verdict::Agree);
        }
        self.look_up(&pair.reference).await?;
        let again = store::pair(&mut self.notes, self.run.id, &pair.reference).await?;
        // If the shop's record has changed since the first read, the provider's state may have,
        // too.
        let Some(again) = again.filter(|again| again.is_as_before(pair)) else {
            return Ok(Verdict::LeftAlone);
        };
        let Judgement { difference, repair } = judge(&again.facts);
        if let Some(repair) = repair
            && self.repair(&again, repair).await?
        {
            return Ok(Verdict::Agree);
        }
        Ok(difference.map_or(Verdict::Agree, |kind| Verdict::Differ(again.found(kind))))
    }

    /// Executes a repair; returns whether the difference is thereby gone.
    async fn repair(&mut self, pair: &Pair, repair: Repair) -> Result<bool, ActivityFault> {
        let Some(Theirs { state, amount, .. }) = pair.facts.theirs else { return Ok(false) };
        match repair {
            Repair::Hint => {
                if let Some(order) = pair.order_id.filter(|_| self.hints.len() < HINTS_MAX) {
                    self.hints.push(Hint {
                        workflow_id: order.workflow_id(),
                        reference: pair.reference.clone(),
                        status: state.name().to_owned(),
                    });
                }
                Ok(false)
            }
            Repair::Void => {
                let is_void =
                    self.notes.is_rehearsal() || void(self.provider, &pair.reference).await?;
                if is_void {
                    store::voided(&mut self.notes, self.run.id, &pair.reference, amount).await?;
                }
                Ok(is_void)
            }
        }
    }
}

/// Voids a payment; returns whether it is void now. It is not if it was captured meanwhile.
async fn void(provider: &dyn PaymentProvider, reference: &str) -> Result<bool, ActivityFault> {
    match provider.void(&PaymentId(reference.to_owned())).await {
        Ok(payment) => Ok(payment.state == PaymentState::Voided),
        Err(ProviderError::MovedOn | ProviderError::NotFound) => Ok(false),
        Err(error @ (ProviderError::Unavailable { .. } | ProviderError::InvalidAnswer(_))) => {
            Err(error.into_fault("voiding a payment that is left"))
        }
    }
}

impl Pair {
    /// Whether the shop's record is unchanged, and the provider still has the payment.
    fn is_as_before(&self, before: &Self) -> bool {
        self.standing == before.standing
            && self.facts.ours == before.facts.ours
            && self.facts.order == before.facts.order
    }

    /// The difference, with its amounts.
    fn found(&self, kind: DifferenceKind) -> Found {
        let (theirs, ours) = (self.facts.theirs, self.facts.ours);
        let (at_provider, in_shop) = match kind {
            DifferenceKind::RefundedOnlyThere
            | DifferenceKind::RefundedOnlyHere
            | DifferenceKind::RefundFailedThere => {
                (theirs.map(|theirs| theirs.refunded), ours.map(|ours| ours.refunded))
            }
            // Nothing is captured: the amount is the authorised one.
            DifferenceKind::AuthorisedAndLeft => {
                (theirs.map(|theirs| theirs.amount), ours.map(|ours| ours.captured))
            }
            DifferenceKind::NotInShop
            | DifferenceKind::NotAtProvider
            | DifferenceKind::AmountsDiffer
            | DifferenceKind::CapturedOnlyThere
            | DifferenceKind::CapturedOnlyHere
            | DifferenceKind::ChargedTwice
            | DifferenceKind::Unreadable
            | DifferenceKind::PayoutDiffers
            | DifferenceKind::SettledInAnotherCurrency => {
                (theirs.map(|theirs| theirs.captured), ours.map(|ours| ours.captured))
            }
        };
        Found {
            kind,
            subject: self.reference.clone(),
            order_id: self.order_id,
            at_provider: at_provider.map(Amount::from),
            in_shop: in_shop.map(Amount::from),
        }
    }
}
