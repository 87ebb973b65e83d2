//! Every reason for which the business rejects an order.

use serde::{Deserialize, Serialize};

use crate::{CountryCode, Sku, StepName};

/// A business refusal: the order ends as rejected and everything before is undone. Nobody has made
/// a mistake.
///
/// **Shape.** `{"code":"out-of-stock","sku":"85123A","wanted":6,"available":2}`.
/// **Repeats.** Under its key, a refused step is always refused with the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Rejection {
    /// Fewer pieces are free than were ordered.
    #[error("{sku} is out of stock: {wanted} wanted, {available} available")]
    OutOfStock {
        /// The first article that is short, in SKU order.
        sku: Sku,
        /// Pieces ordered.
        wanted: u32,
        /// Pieces free at that moment.
        available: i64,
    },
    /// The customer's bank or the provider refused the charge.
    #[error("the payment was declined: {decline_code}")]
    CardDeclined {
        /// The provider's reason, such as `insufficient_funds`.
        decline_code: String,
    },
    /// The customer's bank required the customer to approve the payment, and they did not in time.
    #[error("the customer did not approve the payment in time")]
    PaymentNotApproved,
    /// Screening, or a person's review, declined the order as fraud. The reason is for the shop's
    /// staff, and is not shown with the order.
    #[error("the shop does not accept the order")]
    ScreeningDeclined,
    /// The carrier does not deliver there.
    #[error("the carrier does not deliver to {country}: {why}")]
    AddressUndeliverable {
        /// The parcel's destination.
        country: CountryCode,
        /// The carrier's reason.
        why: String,
    },
    /// The carrier cancelled the shipment by itself, before the pickup.
    #[error("the carrier called the shipment off")]
    CancelledByCarrier,
    /// The reservation reached its maximum age, and the goods were released.
    #[error("the stock reservation expired before the parcel could be sent")]
    ReservationExpired,
    /// The payment's authorisation had expired before the capture.
    #[error("the payment's authorisation expired before the money could be taken")]
    AuthorisationExpired,
    /// The customer's bank took the payment back, and the customer keeps it, before the parcel was
    /// handed over.
    #[error("the customer's bank took the payment back")]
    PaymentDisputed,
    /// The step arrived after its own undo, and must no longer take effect.
    #[error("{step} came after it had been undone")]
    AlreadyUndone {
        /// The step that came too late.
        step: StepName,
    },
    /// The provider did not give the money back. No order is rejected for it: a person decides
    /// whether the provider is asked again.
    #[error("the refund failed: {why}")]
    RefundFailed {
        /// The provider's reason.
        why: String,
    },
    /// A party did not answer within the order's patience; whatever it did was undone.
    #[error("{step} could not be completed in time")]
    FulfilmentUnavailable {
        /// The step whose party did not answer.
        step: StepName,
    },
}
