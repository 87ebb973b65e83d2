//! The carrier as the shop deals with it, whoever that is.

use std::time::Duration;

use async_trait::async_trait;
use domain::shipment::ShipmentState;
use domain::{CountryCode, StepKey, as_one_line, is_foreign_id};

use crate::ActivityFault;
use crate::fault::Cause;
pub use crate::party::Capabilities;
use crate::party::answer::Unread;

/// Who takes the parcels.
///
/// A shipment is called in two halves. [`draft`](Self::draft) fetches nothing and costs nothing;
/// the id that it answers is stored before anything else is asked. Every other request names that
/// id, and its effect depends on the shipment's state alone: done twice, it is done once. For how
/// long the carrier remembers references therefore does not matter.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// What the shop has to allow for with this carrier.
    fn capabilities(&self) -> Capabilities;

    /// Drafts a shipment. Nothing is fetched, and nothing costs.
    ///
    /// **Errors.** [`CarrierError::Undeliverable`] when it does not deliver there.
    /// **Repeats.** The booking's reference is its idempotency key. A repeat after the carrier has
    /// forgotten it drafts another shipment, which nobody will ever purchase.
    async fn draft(&self, booking: &Booking) -> Result<ShipmentId, CarrierError>;

    /// Buys the label: the parcel will be fetched. Answered with the shipment and its tracking
    /// number.
    ///
    /// **Errors.** [`CarrierError::Undeliverable`] when it does not deliver there after all;
    /// [`CarrierError::MovedOn`] when the shipment is cancelled.
    async fn purchase(&self, shipment: &ShipmentId) -> Result<Consignment, CarrierError>;

    /// Has nothing fetched: a draft can never be purchased any more, and a purchased label is called
    /// off.
    ///
    /// **Errors.** [`CarrierError::HasLeft`] when the parcel is on the road.
    async fn cancel(&self, shipment: &ShipmentId) -> Result<Consignment, CarrierError>;

    /// What really became of a shipment: the truth at this moment, never what an index has.
    async fn look_up(&self, shipment: &ShipmentId) -> Result<Consignment, CarrierError>;
}

/// What the carrier is told about a parcel. Holds personal data, so it is not printed.
pub struct Booking {
    /// What the shop calls the parcel.
    pub reference: StepKey,
    /// Where it goes.
    pub country: CountryCode,
    /// To whom, if the customer gave an address.
    pub recipient: Option<Recipient>,
    /// Pieces in it.
    pub pieces: u64,
}

/// Whose door the parcel goes to. Personal data, so it is not printed.
pub struct Recipient {
    /// Who receives it.
    pub name: String,
    /// Street and number.
    pub line1: String,
    /// Flat, floor, care of.
    pub line2: Option<String>,
    /// Town.
    pub city: String,
    /// Postal code.
    pub postal_code: String,
}

/// What the carrier calls a shipment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShipmentId(pub String);

impl ShipmentId {
    /// The id, if it can be stored and sent back as it is.
    ///
    /// **Errors.** [`CarrierError::InvalidAnswer`].
    pub(super) fn checked(self) -> Result<Self, CarrierError> {
        if is_foreign_id(&self.0) {
            Ok(self)
        } else {
            Err(CarrierError::InvalidAnswer("an id that cannot be stored".into()))
        }
    }
}

/// A shipment in the carrier's own records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consignment {
    /// What became of it.
    pub state: ShipmentState,
    /// What the customer follows the parcel by, if its label was ever bought.
    pub tracking: Option<String>,
}

impl Consignment {
    /// The shipment, with its tracking number as it is stored and shown.
    pub(super) fn on_one_line(self) -> Self {
        /// Longer than any tracking number.
        const LENGTH_MAX: usize = 100;
        let tracking = self.tracking.map(|tracking| as_one_line(&tracking, LENGTH_MAX));
        Self { tracking: tracking.filter(|tracking| !tracking.is_empty()), ..self }
    }
}

/// Why the carrier has not done as asked.
#[derive(Debug, thiserror::Error)]
pub enum CarrierError {
    /// It does not deliver there.
    #[error("undeliverable: {why}")]
    Undeliverable {
        /// The carrier's reason.
        why: String,
    },
    /// The shipment is not in a state that the request is about: look it up.
    #[error("the shipment has moved on meanwhile")]
    MovedOn,
    /// There is no shipment with this id; or the carrier's index does not have it yet.
    #[error("the carrier knows no such shipment")]
    NotFound,
    /// The parcel is on the road, and cannot be called off any more.
    #[error("the parcel has left")]
    HasLeft,
    /// No answer, or an answer that asks to try again. The request may have been carried out.
    #[error("the carrier does not answer")]
    Unavailable {
        /// When to try again, if the carrier said so.
        retry_after: Option<Duration>,
        /// What happened.
        source: Cause,
    },
    /// An answer that makes no sense, as when a proxy answers in the carrier's place. The request
    /// may have been carried out. The carrier is asked again for a while, and then it is broken.
    #[error("the carrier's answer makes no sense")]
    InvalidAnswer(#[source] Cause),
}

/// The carrier, in words.
pub(super) const CARRIER: &str = "the carrier";

impl CarrierError {
    pub(super) fn into_fault(self, doing: &'static str) -> ActivityFault {
        match self {
            Self::Unavailable { retry_after, source } => {
                ActivityFault::Unavailable { doing, retry_after, source }
            }
            // What has moved on is looked up, where that is possible; elsewhere it is no answer to
            // what was asked.
            error @ (Self::MovedOn | Self::NotFound | Self::InvalidAnswer(_)) => {
                ActivityFault::InvalidAnswer { party: CARRIER, doing, source: error.into() }
            }
            // It has answered, and a person decides what follows.
            error @ (Self::Undeliverable { .. } | Self::HasLeft) => {
                ActivityFault::broken(doing, error)
            }
        }
    }
}

impl From<Unread> for CarrierError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Unavailable { retry_after, .. } => {
                Self::Unavailable { retry_after, source: unread.into() }
            }
            Unread::Nonsense(nonsense) => Self::InvalidAnswer(nonsense.into()),
        }
    }
}
