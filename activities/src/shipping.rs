//! Shipments: hands a parcel to the carrier, or cancels it.
//!
//! # Why no parcel leaves after its undo
//!
//! A request may be in flight, or its answer lost, while the order is already being unwound.
//! [`domain::shipment`] decides the next call from what is known, in any interleaving; this module
//! only executes it. The rules are these:
//!
//! - Drafting a shipment triggers no pickup. Its id is stored in the statement that begins the
//!   step's idempotency record, and only then is the label bought.
//! - An undo leaves the tombstone and commits it, and only then reads the id: a shipment that it
//!   does not see will never be purchased. It cancels one that it sees, and a cancelled shipment
//!   can never be purchased, so a request that is still in flight fails.
//! - A parcel that must not leave, because its goods are no longer reserved, is cancelled in the
//!   same way before the refusal is recorded.
//!
//! `models/` checks these rules for every order in which attempts can overtake each other and die.

pub mod port;
pub mod sandbox;
mod store;

use std::time::Duration;

use domain::payment::KeyState;
use domain::shipment::{self, Call, Known, ShipmentState};
use domain::{Order, Parcel, Rejection, Shipment, StepKey, as_one_line};
use runtime::database::Db;

use self::port::{Booking, CARRIER, Carrier, CarrierError, Consignment, Recipient, ShipmentId};
use self::store::Stored;
use crate::ActivityFault;
use crate::disputes;
use crate::idempotency::{self, Recorded};
use crate::orders;
use crate::stock::ArticleQueues;

/// Hands the parcel to the carrier, and its goods leave the stock. Undone by [`cancel`].
///
/// **Errors.** Rejected as undeliverable; as cancelled by the carrier; as expired, if the goods are
/// no longer reserved; or as disputed, if the customer has the money by a dispute. Unavailable
/// while a dispute is open that nobody has dealt with, unless the parcel has left. Not open if the
/// order is not on record or has ended.
/// **Repeats.** By key here, and by the shipment's id at the carrier: one parcel, whose goods leave
/// the stock once.
pub async fn ship<'a>(
    db: impl Into<Db<'a>>,
    articles: &ArticleQueues,
    carrier: &dyn Carrier,
    key: StepKey,
) -> Result<Shipment, ActivityFault> {
    let db = db.into();
    let (order, stored) = store::begin(db, key).await?;
    let Recorded::Open = stored.recorded else { return stored.recorded.into_answer(key) };
    let mut attempt = Attempt::of(db, articles, carrier, order);
    attempt.take_in(stored);
    attempt
        .go_on(|attempt| {
            shipment::ship(attempt.key_state(), attempt.refusal.is_some(), attempt.known)
        })
        .await?;
    attempt.recorded.unwrap_or(Recorded::Open).into_answer(key)
}

/// Looks the parcel up at the carrier and cancels it; its goods are back in the warehouse, still
/// reserved for the order.
///
/// **Errors.** Broken if the carrier refuses: the parcel may have left for good, and a person
/// decides; see [`accept`].
/// **Repeats.** The carrier cancels a shipment once, and the goods come back once. Without a
/// shipment only the tombstone is left, and a late step is refused.
pub async fn cancel<'a>(
    db: impl Into<Db<'a>>,
    articles: &ArticleQueues,
    carrier: &dyn Carrier,
    key: StepKey,
) -> Result<(), ActivityFault> {
    let db = db.into();
    let order = orders::on_record(db, key).await?;
    let mut attempt = Attempt::of(db, articles, carrier, order);
    if orders::was_set_back(db, key.order_id).await? {
        attempt.find_again().await?;
    }
    attempt
        .go_on(|attempt| {
            shipment::cancel(attempt.has_left_tombstone, attempt.key_state(), attempt.known)
        })
        .await
}

/// Records by a person's decision that the parcel has left for good, although it was to be
/// recalled: its goods are sold, and the tombstone of the shipment is removed.
///
/// If the shop never received the carrier's answer, the parcel is recorded under its reference.
///
/// **Repeats.** A parcel that is recorded as handed over is not recorded again.
pub async fn accept<'a>(
    db: impl Into<Db<'a>>,
    articles: &ArticleQueues,
    key: StepKey,
) -> Result<(), ActivityFault> {
    let db = db.into();
    let order = orders::on_record(db, key).await?;
    let _turn = articles.turn(&order).await?;
    store::record_accepted(db, &order.parcel()).await
}

