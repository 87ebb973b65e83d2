//! The inbox: applies events that the payment provider sends.
//!
//! An event only says which object to look at. The object is fetched from the provider, and its
//! state decides what to do; the event's type decides nothing. So an event that arrives twice, late
//! or out of order is harmless.
//!
//! - A *payment* that differs from the record: its order's workflow is signalled, and asks the
//!   provider. A workflow that has ended is not signalled.
//! - A *refund* of the shop's own that is in progress: its workflow is signalled. If a refund had
//!   succeeded and its money came back, it is reversed, in the ledger too: its workflow is started
//!   again, and a person decides.
//! - A refund that somebody made at the provider is recorded and posted, once.
//! - A *dispute* is recorded and posted by [`crate::disputes`].
//!
//! An event that cannot be applied yet stays open, and is retried for ever, with growing pauses:
//! the payment may not be on record yet, another refund may be in progress, or a person may have to
//! act. Operators see what it waits for, and may dismiss it.
//!
//! Several workers share the events. A worker takes a lease on an event, without an open database
//! transaction: if it dies, another worker takes the event after the lease expires.

mod feed;
mod store;

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use domain::event::{Booked, OrderEvent, RefundRequested, RefundReversed, RefundSucceeded};
use domain::ledger::JournalEntry;
use domain::payment::PaymentState;
use domain::refund::{Ask, AtProvider, Claimed, InvalidRefund, Left, Parts, REFUNDS_MAX, RefundId};
use domain::{Money, OrderId, OrderStatus, Subject, as_one_line};
use runtime::chain;
use sqlx::PgPool;

pub use self::feed::poll;
use self::store::{Charge, Known, Recording, Reversing};
use crate::disputes::{self, Applied};
use crate::payment::port::{EventSource, FoundRefund, PaymentId, ProviderError, Refund};
use crate::{ActivityFault, orders};

/// How often a refund's parts are recomputed because another refund came or ended meanwhile.
const ATTEMPTS: usize = 5;

/// The pause before an event is tried a second time. Each later pause is twice as long.
const PAUSE_MIN: Duration = Duration::from_secs(5);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_hours(1);

/// The most characters kept of the reason why an event is still open.
const REASON_MAX: usize = 500;

/// The requester on record of a refund that was made at the provider.
const FROM_OUTSIDE: &str = "payment-provider";

/// An event that this worker has leased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The provider's id of the event.
    pub event_id: String,
    /// The provider's type of the event.
    pub event_type: String,
    /// The kind of object that it is about.
    pub object_kind: String,
    /// The object's id, if it has one.
    pub object_id: Option<String>,
    /// How often it was taken, including this time. If the number on record differs, the lease has
    /// expired and another worker has the event.
    attempts: i32,
}

/// The result of handling an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The shop's record agrees with the provider.
    Applied,
    /// It is about nothing that the shop keeps.
    Ignored,
    /// It stays open, for this reason.
    NotYet(String),
}

/// A workflow that may wait for the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// An order's workflow.
    Order(OrderId),
    /// A refund's workflow.
    Refund(RefundId),
}

/// A change at the provider, as signalled to a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The event that brought it. A workflow is signalled once per event.
    pub event_id: String,
    /// The provider's id of the payment or the refund.
    pub reference: String,
    /// Its new state.
    pub status: &'static str,
}

/// Access to the workflows of orders and refunds.
#[async_trait]
pub trait Processes: Send + Sync {
    /// Signals a workflow that something has changed at the provider, so that it asks at once if it
    /// waits for that. If the workflow has ended, nothing happens, which is no error.
    async fn tell(&self, process: Process, news: &News)
    -> Result<(), Box<dyn Error + Send + Sync>>;

    /// Whether the workflow is running.
    async fn is_under_way(&self, process: Process) -> Result<bool, Box<dyn Error + Send + Sync>>;
}

/// Takes at most `most` events that are due, the longest waiting first.
pub async fn take(db: &PgPool, most: i64) -> Result<Vec<Taken>, ActivityFault> {
    store::take(db, most).await
}

