//! Payments: authorise, capture, void and refund.
//!
//! # Why a late request cannot survive its undo
//!
//! A request may be in flight, or its answer lost, while the order is already being unwound.
//! [`domain::payment`] decides the next call from what is known, in any interleaving; this module
//! only executes it. The rules are these:
//!
//! - Opening a payment moves no money. Its id is stored in the statement that begins the step's
//!   idempotency record, and only then is the bank asked.
//! - An undo leaves the tombstone and commits it, and only then reads the id: a payment that it
//!   does not see will never be authorised. It looks the payment up at the provider by that id,
//!   voids what is not captured and refunds what is. A voided payment can no longer be authorised
//!   or captured, so a request that is still in flight fails.
//!
//! - An order may have several payments: a declined one is replaced, and an expired authorisation
//!   is requested again. Each has its own key. Once the first one's tombstone is committed, no
//!   further payment is stored, and its undo closes those that are.
//!
//! `models/` checks these rules for every order in which attempts can overtake each other and die.
//!
//! # Waiting for the customer
//!
//! A payment that the customer has to approve, and a declined one that may be replaced, leave the
//! step's record unanswered, with a deadline. The recorded deadline counts, whichever run asks;
//! after it the payment is voided first, and only then is the step refused.

pub mod bank_transfer;
pub mod lists;
pub mod port;
pub mod sandbox;
mod store;
pub mod stripe;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::event::{AwaitingCustomer, OrderEvent, Refused};
use domain::payment::{self, Call, CustomerTime, KeyState, Known, PaymentState};
use domain::{
    Authorisation, AuthorisationAnswer, Charge, Money, Order, PAYMENTS_MAX, Rejection, StepKey,
    StepName, Terms,
};
use runtime::database::Db;
use serde_json::Value;

use self::port::{PROVIDER, Payment, PaymentId, PaymentProvider, ProviderError};
use self::store::{Stored, Wait};
use crate::ActivityFault;
use crate::disputes::{self, Standing};
use crate::idempotency::{self, Outcome, Recorded};
use crate::orders;

/// Authorises the customer's payment. Undone by [`void`].
///
/// If an earlier attempt's authorisation has expired, or its payment was declined and replaced,
/// that payment is voided first.
///
/// **Errors.** Rejected as declined, with the provider's reason, or as not approved in time. Not
/// open if the order is not on record or has ended.
/// **Repeats.** By key here, and by the payment's id at the provider: a lost answer is found again.
/// A step with an answer does not call the provider again. A wait for the customer is not an
/// answer: a repeat looks the payment up at the provider.
pub async fn authorise<'a>(
    db: impl Into<Db<'a>>,
    provider: &dyn PaymentProvider,
    key: StepKey,
) -> Result<AuthorisationAnswer, ActivityFault> {
    let db = db.into();
    let (order, stored) = store::begin(db, key).await?;
    let Recorded::Open = stored.recorded else { return stored.recorded.read()?.into_answer(key) };
    let mut attempt = Attempt::of(db, provider, key, order);
    if key.attempt == 1 {
        attempt.take_in(stored);
    }
    if let Some(taken) = attempt.let_go_of_the_one_before().await? {
        return Ok(taken);
    }
    let last = attempt
        .go_on(|attempt| {
            payment::authorise(attempt.key_state(), attempt.known, attempt.waiting.time)
        })
        .await?;
    if let (Call::Wait, Some(waits_until)) = (last, attempt.waiting.until) {
        return Ok(AuthorisationAnswer::Waits { waits_until });
    }
    attempt.recorded.unwrap_or(Recorded::Open).read()?.into_answer(key)
}