/// One attempt at the step or its undo, and what it knows.
struct Attempt<'a> {
    db: Db<'a>,
    articles: &'a ArticleQueues,
    carrier: &'a dyn Carrier,
    order: Order,
    parcel: Parcel,
    recorded: Option<Recorded<Shipment>>,
    /// Why the parcel must not leave, if so.
    refusal: Option<Rejection>,
    /// Whether it must not leave yet, because the customer's bank disputes the payment.
    is_held: bool,
    recipient: Option<Recipient>,
    known: Known,
    id: Option<ShipmentId>,
    /// How long ago the shipment's id was stored; zero if it was just drafted.
    age: Duration,
    /// The carrier's last answer.
    consignment: Option<Consignment>,
    has_left_tombstone: bool,
}

/// What a held parcel waits for.
const HANDING_OVER: &str = "waiting for the end of a dispute, before a parcel is handed over";

/// After this many calls the carrier contradicts itself.
const CALLS_MAX: usize = 30;

impl<'a> Attempt<'a> {
    fn of(db: Db<'a>, articles: &'a ArticleQueues, carrier: &'a dyn Carrier, order: Order) -> Self {
        Self {
            db,
            articles,
            carrier,
            parcel: order.parcel(),
            order,
            recorded: None,
            refusal: None,
            is_held: false,
            recipient: None,
            known: Known::Nothing,
            id: None,
            age: Duration::ZERO,
            consignment: None,
            has_left_tombstone: false,
        }
    }

    fn key_state(&self) -> Option<KeyState> {
        self.recorded.as_ref().map(|recorded| KeyState {
            is_answered: matches!(recorded, Recorded::Answered(_)),
            is_undone: matches!(recorded, Recorded::Undone),
        })
    }

    /// Executes calls until nothing is left to do.
    async fn go_on(&mut self, next: impl Fn(&Self) -> Call) -> Result<(), ActivityFault> {
        for _ in 0..CALLS_MAX {
            let call = next(self);
            if call == Call::Finish {
                return Ok(());
            }
            self.carry_out(call).await?;
        }
        Err(ActivityFault::InvalidAnswer {
            party: CARRIER,
            doing: "dealing with a shipment",
            source: "it does not come to rest".into(),
        })
    }

    async fn carry_out(&mut self, call: Call) -> Result<(), ActivityFault> {
        match call {
            Call::Read => self.read().await,
            Call::Draft | Call::Purchase if self.is_held => Err(disputes::waits(HANDING_OVER)),
            Call::Draft => self.draft().await,
            Call::Store => self.store(false).await,
            Call::LookUp => {
                let found = self.carrier.look_up(self.id()?).await;
                self.learn(found, "asking what became of a parcel")
            }
            Call::Purchase => self.purchase().await,
            Call::Cancel => {
                let cancelled = self.carrier.cancel(self.id()?).await;
                self.learn(cancelled, "recalling a parcel")
            }
            Call::RecordDone => self.record_done().await,
            Call::RecordRefusal => self.record_refusal().await,
            Call::LeaveTombstone => {
                idempotency::leave_tombstone(self.db, self.parcel.key).await?;
                self.has_left_tombstone = true;
                Ok(())
            }
            Call::RecordCancel => self.record_cancel().await,
            Call::Finish => Ok(()),
        }
    }

    /// The record of the shipment may be outdated, so the carrier is asked about it.
    async fn read(&mut self) -> Result<(), ActivityFault> {
        let stored = store::read(self.db, self.parcel.key).await?;
        self.take_in(stored);
        Ok(())
    }

    fn take_in(&mut self, stored: Stored) {
        if !stored.are_goods_held {
            self.refusal.get_or_insert(Rejection::ReservationExpired);
        } else if stored.recipient.is_none() && self.parcel.ship_to.address_id.is_some() {
            let erased = self.undeliverable("the recipient's address is not on record any more");
            self.refusal.get_or_insert(erased);
        } else if stored.is_payment_lost == Some(true) {
            self.refusal.get_or_insert(Rejection::PaymentDisputed);
        }
        self.is_held = stored.is_payment_lost == Some(false);
        self.recorded = Some(stored.recorded);
        self.recipient = stored.recipient;
        self.known = if stored.shipment.is_some() { Known::Unasked } else { Known::Nothing };
        (self.id, self.age) = (stored.shipment, stored.age);
    }