/// Applies an event and records the result.
///
/// **Errors.** The result could not be recorded. The event is taken again after a while.
/// **Repeats.** An applied event is no longer open; one that is applied a second time, because the
/// first worker was too slow, finds everything done.
pub async fn handle(
    db: &PgPool,
    provider: &dyn EventSource,
    processes: &dyn Processes,
    event: &Taken,
) -> Result<Outcome, ActivityFault> {
    let applied = Inbox { db, provider, processes, event }.apply().await;
    let (outcome, retry_after) = match applied {
        Ok(outcome) => (outcome, None),
        Err(fault) => {
            let retry_after = pause_asked_for(&fault);
            (Outcome::NotYet(told(event, &fault)), retry_after)
        }
    };
    match &outcome {
        Outcome::Applied => store::settle(db, event, "applied").await?,
        Outcome::Ignored => store::settle(db, event, "ignored").await?,
        Outcome::NotYet(why) => {
            let pause = retry_after.unwrap_or_default().max(pause_after(event.attempts));
            store::postpone(db, event, &as_one_line(why, REASON_MAX), pause).await?;
        }
    }
    Ok(outcome)
}

/// Deletes events that were applied or ignored this many days ago; returns how many.
pub async fn sweep(db: &PgPool, kept_days: u16, at_most: i32) -> Result<i64, ActivityFault> {
    store::sweep(db, kept_days, at_most).await
}

/// What went wrong, for operators and for the log.
fn told(event: &Taken, fault: &ActivityFault) -> String {
    let (id, why) = (&event.event_id, chain(fault));
    match fault {
        ActivityFault::Broken { .. } => {
            tracing::error!(event = id, error = why, "a provider event fails because of a bug");
        }
        ActivityFault::Unavailable { .. }
        | ActivityFault::InvalidAnswer { .. }
        | ActivityFault::NotOpen { .. }
        | ActivityFault::Rejected(_) => {
            tracing::warn!(event = id, error = why, "a provider event cannot be applied yet");
        }
    }
    why
}

fn pause_asked_for(fault: &ActivityFault) -> Option<Duration> {
    match fault {
        ActivityFault::Unavailable { retry_after, .. } => *retry_after,
        ActivityFault::InvalidAnswer { .. }
        | ActivityFault::NotOpen { .. }
        | ActivityFault::Rejected(_)
        | ActivityFault::Broken { .. } => None,
    }
}

/// The pause before the next attempt, by the number of attempts.
fn pause_after(attempts: i32) -> Duration {
    let before = u32::try_from(attempts).unwrap_or_default().saturating_sub(1).min(16);
    PAUSE_MIN.saturating_mul(2_u32.saturating_pow(before)).min(PAUSE_MAX)
}

const NO_OBJECT: &str = "the event does not say what it is about: dismiss it";
const NO_PAYMENT: &str =
    "no payment of this name is on record yet; if it is another shop's, dismiss the event";
const NOT_A_PAYMENTS: &str =
    "the refund belongs to no payment that this shop opens: dismiss the event";
const ORDER_UNDER_WAY: &str = "money was given back at the payment provider, and the order has not come to its end yet; if \
     it ends as another than completed, dismiss the event";
const MORE_THAN_LEFT: &str = "more was given back at the payment provider than other refunds have \
                              left of the payment: see what is right, and dismiss the event";
const TOO_MANY: &str = "the order has had as many refunds as an order may have: see that this \
                        one is in your accounts, and dismiss the event";
const CHANGED: &str = "other refunds of the order came in between";
const TOLD: &str = "the process that waits for it has been told, and has not recorded it yet";
const ENDING: &str = "the refund's process is about to end";
const ANOTHER_UNDER_WAY: &str = "the refund's money came back, and another refund of the order is \
                                 under way: it is taken back once that one has ended";
const CAME_BACK_TO_NO_ORDER: &str = "the money of an order that was called off came back: give it \
                                     back at the payment provider, or by other means; then dismiss \
                                     the event";

/// Handles one event.
struct Inbox<'a> {
    db: &'a PgPool,
    provider: &'a dyn EventSource,
    processes: &'a dyn Processes,
    event: &'a Taken,
}