/// Captures the authorised payment. Undone by [`refund`].
///
/// **Errors.** Rejected as expired, if the authorisation has ended. Not open as for [`authorise`].
/// **Repeats.** As for [`authorise`]: captured once.
pub async fn capture<'a>(
    db: impl Into<Db<'a>>,
    provider: &dyn PaymentProvider,
    key: StepKey,
) -> Result<(), ActivityFault> {
    let db = db.into();
    let (order, stored) = store::begin(db, key).await?;
    let Recorded::Open = stored.recorded else { return stored.recorded.read()?.into_answer(key) };
    let mut attempt = Attempt::of(db, provider, key, order);
    attempt.take_in(stored);
    attempt.go_on(|attempt| payment::capture(attempt.key_state(), attempt.known)).await?;
    attempt.recorded.unwrap_or(Recorded::Open).read()?.into_answer(key)
}

/// Looks up the payment at the provider, and voids it. The same is done for every later payment of
/// the order: a lost run may have made one that the undoing run does not know of. Captured money is
/// refunded by [`refund`], which runs first.
///
/// **Repeats.** The provider voids and refunds once, and the shop records it once. Without a
/// payment only the tombstone is left, and a late step is refused.
pub async fn void<'a>(
    db: impl Into<Db<'a>>,
    provider: &dyn PaymentProvider,
    key: StepKey,
) -> Result<(), ActivityFault> {
    let db = db.into();
    undo(db, provider, key, payment::void).await?;
    // The tombstone is committed: from here on no later payment is stored.
    for attempt in store::later_attempts(db, key).await? {
        undo(db, provider, StepKey { attempt, ..key }, payment::void).await?;
    }
    Ok(())
}

/// Looks up the payment to be captured at the provider, and refunds it; or voids it, if nothing was
/// captured, so that a capture still in flight fails. If the customer already has the money by a
/// dispute, it is not refunded again.
///
/// **Errors.** Unavailable while the customer's bank has the payment.
/// **Repeats.** As for [`void`].
pub async fn refund<'a>(
    db: impl Into<Db<'a>>,
    provider: &dyn PaymentProvider,
    key: StepKey,
) -> Result<(), ActivityFault> {
    undo(db.into(), provider, key, payment::close).await
}

async fn undo(
    db: Db<'_>,
    provider: &dyn PaymentProvider,
    key: StepKey,
    next: fn(bool, Option<KeyState>, Known) -> Call,
) -> Result<(), ActivityFault> {
    let order = orders::on_record(db, key).await?;
    let mut attempt = Attempt::of(db, provider, key, order);
    if orders::was_set_back(db, key.order_id).await? {
        attempt.find_again().await?;
    }
    attempt
        .go_on(|attempt| next(attempt.has_left_tombstone, attempt.key_state(), attempt.known))
        .await?;
    Ok(())
}

/// The customer's deadlines on record.
#[derive(Debug, Default)]
struct Waiting {
    time: CustomerTime,
    /// The deadline, if the customer was given time.
    until: Option<DateTime<Utc>>,
    /// The deadline for replacing a payment of the order, if one was declined.
    retry_until: Option<DateTime<Utc>>,
    /// When the record was read, by the database's clock.
    read_at: DateTime<Utc>,
}

impl Waiting {
    fn of(stored: &Stored, attempt: u32, terms: Terms) -> Self {
        let Stored { payment, retry_until, read_at, .. } = stored;
        let given = payment.as_ref().and_then(|payment| {
            let until = match payment.state {
                PaymentState::AwaitingCustomer => payment.approvable_until,
                PaymentState::Declined => payment.replaceable_until,
                PaymentState::Opened
                | PaymentState::Authorised
                | PaymentState::Captured
                | PaymentState::Voided
                | PaymentState::Refunded => None,
            };
            until.map(|until| (payment.state, until))
        });
        let until = given.map(|(_state, until)| until);
        let is_granted = terms.payment_retry_seconds > 0 && attempt < PAYMENTS_MAX;
        let time = CustomerTime {
            given_for: given.map(|(state, _until)| state),
            is_over: until.is_some_and(|until| until <= *read_at),
            may_replace: is_granted && retry_until.is_none_or(|until| until > *read_at),
        };
        Self { time, until, retry_until: *retry_until, read_at: *read_at }
    }

