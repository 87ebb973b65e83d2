//! Fraud screening: applies the rules to an order, and waits for a person's review.
//!
//! The rules are applied to an order twice ([`Stage`]), each time under its own key.
//! [`domain::screening`] decides, from the facts read here. Orders of the same customer, payment
//! method, address and network are counted in the database (`fraud.count_order`); the count is
//! exact even if many are placed at once.
//!
//! A rule set in shadow mode is applied to the same facts. Its decision is recorded before the
//! order's, and has no effect on the order.
//!
//! # Waiting for a review
//!
//! An order that needs a review leaves the step's record unanswered, with a deadline. The recorded
//! deadline counts, whichever run asks. A decision answers the record in the transaction that
//! stores the decision (`fraud.conclude_review`), so either the person or the deadline comes first,
//! never both.

mod store;

use std::collections::BTreeSet;

use domain::screening::{Facts, ScreeningAnswer, Stage, Verdict, Window};
use domain::{Order, Rejection, StepKey};
use runtime::database::Db;

use self::store::{InUse, Review, Rules, Screened};
use crate::ActivityFault;
use crate::idempotency::{self, Outcome, Recorded};
use crate::orders::{self, Begun};

/// Screens the order. Undone by [`withdraw`].
///
/// **Errors.** Rejected as declined, without a reason: the reason is recorded for reviewers only.
/// Not open if the order is not on record or has ended.
/// **Repeats.** By key: the first answer, by the rules active then. A pending review is not an
/// answer: a repeat returns the decision, made by a person or by the deadline.
pub async fn screen<'a>(
    db: impl Into<Db<'a>>,
    key: StepKey,
) -> Result<ScreeningAnswer, ActivityFault> {
    let db = db.into();
    let Begun { order, recorded } = orders::begin(db, key).await?;
    let Recorded::Open = recorded else { return recorded.into_answer(key) };
    if let Some(review) = store::waiting(db, key).await? {
        return review_of(db, key, &review).await;
    }
    let InUse { active: Rules { version, set }, shadow } = store::rules(db).await?;
    let stage = Stage::of_attempt(key.attempt);
    let mut windows = set.windows();
    windows.extend(shadow.iter().flat_map(|tried| tried.set.windows()));
    let facts = facts(db, key, &order, stage, &windows).await?;
    if let Some(Rules { version, set }) = shadow {
        let assessment = set.assess(stage, &facts);
        let tried = Screened { rule_set: version, facts: &facts, assessment: &assessment };
        store::try_out(db, key, &tried).await?;
    }
    let assessment = set.assess(stage, &facts);
    let screened = Screened { rule_set: version, facts: &facts, assessment: &assessment };
    let outcome = match assessment.verdict {
        Verdict::Approve => {
            Outcome::Done(ScreeningAnswer::Passed { rule_set: version }).into_json()
        }
        Verdict::Decline => Outcome::<()>::Refused(Rejection::ScreeningDeclined).into_json(),
        Verdict::Review => {
            let seconds = order.terms.screening.map_or(0, |screening| screening.review_seconds);
            store::ask(db, key, &screened, seconds, set.review_default).await?;
            return match store::waiting(db, key).await? {
                Some(review) => review_of(db, key, &review).await,
                None => overtaken(db, key).await,
            };
        }
    };
    let recorded = store::answer(db, key, &screened, &outcome).await?;
    idempotency::answer(db, key, recorded).await
}

/// Removes the order from the counts, unless it was declined, and withdraws its pending review.
///
/// **Repeats.** Idempotent. A late screening finds the tombstone.
pub async fn withdraw<'a>(db: impl Into<Db<'a>>, key: StepKey) -> Result<(), ActivityFault> {
    let db = db.into();
    idempotency::leave_tombstone(db, key).await?;
    store::withdraw(db, key).await
}

/// The recorded result, if another attempt was first.
async fn overtaken(db: Db<'_>, key: StepKey) -> Result<ScreeningAnswer, ActivityFault> {
    match idempotency::recall(db, key).await? {
        // The first screening is undone, and with it the second.
        Recorded::Open => Err(idempotency::already_undone(key)),
        recorded @ (Recorded::Answered(_) | Recorded::Undone) => recorded.into_answer(key),
    }
}

/// The deadline of the order's review; or, if it has passed, the default decision.
async fn review_of(
    db: Db<'_>,
    key: StepKey,
    review: &Review,
) -> Result<ScreeningAnswer, ActivityFault> {
    if !review.is_over {
        return Ok(ScreeningAnswer::Waits { waits_until: review.until });
    }
    store::conclude_by_default(db, key, review.otherwise).await?;
    // A person may have decided first: the record counts.
    idempotency::recall(db, key).await?.into_answer(key)
}

async fn facts(
    db: Db<'_>,
    key: StepKey,
    order: &Order,
    stage: Stage,
    windows: &BTreeSet<Window>,
) -> Result<Facts, ActivityFault> {
    let (counts, listings) = match stage {
        Stage::BeforePayment => {
            (store::counts(db, key, windows).await?, store::listings(db, key).await?)
        }
        Stage::AfterAuthorisation => (vec![], vec![]),
    };
    let known = store::known(db, key).await?;
    Ok(Facts {
        total: order.totals.total,
        ship_to: order.ship_to.country,
        is_first_order: known.is_first_order,
        usual_country: known.usual_country,
        method_country: known.method_country,
        risk: known.risk,
        counts,
        listings,
    })
}
