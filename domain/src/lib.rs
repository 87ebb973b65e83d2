//! The domain model: orders, prices, journal entries, statuses and rejections.
//!
//! Nothing here does I/O, reads a clock or fails for a reason outside its arguments. The workflow,
//! the activities and the starter share these types, so that a price is quoted, charged and booked
//! by the same arithmetic.

pub mod bank;
mod country;
pub mod dispute;
pub mod event;
mod fingerprint;
mod ids;
pub mod invoice;
pub mod json;
pub mod ledger;
mod mail;
mod money;
mod order;
mod party;
pub mod payment;
mod pricing;
mod provider;
mod provider_event;
pub mod reconciliation;
pub mod refund;
mod rejection;
pub mod screening;
pub mod shipment;
mod status;
mod steps;
mod text;

pub use country::{CountryCode, UnknownCountry};
pub use fingerprint::Fingerprint;
pub use ids::{AddressId, CustomerId, DiscountCode, IdError, OrderId, PaymentToken, Sku};
pub use iso_currency::Currency;
pub use mail::{MailPolicy, MailTemplate};
pub use money::{Money, MoneyError, minor_digits, written_amount};
pub use order::{
    CaptureAt, Destination, InvalidOrder, LINES_MAX, Order, OrderLine, PAYMENTS_MAX, QUANTITY_MAX,
    Quantity, Screening, Terms, Totals,
};
pub use party::{Party, PartyState};
pub use pricing::{Discount, DiscountKind, PriceList, PricedSku, RateTable, ShippingRate};
pub use provider::{NotChargeable, ProviderName, of_stripe_units, to_stripe_units};
pub use provider_event::{NoEvent, ProviderEvent, Subject};
pub use rejection::Rejection;
pub use status::{
    Attention, Ending, FulfilmentStatus, InvalidTransition, OrderState, OrderStatus, PaymentStatus,
};
pub use steps::{
    Authorisation, AuthorisationAnswer, Charge, ClaimLine, Decision, Parcel, Shipment, StepKey,
    StepName, StockClaim,
};
pub use text::{NotALine, as_one_line, composed, is_foreign_id, line_as_written, line_of_text};