impl Inbox<'_> {
    async fn apply(&self) -> Result<Outcome, ActivityFault> {
        let Taken { event_type, object_kind, object_id, .. } = self.event;
        let subject = Subject::of(event_type, object_kind);
        let Some(id) = object_id else {
            return Ok(match subject {
                Subject::Nothing => Outcome::Ignored,
                Subject::Payment | Subject::Refund | Subject::Dispute => not_yet(NO_OBJECT),
            });
        };
        match subject {
            Subject::Payment => self.payment(&PaymentId(id.clone())).await,
            Subject::Refund => self.refund(id).await,
            Subject::Dispute => self.dispute(id).await,
            Subject::Nothing => Ok(Outcome::Ignored),
        }
    }

    /// A payment may have changed.
    async fn payment(&self, id: &PaymentId) -> Result<Outcome, ActivityFault> {
        let Some(charge) = store::charge(self.db, id).await? else {
            return Ok(not_yet(NO_PAYMENT));
        };
        let found = self.provider.look_up(id).await;
        let found = found.map_err(|error| fault(error, "asking what became of a payment"))?;
        if found.state != charge.state {
            let process = Process::Order(charge.order_id);
            self.tell(process, &id.0, found.state.name()).await?;
        }
        Ok(Outcome::Applied)
    }

    /// A refund may have changed, or may be unknown to the shop.
    async fn refund(&self, reference: &str) -> Result<Outcome, ActivityFault> {
        let found = self.provider.find_refund(reference).await;
        let found = found.map_err(|error| fault(error, "asking about a refund"))?;
        let FoundRefund { payment, key, refund } = found;
        let refund = refund.checked();
        let refund = refund.map_err(|error| fault(error, "asking about a refund"))?;
        let Some(payment) = payment else { return Ok(not_yet(NOT_A_PAYMENTS)) };
        let Some(charge) = store::charge(self.db, &payment).await? else {
            return Ok(not_yet(NO_PAYMENT));
        };
        let known = store::refunds(self.db, &charge).await?;
        if let Some(known) = known.iter().find(|one| one.is_named(&refund.reference)) {
            return match refund.state {
                AtProvider::Succeeded | AtProvider::Pending => Ok(Outcome::Applied),
                AtProvider::Failed => self.take_back(&charge, known, &refund).await,
            };
        }
        let is_own = |one: &&Known| key.as_deref().is_some_and(|key| charge.is_key_of(one, key));
        let own = known.iter().find(is_own);
        if let Some(own) = own.filter(|own| own.state.is_open()) {
            return self.under_way(&charge, own, &refund).await;
        }
        if key.is_some_and(|key| charge.is_key_of_its_undo(&key)) {
            return self.undo(&charge, &payment, &refund).await;
        }
        match refund.state {
            // As far as the shop knows, nothing was refunded.
            AtProvider::Pending | AtProvider::Failed => Ok(Outcome::Applied),
            AtProvider::Succeeded => self.given_outside(&charge, &refund).await,
        }
    }

    /// A dispute may be new, or may have changed.
    async fn dispute(&self, id: &str) -> Result<Outcome, ActivityFault> {
        let facts = self.provider.retrieve_dispute(id).await;
        let facts = facts.map_err(|error| fault(error, "asking about a dispute"))?;
        Ok(match disputes::apply(self.db, &facts).await? {
            Applied::Unmatched => not_yet(NO_PAYMENT),
            Applied::Known | Applied::Changed => Outcome::Applied,
        })
    }

    /// A refund of the shop's own that has not ended on record.
    ///
    /// Its workflow is signalled, and the event stays open until the record agrees: the workflow
    /// may be about to record an earlier state of the refund.
    async fn under_way(
        &self,
        charge: &Charge,
        own: &Known,
        refund: &Refund,
    ) -> Result<Outcome, ActivityFault> {
        let is_on_record = match refund.state {
            AtProvider::Pending => true,
            AtProvider::Failed => own.has_failed_as(&refund.reference),
            AtProvider::Succeeded => false,
        };
        if is_on_record {
            return Ok(Outcome::Applied);
        }
        let process = Process::Refund(own.id(charge));
        self.tell(process, &refund.reference, status(refund.state)).await?;
        Ok(not_yet(TOLD))
    }

    /// The refund of an order that is being, or was, unwound.
    async fn undo(
        &self,
        charge: &Charge,
        payment: &PaymentId,
        refund: &Refund,
    ) -> Result<Outcome, ActivityFault> {
        if charge.state != PaymentState::Refunded {
            let process = Process::Order(charge.order_id);
            self.tell(process, &refund.reference, status(refund.state)).await?;
            let has_failed = refund.state == AtProvider::Failed;
            return Ok(if has_failed { not_yet(TOLD) } else { Outcome::Applied });
        }
        if refund.state != AtProvider::Failed {
            return Ok(Outcome::Applied);
        }
        // Another refund may have followed.
        let found = self.provider.look_up(payment).await;
        let found = found.map_err(|error| fault(error, "asking what became of a payment"))?;
        let is_given_back = found.state == PaymentState::Refunded;
        Ok(if is_given_back { Outcome::Applied } else { not_yet(CAME_BACK_TO_NO_ORDER) })
    }

    /// A refund that had succeeded has failed: its money is back at the shop.
    async fn take_back(
        &self,
        charge: &Charge,
        known: &Known,
        refund: &Refund,
    ) -> Result<Outcome, ActivityFault> {
        const DOING: &str = "taking back a refund";
        let id = known.id(charge);
        if !known.is_from_outside && self.is_under_way(Process::Refund(id)).await? {
            return Ok(not_yet(ENDING));
        }
        let why = refund.failure.clone().unwrap_or_else(|| "unspecified".to_owned());
        // The amount still given back is computed where it is written.
        let given_back = Money::zero(known.amount.currency());
        let reversed = OrderEvent::RefundReversed(RefundReversed {
            number: id.number,
            amount: known.amount,
            given_back: given_back.map_err(|error| ActivityFault::broken(DOING, error))?,
            why: why.clone(),
            provider_reference: refund.reference.clone(),
        });
        match store::reverse(self.db, id, &refund.reference, &why, &reversed).await? {
            Reversing::Reversed => {
                let (order, number) = (id.order_id, id.number);
                tracing::warn!(%order, number, why, "the money of a refund came back");
                Ok(Outcome::Applied)
            }
            Reversing::UnderWay => Ok(not_yet(ANOTHER_UNDER_WAY)),
            Reversing::Changed => Ok(not_yet(CHANGED)),
        }
    }

    /// Somebody has refunded money at the provider.
    async fn given_outside(
        &self,
        charge: &Charge,
        refund: &Refund,
    ) -> Result<Outcome, ActivityFault> {
        let is_completed = charge.status == OrderStatus::Completed;
        if !is_completed && charge.status.is_terminal() && charge.state == PaymentState::Refunded {
            // It is a part of what the order's undo refunded.
            return Ok(Outcome::Applied);
        }
        if !is_completed {
            return Ok(not_yet(ORDER_UNDER_WAY));
        }
        for _ in 0..ATTEMPTS {
            let known = store::refunds(self.db, charge).await?;
            let Some(parts) = self.parts(charge, &known, refund.amount).await? else {
                return Ok(not_yet(MORE_THAN_LEFT));
            };
            if known.len() >= REFUNDS_MAX {
                return Ok(not_yet(TOO_MANY));
            }
            match self.record(charge, &known, refund, parts).await? {
                Recording::Recorded => {
                    let (order, amount) = (charge.order_id, refund.amount);
                    tracing::info!(%order, %amount, "money was given back at the provider");
                    return Ok(Outcome::Applied);
                }
                Recording::Repeated => return Ok(Outcome::Applied),
                Recording::NotCompleted => return Ok(not_yet(ORDER_UNDER_WAY)),
                Recording::TooMuch => return Ok(not_yet(MORE_THAN_LEFT)),
                Recording::Changed => {}
            }
        }
        Ok(not_yet(CHANGED))
    }

    /// The parts of the amount. `None`: it is more than is left, or not of this payment.
    async fn parts(
        &self,
        charge: &Charge,
        known: &[Known],
        amount: Money,
    ) -> Result<Option<Parts>, ActivityFault> {
        const DOING: &str = "working out what was given back";
        let broken = |error: InvalidRefund| ActivityFault::broken(DOING, error);
        let order = orders::on_record(self.db.into(), charge.next_key(known)?).await?;
        let claimed: Vec<_> = known.iter().filter_map(Known::claimed).collect();
        let left = Left::of(&order.lines, &order.totals, &claimed).map_err(broken)?;
        match left.parts_of(&Ask::Amount(amount)) {
            Ok(parts) => Ok(Some(parts)),
            Err(
                InvalidRefund::MoreThanLeft { .. }
                | InvalidRefund::OtherCurrency { .. }
                | InvalidRefund::Nothing,
            ) => Ok(None),
            Err(
                error @ (InvalidRefund::NotOrdered(_)
                | InvalidRefund::TooManyPieces { .. }
                | InvalidRefund::Money(_)),
            ) => Err(broken(error)),
        }
    }

    async fn record(
        &self,
        charge: &Charge,
        known: &[Known],
        refund: &Refund,
        parts: Parts,
    ) -> Result<Recording, ActivityFault> {
        const DOING: &str = "recording a refund of the provider's";
        let broken = |error: &dyn Error| ActivityFault::broken(DOING, error.to_string());
        let key = charge.next_key(known)?;
        let entry = JournalEntry::refund(key, parts).map_err(|error| broken(&error))?;
        let RefundId { number, .. } = RefundId::of_key(key);
        let (amount, lines) = (refund.amount, vec![]);
        let claimed = known.iter().filter(|one| one.claimed().is_some()).map(|one| one.amount);
        let claimed = Money::sum(amount.currency(), claimed).map_err(|error| broken(&error))?;
        // The amount left is computed where it is written.
        let left = Money::zero(amount.currency()).map_err(|error| broken(&error))?;
        let requested = OrderEvent::RefundRequested(RefundRequested {
            number,
            amount,
            lines,
            reason: "given back at the payment provider".to_owned(),
            requested_by: FROM_OUTSIDE.to_owned(),
        });
        let provider_reference = refund.reference.clone();
        let succeeded = RefundSucceeded { number, amount, left, provider_reference };
        let posted = OrderEvent::RefundPosted(Booked { entries: entry.entries().to_vec() });
        store::record(
            self.db,
            &store::FromOutside {
                charge,
                claimed,
                parts,
                entry: &entry,
                reference: &refund.reference,
                events: [&requested, &OrderEvent::RefundSucceeded(succeeded), &posted],
            },
        )
        .await
    }

    async fn tell(
        &self,
        process: Process,
        reference: &str,
        status: &'static str,
    ) -> Result<(), ActivityFault> {
        let (event_id, reference) = (self.event.event_id.clone(), reference.to_owned());
        let news = News { event_id, reference, status };
        let told = self.processes.tell(process, &news).await;
        told.map_err(|source| away("telling a process of the provider's news", source))
    }

    async fn is_under_way(&self, process: Process) -> Result<bool, ActivityFault> {
        let is_under_way = self.processes.is_under_way(process).await;
        is_under_way.map_err(|source| away("looking for a process", source))
    }
}

impl Known {
    /// What the refund claims of the payment, unless it has failed.
    fn claimed(&self) -> Option<Claimed> {
        self.gives_back().then(|| Claimed { parts: self.parts, lines: self.lines.clone() })
    }
}

/// The workflows cannot be reached.
fn away(doing: &'static str, source: Box<dyn Error + Send + Sync>) -> ActivityFault {
    ActivityFault::Unavailable { doing, retry_after: None, source }
}

fn fault(error: ProviderError, doing: &'static str) -> ActivityFault {
    error.into_fault(doing)
}

fn not_yet(why: &str) -> Outcome {
    Outcome::NotYet(why.to_owned())
}

/// A refund's state, in a word.
fn status(state: AtProvider) -> &'static str {
    state.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_rests_for_longer_each_time_and_for_an_hour_at_most() {
        let pauses: Vec<_> = (1..=12).map(|taken| pause_after(taken).as_secs()).collect();
        assert_eq!(pauses[..4], [5, 10, 20, 40]);
        assert_eq!(pauses[10..], [3_600, 3_600]);
        for odd in [i32::MIN, 0, i32::MAX] {
            assert!((PAUSE_MIN..=PAUSE_MAX).contains(&pause_after(odd)), "{odd}");
        }
    }
}
