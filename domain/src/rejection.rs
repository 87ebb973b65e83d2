//! Every reason for which the business rejects an order.

use serde::{Deserialize, Serialize};

use crate::{CountryCode, Sku, StepName};

/// A business refusal: the order ends as rejected, everything before is undone, and nobody has
/// made a mistake.
///
/// **Shape.** `{"code":"out-of-stock","sku":"85123A","wanted":6,"available":2}`.
/// **Repeats.** A step that was refused once is refused the same way for ever under its key.
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
        /// The provider's word for why, such as `insufficient_funds`.
        decline_code: String,
    },
    /// The customer's bank asked the customer to approve the payment, and they did not in time.
    #[error("the customer did not approve the payment in time")]
    PaymentNotApproved,
    /// Screening took the order for fraud, or a person who looked at it did. Why is for the shop's
    /// people, and is not told with the order.
    #[error("the shop does not accept the order")]
    ScreeningDeclined,
    /// The carrier does not deliver there.
    #[error("the carrier does not deliver to {country}: {why}")]
    AddressUndeliverable {
        /// Where the parcel was to go.
        country: CountryCode,
        /// The carrier's reason.
        why: String,
    },
    /// The carrier called the shipment off by itself, before it fetched the parcel.
    #[error("the carrier called the shipment off")]
    CancelledByCarrier,
    /// The goods were held for as long as the shop holds them, and then given back.
    #[error("the stock reservation expired before the parcel could be sent")]
    ReservationExpired,
    /// The money that was set aside for the order was not any more when it was to be taken.
    #[error("the payment's authorisation expired before the money could be taken")]
    AuthorisationExpired,
    /// The customer's bank took the payment back, and the customer keeps it, before the parcel was
    /// handed over.
    #[error("the customer's bank took the payment back")]
    PaymentDisputed,
    /// The step arrived after its own undo: it must not take effect any more.
    #[error("{step} came after it had been undone")]
    AlreadyUndone {
        /// The step that came too late.
        step: StepName,
    },
    /// The provider did not give the money back. No order is rejected for it: a person decides
    /// whether the provider is asked anew.
    #[error("the refund failed: {why}")]
    RefundFailed {
        /// The provider's word for why.
        why: String,
    },
    /// A party did not answer within the time the order allows; whatever it did was undone.
    #[error("{step} could not be completed in time")]
    FulfilmentUnavailable {
        /// The step whose party did not answer.
        step: StepName,
    },
}
