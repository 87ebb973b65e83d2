//! The port to the carrier.

use std::time::Duration;

use async_trait::async_trait;
use domain::shipment::ShipmentState;
use domain::{CountryCode, StepKey, as_one_line, is_foreign_id};

use crate::ActivityFault;
use crate::fault::Cause;
pub use crate::party::Capabilities;
use crate::party::answer::Unread;

/// A carrier.
///
/// A shipment is created in two phases. [`draft`](Self::draft) triggers no pickup and costs
/// nothing; the id that it returns is stored before anything else is requested. Every other request
/// names that id, and its effect depends on the shipment's state alone, so it is idempotent,
/// however long the carrier remembers references.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// Properties of this carrier that the shop has to allow for.
    fn capabilities(&self) -> Capabilities;

    /// Drafts a shipment, which triggers no pickup and costs nothing.
    ///
    /// **Errors.** [`CarrierError::Undeliverable`] if the carrier does not deliver there.
    /// **Repeats.** The booking's reference is its idempotency key. A repeat after the carrier has
    /// forgotten it drafts another shipment, which is never purchased.
    async fn draft(&self, booking: &Booking) -> Result<ShipmentId, CarrierError>;

    /// Buys the label: the parcel will be picked up. Returns the shipment with its tracking number.
    ///
    /// **Errors.** [`CarrierError::Undeliverable`] if the carrier does not deliver there after all;
    /// [`CarrierError::MovedOn`] if the shipment is cancelled.
    async fn purchase(&self, shipment: &ShipmentId) -> Result<Consignment, CarrierError>;

    /// Cancels a shipment: a draft can never be purchased, and a purchased label is void.
    ///
    /// **Errors.** [`CarrierError::HasLeft`] if the parcel is on the road.
    async fn cancel(&self, shipment: &ShipmentId) -> Result<Consignment, CarrierError>;

    /// The shipment's current state, read consistently and never from an index.
    async fn look_up(&self, shipment: &ShipmentId) -> Result<Consignment, CarrierError>;
}

/// The booking of a parcel. Contains personal data, so it is not printable.
pub struct Booking {
    /// The shop's reference for the parcel.
    pub reference: StepKey,
    /// The destination.
    pub country: CountryCode,
    /// The recipient, if the customer gave an address.
    pub recipient: Option<Recipient>,
    /// Number of pieces.
    pub pieces: u64,
}

/// The recipient's address. Personal data, so it is not printable.
pub struct Recipient {
    /// Name.
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

/// The carrier's id of a shipment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShipmentId(pub String);

impl ShipmentId {
    /// Returns the id, if it can be stored and sent back unchanged.
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
    /// Its state.
    pub state: ShipmentState,
    /// The tracking number for the customer, if its label was ever bought.
    pub tracking: Option<String>,
}

impl Consignment {
    /// The shipment, with its tracking number cleaned so that it can be stored and shown.
    pub(super) fn on_one_line(self) -> Self {
        /// Longer than any tracking number.
        const LENGTH_MAX: usize = 100;
        let tracking = self.tracking.map(|tracking| as_one_line(&tracking, LENGTH_MAX));
        Self { tracking: tracking.filter(|tracking| !tracking.is_empty()), ..self }
    }
}

/// Why the carrier has not done what was requested.
#[derive(Debug, thiserror::Error)]
pub enum CarrierError {
    /// The carrier does not deliver there.
    #[error("undeliverable: {why}")]
    Undeliverable {
        /// The carrier's reason.
        why: String,
    },
    /// The shipment's state does not allow the request: look it up.
    #[error("the shipment has moved on meanwhile")]
    MovedOn,
    /// There is no shipment with this id; or the carrier's index does not have it yet.
    #[error("the carrier knows no such shipment")]
    NotFound,
    /// The parcel is on the road, and can no longer be cancelled.
    #[error("the parcel has left")]
    HasLeft,
    /// No answer, or an answer that asks to retry. The request may have been executed.
    #[error("the carrier does not answer")]
    Unavailable {
        /// When to retry, if the carrier says so.
        retry_after: Option<Duration>,
        /// What happened.
        source: Cause,
    },
    /// An invalid answer, such as a proxy's page. The request may have been executed. The carrier
    /// is asked again for a while; then it counts as broken.
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
            // A caller looks up a shipment that has moved on, where possible; elsewhere this error
            // does not answer the request.
            error @ (Self::MovedOn | Self::NotFound | Self::InvalidAnswer(_)) => {
                ActivityFault::InvalidAnswer { party: CARRIER, doing, source: error.into() }
            }
            // This is an answer, and a person decides what follows.
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