    /// The time this many seconds from now.
    fn after(&self, seconds: u32) -> DateTime<Utc> {
        let then = self.read_at.checked_add_signed(TimeDelta::seconds(seconds.into()));
        then.unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

/// One attempt at a step or an undo, and what it knows.
struct Attempt<'a> {
    db: Db<'a>,
    provider: &'a dyn PaymentProvider,
    /// The step's key; the payment may belong to another step.
    key: StepKey,
    order: Order,
    /// The payment's own data: its key is that of the step which authorises it.
    charge: Charge,
    recorded: Option<Recorded<Value>>,
    known: Known,
    id: Option<PaymentId>,
    /// How long ago the payment's id was stored; zero if it was just opened.
    age: Duration,
    waiting: Waiting,
    /// The provider's last answer.
    payment: Option<Payment>,
    /// Whether the payment held money, if known.
    held_money: Option<bool>,
    has_left_tombstone: bool,
}

/// The most calls of one attempt. If more are needed, the provider contradicts itself.
const CALLS_MAX: usize = 30;

impl<'a> Attempt<'a> {
    fn of(db: Db<'a>, provider: &'a dyn PaymentProvider, key: StepKey, order: Order) -> Self {
        let attempt = if key.step == StepName::AuthorisePayment { key.attempt } else { 1 };
        let charge = order.charge(attempt);
        Self {
            db,
            provider,
            key,
            order,
            charge,
            recorded: None,
            known: Known::Nothing,
            id: None,
            age: Duration::ZERO,
            waiting: Waiting::default(),
            payment: None,
            held_money: None,
            has_left_tombstone: false,
        }
    }

    fn key_state(&self) -> Option<KeyState> {
        self.recorded.as_ref().map(|recorded| KeyState {
            is_answered: matches!(recorded, Recorded::Answered(_)),
            is_undone: matches!(recorded, Recorded::Undone),
        })
    }

    /// Executes calls until nothing is left to do; returns whether that is final, or until the
    /// customer has acted.
    async fn go_on(&mut self, next: impl Fn(&Self) -> Call) -> Result<Call, ActivityFault> {
        for _ in 0..CALLS_MAX {
            let call = next(self);
            if matches!(call, Call::Finish | Call::Wait) {
                return Ok(call);
            }
            self.carry_out(call).await?;
        }
        Err(ActivityFault::InvalidAnswer {
            party: PROVIDER,
            doing: "dealing with a payment",
            source: "it does not come to rest".into(),
        })
    }

    async fn carry_out(&mut self, call: Call) -> Result<(), ActivityFault> {
        match call {
            Call::Read => self.read().await,
            Call::Open => self.open().await,
            Call::Store => self.store().await,
            Call::LookUp => {
                let found = self.provider.look_up(self.id()?).await;
                self.learn(found, "asking what became of a payment")
            }
            Call::Authorise => {
                let authorised = self.provider.authorise(self.id()?).await;
                self.learn(authorised, "authorising a payment")
            }
            Call::Capture => {
                let captured = self.provider.capture(self.id()?, self.charge.amount).await;
                self.learn(captured, "capturing a payment")
            }
            Call::Void => {
                let voided = self.provider.void(self.id()?).await;
                self.learn(voided, "voiding a payment")
            }
            Call::Refund => self.give_back().await,
            Call::RecordDone => self.record_done().await,
            Call::RecordRefusal => self.record_refusal().await,
            Call::RecordWait => self.record_wait().await,
            Call::LeaveTombstone => {
                idempotency::leave_tombstone(self.db, self.key).await?;
                self.has_left_tombstone = true;
                Ok(())
            }
            Call::RecordReturn => self.record_return().await,
            Call::Wait | Call::Finish => Ok(()),
        }
    }

