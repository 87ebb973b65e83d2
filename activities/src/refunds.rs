//! Refunds of completed orders.
//!
//! The refund's row is its idempotency record: it is open until one statement ends it, together
//! with all effects of its end. [`domain::refund`] decides the next call; this module executes it.
//!
//! - The provider is queried by the refund's key before it is asked for a refund, so that one whose
//!   answer was lost is found, and the money is given back once.
//! - Success is one statement: the refund's state, the payment, the journal entry, the events. So
//!   the ledger never shows less than the shop holds, and shows more only until the provider's
//!   answer is recorded.
//! - A refund that failed at the provider stays open, and a person decides: `retry` asks the
//!   provider again, `skip` gives the refund up, and its amount can be requested again. The same
//!   applies if the customer's bank disputes the payment before the provider was asked.
//! - That a refund is given up is committed before its state is looked up at the provider: an
//!   attempt that reads it later does not request money.
//!
//! `models/` checks these rules for every order in which attempts can overtake each other and die.

mod store;

use domain::event::{Booked, OrderEvent, RefundSucceeded};
use domain::ledger::JournalEntry;
use domain::refund::{self, AtProvider, Call, Known, RefundId, RefundState};
use domain::{Money, Rejection, StepKey};
use runtime::database::Db;

use self::store::Stored;
use crate::ActivityFault;
use crate::payment::port::{PROVIDER, PaymentProvider, ProviderError, Refund};

/// Has the provider refund the money, and posts that. Given up by [`withdraw`].
///
/// If a lost run has begun to give it up, that is completed.
///
/// **Errors.** Rejected with the provider's reason if it did not refund the money; unavailable
/// while it has not decided. Not open if the refund is not on record, or was given up.
/// **Repeats.** By the refund's row here, and by its key at the provider: refunded once, and posted
/// once.
pub async fn issue<'a>(
    db: impl Into<Db<'a>>,
    provider: &dyn PaymentProvider,
    key: StepKey,
) -> Result<(), ActivityFault> {
    let db = db.into();
    if store::read(db, key).await?.state == RefundState::Requested {
        store::begin(db, key).await?;
    }
    // It may have been given up meanwhile.
    let mut stored = store::read(db, key).await?;
    if stored.is_given_up && stored.state.is_open() {
        withdraw(db, provider, key).await?;
        stored = store::read(db, key).await?;
    }
    match stored.state {
        RefundState::Requested | RefundState::Pending => {}
        RefundState::Succeeded => return Ok(()),
        RefundState::Failed | RefundState::Cancelled => return Err(given_up(key)),
    }
    Attempt::of(db, provider, key, stored).go_on(refund::issue).await
}

/// Gives a refund up: from now on nobody requests it from the provider. It ends as failed, or as
/// cancelled if the provider was never asked, and its amount can be requested again. If the
/// provider has refunded the money after all, it is recorded and posted as refunded.
///
/// **Errors.** Unavailable while the provider has not decided about it.
/// **Repeats.** A refund ends once.
pub async fn withdraw<'a>(
    db: impl Into<Db<'a>>,
    provider: &dyn PaymentProvider,
    key: StepKey,
) -> Result<(), ActivityFault> {
    let db = db.into();
    store::give_up(db, key).await?;
    let stored = store::read(db, key).await?;
    let known = match stored.state {
        // An attempt must record that it asks the provider first, and can no longer do so.
        RefundState::Requested => Known::Nothing,
        RefundState::Pending => Known::Unasked,
        RefundState::Succeeded | RefundState::Failed | RefundState::Cancelled => return Ok(()),
    };
    let attempt = Attempt::of(db, provider, key, stored);
    Attempt { known, ..attempt }.go_on(refund::withdraw).await
}

/// The refund's state.
///
/// **Errors.** Not open: it is not on record.
pub async fn state<'a>(db: impl Into<Db<'a>>, key: StepKey) -> Result<RefundState, ActivityFault> {
    Ok(store::read(db.into(), key).await?.state)
}

/// One attempt, and what it knows.
struct Attempt<'a> {
    db: Db<'a>,
    provider: &'a dyn PaymentProvider,
    key: StepKey,
    stored: Stored,
    known: Known,
    /// The newest refund under the key, as the provider answered.
    found: Option<Refund>,
    /// Whether the provider refused because of the payment's state.
    has_moved_on: bool,
}

/// After this many calls the provider contradicts itself.
const CALLS_MAX: usize = 8;

impl<'a> Attempt<'a> {
    const fn of(
        db: Db<'a>,
        provider: &'a dyn PaymentProvider,
        key: StepKey,
        stored: Stored,
    ) -> Self {
        let known = Known::Unasked;
        Self { db, provider, key, stored, known, found: None, has_moved_on: false }
    }

