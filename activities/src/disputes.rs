//! Disputes: records what a customer's bank does about a payment, posts it to the ledger, and asks
//! an operator to answer.
//!
//! Whoever learns of a dispute, by a webhook or by polling, fetches it from the provider
//! ([`PaymentProvider::retrieve_dispute`](crate::payment::port::PaymentProvider::retrieve_dispute))
//! and passes it to [`apply`]. [`domain::dispute`] decides what a snapshot changes; this module
//! executes that in one transaction, under the lock of the order's row.
//!
//! While a dispute is open, [`crate::shipping`] holds a parcel that has not left, and
//! [`crate::payment`] and [`crate::refunds`] do not refund a payment that the bank has.

mod store;

use std::time::Duration;

use domain::dispute::{self, Change, Claim, DisputeFacts, Movement, MovementKind};
use domain::event::{Booked, Disputed, OrderEvent};
use domain::{Charge, OrderId, PaymentStatus, as_one_line, is_foreign_id};
use runtime::database::Db;
use sqlx::{PgConnection, PgPool};

use self::store::{Known, Payment};
use crate::ActivityFault;
use crate::fault::Cause;
use crate::payment::port::PROVIDER;

/// The result of applying a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Its payment is not this shop's, or is not on record yet.
    Unmatched,
    /// All of it was already on record.
    Known,
    /// Some of it was new.
    Changed,
}

/// Records a snapshot of a dispute, posts its movements, and asks an operator to answer if
/// necessary.
///
/// **Errors.** An invalid answer if the snapshot is inconsistent; nothing is recorded then.
/// **Repeats.** Snapshots may arrive more than once and in any order: one older than the record
/// changes nothing, and each movement is posted once.
pub async fn apply(db: &PgPool, facts: &DisputeFacts) -> Result<Applied, ActivityFault> {
    check(facts)?;
    let mut transaction = store::begin(db).await?;
    let db = &mut *transaction;
    let Some(payment) = store::payment(db, &facts.payment_reference).await? else {
        return Ok(Applied::Unmatched);
    };
    let known = store::known(db, &payment, &facts.dispute_id).await?;
    let change = dispute::take_in(known.recorded.as_ref(), facts).map_err(invalid)?;
    let Some(change) = change else { return Ok(Applied::Known) };
    // Bounds the length of the reason, whatever the provider sends.
    let facts = &DisputeFacts { reason: as_one_line(&facts.reason, REASON_MAX), ..facts.clone() };
    if change.is_newer {
        store::keep(db, &payment, known.number, facts, &change).await?;
    }
    for event in told(&payment, &known, facts, &change) {
        store::tell(db, payment.order_id, &event).await?;
    }
    for movement in &change.movements {
        book(db, payment.order_id, &facts.dispute_id, movement).await?;
    }
    store::commit(transaction).await?;
    Ok(Applied::Changed)
}

/// Who has a payment that is about to be refunded because its order is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The shop has it, so it can be refunded.
    WithTheShop,
    /// The customer has it already.
    WithTheCustomer,
}

/// Checks whether a bank has a payment that is about to be refunded. If the customer already has it
/// by a dispute, no refund is needed; the ledger reverses the loss, once.
///
/// **Errors.** Unavailable while a bank has the payment: the outcome is open.
/// **Repeats.** Posted once.
pub(crate) async fn before_giving_back(
    db: Db<'_>,
    charge: &Charge,
) -> Result<Standing, ActivityFault> {
    let key = charge.key.to_string();
    let disputes = store::claims(db, &key).await?;
    if disputes.iter().any(|one| one.status.has_payment()) {
        return Err(waits(GIVING_BACK));
    }
    if !disputes.iter().any(|one| one.is_lost) {
        return Ok(Standing::WithTheShop);
    }
    let order_id = charge.key.order_id;
    let mut transaction = store::begin(db.transactions()).await?;
    let Some((dispute_id, paid)) = store::given_by_bank(&mut transaction, order_id, &key).await?
    else {
        // The bank has a part. Whether the rest can be refunded is decided by the provider.
        return Ok(Standing::WithTheShop);
    };
    let movement =
        Movement { reference: "unwound".to_owned(), kind: MovementKind::Settled, amount: paid };
    if !store::is_booked(&mut transaction, &dispute_id, &movement).await? {
        book(&mut transaction, order_id, &dispute_id, &movement).await?;
        store::commit(transaction).await?;
    }
    Ok(Standing::WithTheCustomer)
}

/// The retry delay of a step that waits for a dispute. A hint wakes it earlier.
const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(30);

const GIVING_BACK: &str = "waiting for the end of a dispute, before a payment is given back";

/// The fault of a step that waits until a dispute is decided.
pub(crate) fn waits(doing: &'static str) -> ActivityFault {
    ActivityFault::Unavailable {
        doing,
        retry_after: Some(TRIED_AGAIN_AFTER),
        source: "the customer's bank disputes the payment".into(),
    }
}

/// A bank's reason is a short code.
const REASON_MAX: usize = 100;

fn check(facts: &DisputeFacts) -> Result<(), ActivityFault> {
    let names = facts.movements.iter().map(|movement| movement.reference.as_str());
    let mut names = names.chain([facts.dispute_id.as_str(), facts.payment_reference.as_str()]);
    if !names.all(is_foreign_id) {
        return Err(invalid("an id that cannot be stored"));
    }
    let is_wrong = |one: &Movement| one.amount.is_zero() || !one.kind.is_of_provider();
    if facts.movements.iter().any(is_wrong) {
        return Err(invalid("a movement that is none"));
    }
    Ok(())
}

fn invalid(source: impl Into<Cause>) -> ActivityFault {
    ActivityFault::InvalidAnswer {
        party: PROVIDER,
        doing: "recording a dispute",
        source: source.into(),
    }
}

/// The events for the order's record. A payment that was lost and is now the shop's again was
/// disputed in between.
fn told(
    payment: &Payment,
    known: &Known,
    facts: &DisputeFacts,
    change: &Change,
) -> Vec<OrderEvent> {
    if !change.is_newer {
        return Vec::new();
    }
    let Change { status, is_lost, .. } = *change;
    let disputes: Vec<_> =
        known.others.iter().copied().chain([Claim { status, is_lost }]).collect();
    let now = dispute::payment_status(payment.captured, payment.refunded, &disputes);
    let told = |payment_status| Disputed {
        dispute_id: facts.dispute_id.clone(),
        number: known.number,
        status,
        amount: facts.amount,
        reason: facts.reason.clone(),
        evidence_due: facts.evidence_due,
        payment_status,
    };
    if status.is_open() {
        let opened = if known.recorded.is_none() {
            OrderEvent::DisputeOpened(told(now))
        } else {
            OrderEvent::DisputeUpdated(told(now))
        };
        return vec![opened];
    }
    let is_the_shops_again = known.was_lost && !is_lost;
    let reopened =
        is_the_shops_again.then(|| OrderEvent::DisputeUpdated(told(Some(PaymentStatus::Disputed))));
    reopened.into_iter().chain([OrderEvent::DisputeClosed(told(now))]).collect()
}

async fn book(
    db: &mut PgConnection,
    order_id: OrderId,
    dispute_id: &str,
    movement: &Movement,
) -> Result<(), ActivityFault> {
    let entries = movement.entries();
    let posted = OrderEvent::DisputePosted(Booked { entries: entries.to_vec() });
    store::book(db, order_id, dispute_id, movement, &posted).await
}