    /// Adds a lost run's payment to a record that is older than its workflow, as after a restore
    /// from a backup: opening it again under the same key moves no money, and returns its id. This
    /// is done before the tombstone, after which no id can be stored.
    ///
    /// Only the order's first payment is requested. A replacement may have been made with another
    /// method, which is lost as well; the reconciliation finds it.
    async fn find_again(&mut self) -> Result<(), ActivityFault> {
        self.read().await?;
        let is_undone = self.key_state().is_some_and(|key| key.is_undone);
        if self.id.is_none() && !is_undone && !self.charge.amount.is_zero() {
            self.open().await?;
            self.store().await?;
        }
        // What was read before the tombstone may be outdated.
        (self.recorded, self.id, self.known) = (None, None, Known::Nothing);
        Ok(())
    }

    /// The record may be outdated, so an undo looks the payment up at the provider. A capture is
    /// attempted at once: the provider refuses it if the payment's state has changed.
    async fn read(&mut self) -> Result<(), ActivityFault> {
        let stored = store::read(self.db, self.key).await?;
        self.take_in(stored);
        Ok(())
    }

    fn take_in(&mut self, stored: Stored) {
        let newest = stored.payment.as_ref().map_or(self.charge.key.attempt, |it| it.attempt);
        self.waiting = Waiting::of(&stored, newest, self.order.terms);
        self.recorded = Some(stored.recorded);
        let Some(payment) = stored.payment else { return };
        self.charge = self.order.charge(payment.attempt);
        let may_capture = payment.state == PaymentState::Authorised && !self.has_left_tombstone;
        self.known = if may_capture { Known::Is(payment.state) } else { Known::Unasked };
        self.held_money = match payment.state {
            PaymentState::Opened | PaymentState::AwaitingCustomer => None,
            PaymentState::Declined | PaymentState::Voided => Some(false),
            PaymentState::Authorised | PaymentState::Captured | PaymentState::Refunded => {
                Some(true)
            }
        };
        (self.id, self.age) = (Some(payment.id), payment.age);
    }

    async fn open(&mut self) -> Result<(), ActivityFault> {
        let opened = self.provider.open(&self.charge).await.and_then(PaymentId::checked);
        self.id = Some(opened.map_err(|error| error.into_fault("opening a payment"))?);
        (self.known, self.age) = (Known::Fresh, Duration::ZERO);
        Ok(())
    }

    /// Another attempt may have stored another payment's id: that one counts.
    async fn store(&mut self) -> Result<(), ActivityFault> {
        let opened = self.id()?.clone();
        if store::store(self.db, &self.charge, &opened).await? {
            self.known = Known::Is(PaymentState::Opened);
            return Ok(());
        }
        (self.id, self.known) = (None, Known::Nothing);
        self.read().await
    }

    fn learn(
        &mut self,
        answer: Result<Payment, ProviderError>,
        doing: &'static str,
    ) -> Result<(), ActivityFault> {
        match answer.and_then(Payment::checked) {
            Ok(payment) => {
                self.held_money = match payment.state {
                    PaymentState::Authorised | PaymentState::Captured => Some(true),
                    PaymentState::Opened
                    | PaymentState::AwaitingCustomer
                    | PaymentState::Declined => Some(false),
                    PaymentState::Voided | PaymentState::Refunded => self.held_money,
                };
                self.known = Known::Is(payment.state);
                self.payment = Some(payment);
                Ok(())
            }
            Err(ProviderError::MovedOn) => {
                self.known = Known::Unasked;
                Ok(())
            }
            Err(error) => {
                Err(self.provider.capabilities().judge(error, self.age).into_fault(doing))
            }
        }
    }

    async fn give_back(&mut self) -> Result<(), ActivityFault> {
        if disputes::before_giving_back(self.db, &self.charge).await? == Standing::WithTheCustomer {
            self.known = Known::Nothing;
            return Ok(());
        }
        let refunded = self.provider.refund(self.id()?, &self.refund_key(), self.left()).await;
        self.learn(refunded, "refunding a payment")
    }