    async fn go_on(mut self, next: fn(Known) -> Call) -> Result<(), ActivityFault> {
        for _ in 0..CALLS_MAX {
            match next(self.known) {
                Call::LookUp => self.look_up().await?,
                Call::Ask => self.ask().await?,
                Call::RecordSuccess => return self.record_success().await,
                Call::Tell => return self.tell().await,
                Call::RecordEnd => return self.record_end().await,
                Call::Wait => return Err(pending()),
            }
        }
        Err(contradicts("it does not come to rest"))
    }

    async fn look_up(&mut self) -> Result<(), ActivityFault> {
        let found = self.provider.look_up_refund(&self.stored.payment, &self.name()).await;
        let found = found.and_then(|found| found.map(Refund::checked).transpose());
        let found = found.map_err(|error| self.fault(error, "asking what became of a refund"))?;
        if found.as_ref().is_some_and(|found| found.amount != self.stored.amount) {
            return Err(contradicts("it is of another amount"));
        }
        self.known = found.as_ref().map_or(Known::Nothing, |found| {
            let told = self.stored.failed_reference.as_ref();
            Known::Is(found.state, told == Some(&found.reference))
        });
        self.found = found;
        Ok(())
    }

    async fn ask(&mut self) -> Result<(), ActivityFault> {
        let Stored { payment, amount, is_disputed, .. } = &self.stored;
        if *is_disputed {
            // Requested before the dispute. The money is not the shop's at the moment.
            let why = "the customer's bank disputes the payment".to_owned();
            return Err(ActivityFault::Rejected(Rejection::RefundFailed { why }));
        }
        let asked = self.provider.refund(payment, &self.name(), *amount).await;
        self.known = Known::Unasked;
        match asked {
            // A refund that has failed meanwhile leaves its payment unchanged: it is looked up.
            Ok(_) => Ok(()),
            Err(ProviderError::MovedOn) if self.has_moved_on => {
                Err(contradicts("it is more than is left of the payment"))
            }
            Err(ProviderError::MovedOn) => {
                self.has_moved_on = true;
                Ok(())
            }
            Err(
                error @ (ProviderError::NotFound
                | ProviderError::Unavailable { .. }
                | ProviderError::InvalidAnswer(_)),
            ) => Err(self.fault(error, "giving money back")),
        }
    }

    async fn record_success(self) -> Result<(), ActivityFault> {
        const DOING: &str = "recording a refund";
        let Some(Refund { reference, state: AtProvider::Succeeded, .. }) = self.found else {
            return Err(ActivityFault::broken(DOING, "the provider has not given it back"));
        };
        let Stored { amount, parts, .. } = self.stored;
        let entry = JournalEntry::refund(self.key, parts)
            .map_err(|error| ActivityFault::broken(DOING, error))?;
        // The amount left is computed where it is written.
        let left = Money::zero(amount.currency());
        let left = left.map_err(|error| ActivityFault::broken(DOING, error))?;
        let number = RefundId::of_key(self.key).number;
        let succeeded = OrderEvent::RefundSucceeded(RefundSucceeded {
            number,
            amount,
            left,
            provider_reference: reference.clone(),
        });
        let posted = OrderEvent::RefundPosted(Booked { entries: entry.entries().to_vec() });
        if store::succeed(self.db, self.key, &reference, &entry, [&succeeded, &posted]).await? {
            return Ok(());
        }
        match state(self.db, self.key).await? {
            RefundState::Succeeded => Ok(()),
            RefundState::Requested
            | RefundState::Pending
            | RefundState::Failed
            | RefundState::Cancelled => {
                Err(ActivityFault::broken(DOING, "money was given back after it was given up"))
            }
        }
    }

    async fn tell(self) -> Result<(), ActivityFault> {
        let Some(Refund { reference, failure, .. }) = self.found else {
            return Err(contradicts("it has failed, and is not there"));
        };
        let why = failure.unwrap_or_else(|| "unspecified".to_owned());
        store::tell(self.db, self.key, &reference, &why).await?;
        Err(ActivityFault::Rejected(Rejection::RefundFailed { why }))
    }

    async fn record_end(self) -> Result<(), ActivityFault> {
        store::end(self.db, self.key, self.stored.amount).await
    }

    /// The refund's id at the provider.
    fn name(&self) -> String {
        self.key.to_string()
    }

    fn fault(&self, error: ProviderError, doing: &'static str) -> ActivityFault {
        self.provider.capabilities().judge(error, self.stored.age).into_fault(doing)
    }
}

fn pending() -> ActivityFault {
    ActivityFault::Unavailable {
        doing: "giving money back",
        retry_after: None,
        source: "the refund is pending".into(),
    }
}

fn contradicts(why: &'static str) -> ActivityFault {
    ActivityFault::InvalidAnswer {
        party: PROVIDER,
        doing: "dealing with a refund",
        source: why.into(),
    }
}

fn given_up(key: StepKey) -> ActivityFault {
    ActivityFault::not_open(format!("{} was given up", named(key)), None)
}

fn named(key: StepKey) -> String {
    let RefundId { order_id, number } = RefundId::of_key(key);
    format!("refund {number} of order {order_id}")
}
