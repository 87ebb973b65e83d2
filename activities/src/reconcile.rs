//! Provider and shop compared, payment by payment, and what the provider pays out booked.
//!
//! # How a run goes
//!
//! 1. What the provider lists of the range is read, page by page, and kept: payments, then refunds.
//! 2. Payments that the shop has of the range and the list has not, and those of which a difference
//!    stands open, are asked for one by one. So a payment at the range's border is never missing.
//! 3. The payouts of the range are booked, with the fees of what they consist of.
//! 4. All payments that were looked at are judged by `domain::reconciliation`. What seems to differ
//!    is looked at once more, on both sides, so that an order which was just moving is left alone.
//!
//! After each page the run on record says how far it has come, in the page's own transaction, so an
//! attempt that dies is carried on from there. Everything is found again by the provider's own names,
//! so a run that is repeated, or overlaps another, books nothing twice and opens no difference twice.
//!
//! A rehearsal is the same run in one transaction that is rolled back. It asks the provider for
//! nothing but its lists.

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

/// What is to be compared.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Names the run: asked for again under the same name, it is carried on.
    pub name: String,
    /// The first moment of the range.
    pub from: Option<DateTime<Utc>>,
    /// The first moment after it. Without it, a quarter of an hour ago: what is younger may still be
    /// on its way into the shop's records.
    pub to: Option<DateTime<Utc>>,
    /// How many days before its end the range begins, if its beginning is not given.
    pub days: u32,
}

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Its number on record; of a rehearsal, one that nobody finds.
    pub run: i64,
    /// The first moment that was compared.
    pub from: DateTime<Utc>,
    /// The first moment that was not.
    pub to: DateTime<Utc>,
    /// How many payments the provider listed.
    pub payments: i64,
    /// How many refunds.
    pub refunds: i64,
    /// How many payouts.
    pub payouts: i64,
    /// How many differences the run opened.
    pub opened: i64,
    /// How many it found gone, and closed.
    pub closed: i64,
    /// How many stand open.
    pub found: i64,
    /// How many payments it voided, because their orders are over.
    pub voided: i64,
    /// The workflows that wait for what is decided already.
    pub hints: Vec<Hint>,
    /// What stands open, the oldest first; a thousand at most.
    pub differences: Vec<Difference>,
}

/// Where provider and shop do not say the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// How they differ.
    pub kind: DifferenceKind,
    /// The provider's own name for the payment or the payout.
    pub subject: String,
    /// The order, if it is known.
    pub order_id: Option<OrderId>,
    /// What the provider says.
    pub at_provider: Option<Amount>,
    /// What the shop has on record.
    pub in_shop: Option<Amount>,
    /// Since when it is known.
    pub since: DateTime<Utc>,
    /// What to do about it.
    pub advice: &'static str,
}

/// An amount that may be below zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// In major units.
    pub amount: Decimal,
    /// ISO 4217.
    pub currency: String,
}

impl Report {
    /// Whether nothing stands open.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.found == 0
    }

    /// What the workflow is told.
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

/// Compares, repairs what is safe to repair, and books what was paid out.
///
/// **Errors.** Unavailable while the provider does not answer, or while another run is under way. Not
/// open if nothing was heard of the run for so long that another has taken its place.
/// **Repeats.** By the run's name, from where it was; a run that has finished is only reported.
pub async fn reconcile(
    db: &PgPool,
    provider: &dyn PaymentProvider,
    asked: &Asked,
) -> Result<Report, ActivityFault> {
    Box::pin(carry_out(Notes::Kept(db), provider, asked)).await
}

/// The same without an effect: what a run would find and do.
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

/// What came of looking at a payment.
enum Verdict {
    /// It is left to the next run, and so is a difference of it that stands open.
    LeftAlone,
    /// Both sides say the same, now at the latest.
    Agree,
    Differ(Found),
}

/// A run that is under way.
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

    /// Where the run is once this page is kept: at the next one, or at the next phase.
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

    /// Asks for some of the payments that no page has shown; once none is left, goes on.
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

    /// Keeps what the provider says of one payment at this moment.
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

    /// Compares what was kept with what the shop has on record.
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

    /// Judges a payment, and once more if it seems to differ.
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
        // What has changed here since the first look may be half of what has changed there.
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

    /// Repairs; whether the difference is gone with that.
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

/// Voids a payment; whether it is void now. One that has been captured meanwhile is not.
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
    /// Whether what the shop has on record is what it was, and the provider can still tell.
    fn is_as_before(&self, before: &Self) -> bool {
        self.standing == before.standing
            && self.facts.ours == before.facts.ours
            && self.facts.order == before.facts.order
    }

    /// The difference, with the amounts that it is about.
    fn found(&self, kind: DifferenceKind) -> Found {
        let (theirs, ours) = (self.facts.theirs, self.facts.ours);
        let (at_provider, in_shop) = match kind {
            DifferenceKind::RefundedOnlyThere
            | DifferenceKind::RefundedOnlyHere
            | DifferenceKind::RefundFailedThere => {
                (theirs.map(|theirs| theirs.refunded), ours.map(|ours| ours.refunded))
            }
            // Nothing is taken: it is about what is set aside.
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