    /// The captured amount: less than requested if a person has captured a part at the provider.
    fn captured(&self) -> Money {
        self.payment.as_ref().map_or(self.charge.amount, |payment| payment.captured)
    }

    /// The amount not refunded yet: a person may have refunded a part at the provider. If nothing
    /// is left, the provider says so.
    fn left(&self) -> Money {
        let payment = self.payment.as_ref();
        let left = payment.and_then(|payment| payment.captured.checked_sub(payment.refunded).ok());
        left.filter(|left| !left.is_zero()).unwrap_or_else(|| self.captured())
    }

    async fn record_done(&mut self) -> Result<(), ActivityFault> {
        let id = self.id()?.clone();
        let (outcome, event) = if self.key.step == StepName::AuthorisePayment {
            let moved = store::moved(self.charge.amount, &id);
            let expires_at = self.payment.as_ref().and_then(|payment| payment.expires_at);
            let authorisation = Authorisation { provider_reference: id.0, expires_at };
            (Outcome::Done(authorisation).into_json(), OrderEvent::PaymentAuthorised(moved))
        } else {
            let moved = store::moved(self.captured(), &id);
            (Outcome::Done(()).into_json(), OrderEvent::PaymentCaptured(moved))
        };
        self.answer(outcome, Some(event)).await
    }

    /// The bank's reason for a decline, if it declined.
    fn decline(&self) -> Option<Rejection> {
        match &self.payment {
            Some(Payment { state: PaymentState::Declined, decline_code, .. }) => {
                let decline_code = decline_code.clone();
                let decline_code = decline_code.unwrap_or_else(|| "unspecified".to_owned());
                Some(Rejection::CardDeclined { decline_code })
            }
            _ => None,
        }
    }

    async fn record_refusal(&mut self) -> Result<(), ActivityFault> {
        let given_for = self.waiting.time.given_for;
        let (outcome, event) = match self.decline() {
            Some(declined) => store::refusal(declined, OrderEvent::PaymentDeclined),
            None if given_for == Some(PaymentState::AwaitingCustomer) => {
                store::refusal(Rejection::PaymentNotApproved, OrderEvent::PaymentExpired)
            }
            None => store::refusal(Rejection::AuthorisationExpired, OrderEvent::PaymentExpired),
        };
        // A decline that gave the customer time was recorded as an event when that time began.
        let is_told = given_for == Some(PaymentState::Declined) && self.decline().is_some();
        self.answer(outcome, (!is_told).then_some(event)).await
    }

    /// Starts the customer's time. If other payments of the order were declined before, a decline
    /// only grants what is left of the first one's time.
    async fn record_wait(&mut self) -> Result<(), ActivityFault> {
        let id = self.id()?.clone();
        let approval = self.payment.as_ref().and_then(|payment| payment.approval.clone());
        let Terms { approval_seconds, payment_retry_seconds, .. } = self.order.terms;
        let (state, until, event) = if let Some(rejection) = self.decline() {
            let granted = self.waiting.after(payment_retry_seconds);
            let until = self.waiting.retry_until.unwrap_or(granted);
            (PaymentState::Declined, until, OrderEvent::PaymentDeclined(Refused { rejection }))
        } else {
            let granted = self.waiting.after(approval_seconds);
            let theirs = approval.as_ref().and_then(|approval| approval.until);
            let until = theirs.map_or(granted, |theirs| theirs.min(granted));
            let (amount, provider_reference) = (self.charge.amount, id.0);
            let awaiting = AwaitingCustomer { amount, provider_reference, until };
            let event = OrderEvent::PaymentAwaitingCustomer(awaiting);
            (PaymentState::AwaitingCustomer, until, event)
        };
        let approval_url = approval.as_ref().map(|approval| approval.url.as_str());
        let wait = Wait { state, until, approval_url, event };
        store::record_wait(self.db, self.key, &self.charge, &wait).await?;
        // The record decides: another attempt may have been first, or have answered.
        let known = self.known;
        self.read().await?;
        self.known = known;
        Ok(())
    }