    /// Adds a lost run's shipment to a record that is older than its workflow: drafting it
    /// again under the same reference costs nothing, and returns its id. This is done before the
    /// tombstone, after which no id can be stored.
    async fn find_again(&mut self) -> Result<(), ActivityFault> {
        self.read().await?;
        let is_undone = self.key_state().is_some_and(|key| key.is_undone);
        if self.id.is_none() && !is_undone {
            self.draft().await?;
            if self.id.is_some() {
                self.store(true).await?;
            }
        }
        // What was read before the tombstone may be outdated.
        (self.recorded, self.id, self.known) = (None, None, Known::Nothing);
        self.refusal = None;
        Ok(())
    }

    async fn draft(&mut self) -> Result<(), ActivityFault> {
        let booking = Booking {
            reference: self.parcel.key,
            country: self.parcel.ship_to.country,
            recipient: self.recipient.take(),
            pieces: self.parcel.pieces,
        };
        match self.carrier.draft(&booking).await.and_then(ShipmentId::checked) {
            Ok(drafted) => {
                (self.id, self.age) = (Some(drafted), Duration::ZERO);
                self.known = Known::Fresh;
                Ok(())
            }
            Err(CarrierError::Undeliverable { why }) => {
                self.refusal = Some(self.undeliverable(&why));
                Ok(())
            }
            Err(error) => Err(error.into_fault("drafting a shipment")),
        }
    }

    async fn purchase(&mut self) -> Result<(), ActivityFault> {
        match self.carrier.purchase(self.id()?).await {
            // The draft exists, so it is cancelled before the refusal is recorded.
            Err(CarrierError::Undeliverable { why }) => {
                self.refusal = Some(self.undeliverable(&why));
                Ok(())
            }
            purchased => self.learn(purchased, "buying a parcel's label"),
        }
    }

    /// Another attempt may have stored another shipment's id: that one counts.
    async fn store(&mut self, is_undo: bool) -> Result<(), ActivityFault> {
        if store::store(self.db, &self.parcel, self.id()?, is_undo).await? {
            self.known = Known::Is(ShipmentState::Drafted);
            return Ok(());
        }
        self.read().await
    }

    fn learn(
        &mut self,
        answer: Result<Consignment, CarrierError>,
        doing: &'static str,
    ) -> Result<(), ActivityFault> {
        match answer {
            Ok(consignment) => {
                self.known = Known::Is(consignment.state);
                self.consignment = Some(consignment.on_one_line());
                Ok(())
            }
            Err(CarrierError::MovedOn) => {
                self.known = Known::Unasked;
                Ok(())
            }
            Err(error) => Err(self.carrier.capabilities().judge(error, self.age).into_fault(doing)),
        }
    }

    async fn record_done(&mut self) -> Result<(), ActivityFault> {
        let tracking = self.consignment.as_ref().and_then(|one| one.tracking.clone());
        let tracking = tracking.ok_or_else(|| ActivityFault::InvalidAnswer {
            party: CARRIER,
            doing: "recording a shipment",
            source: "a label without a tracking number".into(),
        })?;
        let shipment = Shipment { tracking };
        let turn = self.articles.turn(&self.order).await?;
        let is_done = store::record_done(self.db, &self.parcel, &shipment).await?;
        drop(turn);
        if is_done {
            self.recorded = Some(Recorded::Answered(idempotency::Outcome::Done(shipment)));
            return Ok(());
        }
        self.read().await
    }

    async fn record_refusal(&mut self) -> Result<(), ActivityFault> {
        let refusal = self.refusal.clone().unwrap_or(Rejection::CancelledByCarrier);
        let (key, is_shipment_known) = (self.parcel.key, self.id.is_some());
        if store::record_refusal(self.db, key, is_shipment_known, refusal.clone()).await? {
            self.recorded = Some(Recorded::Answered(idempotency::Outcome::Refused(refusal)));
            return Ok(());
        }
        self.read().await
    }

    async fn record_cancel(&mut self) -> Result<(), ActivityFault> {
        let Some(consignment) = &self.consignment else { return Ok(()) };
        let _turn = self.articles.turn(&self.order).await?;
        store::record_cancel(self.db, &self.parcel, consignment).await?;
        self.known = Known::Nothing;
        Ok(())
    }

    fn undeliverable(&self, why: &str) -> Rejection {
        let (country, why) = (self.parcel.ship_to.country, as_one_line(why, 200));
        Rejection::AddressUndeliverable { country, why }
    }

    fn id(&self) -> Result<&ShipmentId, ActivityFault> {
        self.id.as_ref().ok_or_else(|| {
            ActivityFault::broken("dealing with a shipment", "it has no id at the carrier")
        })
    }
}
