//! Disputes: what a customer's bank does about a payment goes on record, into the books, and to an
//! operator.
//!
//! Whoever hears of a dispute, by a webhook or by asking, fetches it from the provider
//! ([`PaymentProvider::retrieve_dispute`](crate::payment::port::PaymentProvider::retrieve_dispute))
//! and hands it to [`apply`]. What a snapshot changes is decided by [`domain::dispute`]; this module
//! carries it out, in one transaction, under the lock of the order's row.
//!
//! While a dispute is open, [`crate::shipping`] holds a parcel that has not left, and a payment that
//! the bank has is not given back by [`crate::payment`] or [`crate::refunds`].

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

/// What became of a snapshot of a dispute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is about no payment of this shop, or about one that is not on record yet.
    Unmatched,
    /// All of it was on record.
    Known,
    /// Something of it was new.
    Changed,
}

/// Puts a snapshot of a dispute on record, books what it has moved, and has an operator asked.
///
/// **Errors.** An invalid answer if the snapshot holds what cannot be; nothing is on record then.
/// **Repeats.** Snapshots may come more than once and in any order: an older one than that on record
/// changes nothing, and each movement is booked once.
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
    // A repeat of the reason is bounded, whatever the provider sends.
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

/// What the bank has made of a payment that is to be given back, because its order is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The shop has it, so it can be given back.
    WithTheShop,
    /// The customer has it already.
    WithTheCustomer,
}

/// Looks whether a bank has a payment that is to be given back. One that the customer keeps by a
/// dispute is given back by that; the books say so, once: the loss is none any more.
///
/// **Errors.** Unavailable while a bank has the payment: who will have it in the end, nobody knows.
/// **Repeats.** Booked once.
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
        // The bank has taken a part. Whether the rest can be given back is the provider's to say.
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

/// How soon something is tried again that waits for a dispute. It is woken by news, too.
const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(30);

const GIVING_BACK: &str = "waiting for the end of a dispute, before a payment is given back";

/// What waits until a dispute is decided.
pub(crate) fn waits(doing: &'static str) -> ActivityFault {
    ActivityFault::Unavailable {
        doing,
        retry_after: Some(TRIED_AGAIN_AFTER),
        source: "the customer's bank disputes the payment".into(),
    }
}

/// A bank has a word for why, in a word or two.
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

/// What happened, for the order's record. What the customer was to keep and is the shop's after all
/// was disputed in between.
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