    async fn answer(
        &mut self,
        outcome: Value,
        event: Option<OrderEvent>,
    ) -> Result<(), ActivityFault> {
        let (charge, payment) = (&self.charge, self.payment.as_ref());
        let is_answered =
            store::answer(self.db, self.key, &outcome, event.as_ref(), charge, payment).await?;
        self.recorded = Some(if is_answered {
            Recorded::Answered(Outcome::read(outcome)?)
        } else {
            store::read(self.db, self.key).await?.recorded
        });
        Ok(())
    }

    async fn record_return(&mut self) -> Result<(), ActivityFault> {
        let id = self.id()?.clone();
        let Some(payment) = &self.payment else { return Ok(()) };
        // An event has already said that the payment waits for the customer.
        let was_told = self.waiting.time.given_for == Some(PaymentState::AwaitingCustomer);
        let event = if payment.state == PaymentState::Refunded {
            Some(OrderEvent::PaymentRefunded(store::moved(payment.captured, &id)))
        } else if was_told || self.held_money != Some(false) {
            Some(OrderEvent::PaymentVoided(store::moved(self.charge.amount, &id)))
        } else {
            // Nothing was authorised, so there is no event.
            None
        };
        let refund_key = self.refund_key();
        store::record_return(self.db, &self.charge, &id, payment, &refund_key, event.as_ref())
            .await?;
        self.known = Known::Nothing;
        Ok(())
    }

    /// Voids the payment that this one replaces: an authorisation that has expired here may still
    /// be valid at the provider, and a bank may still accept a payment that it has declined.
    ///
    /// `None`: there is no such payment, or it no longer holds money. A lost run may have captured
    /// the money before; then the recorded answer counts.
    async fn let_go_of_the_one_before(
        &mut self,
    ) -> Result<Option<AuthorisationAnswer>, ActivityFault> {
        const DOING: &str = "voiding a payment that another replaces";
        let Some(before) = self.key.attempt.checked_sub(1).filter(|before| *before > 0) else {
            return Ok(None);
        };
        let key = StepKey { attempt: before, ..self.key };
        let Some(payment) = store::read(self.db, key).await?.payment else { return Ok(None) };
        if payment.state == PaymentState::Voided {
            return Ok(None);
        }
        let fault = |error: ProviderError| {
            self.provider.capabilities().judge(error, payment.age).into_fault(DOING)
        };
        match self.provider.void(&payment.id).await {
            Ok(_) => {}
            Err(ProviderError::MovedOn) => {
                let found = self.provider.look_up(&payment.id).await.map_err(fault)?;
                match found.state {
                    PaymentState::Captured => {
                        return idempotency::recall(self.db, key).await?.into_answer(key).map(Some);
                    }
                    PaymentState::Voided | PaymentState::Refunded => {}
                    // It was in flight, and has to be voided now that it has arrived.
                    PaymentState::Opened
                    | PaymentState::AwaitingCustomer
                    | PaymentState::Declined
                    | PaymentState::Authorised => {
                        let source = ProviderError::MovedOn.into();
                        return Err(ActivityFault::Unavailable {
                            doing: DOING,
                            retry_after: None,
                            source,
                        });
                    }
                }
            }
            Err(error) => return Err(fault(error)),
        }
        store::record_replaced(self.db, &self.order.charge(before)).await?;
        Ok(None)
    }

    fn refund_key(&self) -> String {
        format!("{}:refund", self.charge.key)
    }

    fn id(&self) -> Result<&PaymentId, ActivityFault> {
        self.id.as_ref().ok_or_else(|| {
            ActivityFault::broken("dealing with a payment", "it has no id at the provider")
        })
    }
}
