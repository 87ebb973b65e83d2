//! Giving money of a completed order back.
//!
//! The refund's row is its idempotency record: it is open until one statement ends it, together
//! with everything that its end means. What is done next is decided by [`domain::refund`]; this
//! module carries it out.
//!
//! - The provider is looked up by the refund's key before it is asked, so that an answer which was
//!   lost is found again, and the money is given back once.
//! - Success is one statement: the refund's state, the payment, the journal entry, the events. So
//!   the books never show less than the shop holds, and never more for longer than it takes to
//!   record what the provider has said.
//! - A refund that failed at the provider stays open, and a person decides: `retry` asks the
//!   provider anew, `skip` gives the refund up, whose amount can then be asked for again. So does
//!   one whose payment the customer's bank disputes before the provider was asked.
//! - That a refund is given up is committed before the provider is asked what became of it: an
//!   attempt that reads it later asks for no money any more.
//!
//! `models/` shows that they hold in every order in which attempts can overtake each other and die.

mod store;

use domain::event::{Booked, OrderEvent, RefundSucceeded};
use domain::ledger::JournalEntry;
use domain::refund::{self, AtProvider, Call, Known, RefundId, RefundState};
use domain::{Money, Rejection, StepKey};
use runtime::database::Db;

use self::store::Stored;
use crate::ActivityFault;
use crate::payment::port::{PROVIDER, PaymentProvider, ProviderError, Refund};

/// Has the provider give the money back, and books that. Given up by [`withdraw`].
///
/// One that was given up, by a run that was lost, is given up to the end.
///
/// **Errors.** Rejected with the provider's reason if it did not give the money back; unavailable
/// while it has not decided. Not open if the refund is not on record, or was given up.
/// **Repeats.** By the refund's row here, and by its key at the provider: the money is given back
/// once, and booked once.
pub async fn issue<'a>(
    db: impl Into<Db<'a>>,
    provider: &dyn PaymentProvider,
    key: StepKey,
) -> Result<(), ActivityFault> {
    let db = db.into();
    if store::read(db, key).await?.state == RefundState::Requested {
        store::begin(db, key).await?;
    }
    // Somebody may have given it up meanwhile.
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

/// Gives a refund up: from now on nobody asks the provider for it. It ends as failed, or as
/// cancelled if the provider was never asked, and its amount is free to be asked for again. Money
/// that the provider has given back all the same is on record and booked as that.
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
        // Whoever asks the provider says so first, and cannot say so any more.
        RefundState::Requested => Known::Nothing,
        RefundState::Pending => Known::Unasked,
        RefundState::Succeeded | RefundState::Failed | RefundState::Cancelled => return Ok(()),
    };
    let attempt = Attempt::of(db, provider, key, stored);
    Attempt { known, ..attempt }.go_on(refund::withdraw).await
}

/// How the refund stands.
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
    /// The newest refund under the key, as the provider answered it.
    found: Option<Refund>,
    /// Whether the provider has said that the payment is not what it has to be for this refund.
    has_moved_on: bool,
}

/// A refund that has not come to rest after so many calls is one whose provider contradicts itself.
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
            // Asked for before the dispute. The money is not the shop's to give.
            let why = "the customer's bank disputes the payment".to_owned();
            return Err(ActivityFault::Rejected(Rejection::RefundFailed { why }));
        }
        let asked = self.provider.refund(payment, &self.name(), *amount).await;
        self.known = Known::Unasked;
        match asked {
            // A refund that has failed meanwhile leaves its payment where it was: it is looked up.
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
        // What is left is read where it is written.
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

    /// The refund's name at the provider.
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
