//! Order events: one typed, versioned event for everything that can happen to an order.
//!
//! Events are a published contract. Other programs read them long after they were written, so a
//! released event never loses a field and never changes a field's meaning; a new field is optional.
//! An incompatible change needs a new version of the type.
//!
//! **Shape.** In the database the type is the short name (`order.placed`) next to its version. On
//! the wire it is a CloudEvents type made of both: `ordersaga.order.placed.v1`.

#[cfg(feature = "openapi")]
pub mod contract;

#[cfg(feature = "openapi")]
use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use strum::{EnumIter, EnumString, IntoStaticStr};

use crate::dispute::DisputeStatus;
use crate::ledger::Entry;
use crate::refund::RefundLine;
use crate::screening::ReviewDecision;
use crate::{
    Attention, ClaimLine, CustomerId, Decision, Destination, DiscountCode, Ending,
    FulfilmentStatus, Money, OrderLine, OrderStatus, PaymentStatus, Rejection, StepName, Terms,
    Totals,
};

macro_rules! events {
    ($($(#[doc = $doc:literal])* $variant:ident($data:ident) = $name:tt;)+) => {
        /// Something that happened to an order. Never changed afterwards.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "type", content = "data")]
        pub enum OrderEvent {
            $($(#[doc = $doc])* #[serde(rename = $name)] $variant($data),)+
        }

        /// The type of an event.
        ///
        /// **Shape.** The short name as text, such as `order.placed`.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
            EnumIter, EnumString, IntoStaticStr,
        )]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub enum EventType {
            $($(#[doc = $doc])* #[serde(rename = $name)] #[strum(serialize = $name)] $variant,)+
        }

        impl OrderEvent {
            /// Its type.
            #[must_use]
            pub const fn event_type(&self) -> EventType {
                match self {
                    $(Self::$variant(_) => EventType::$variant,)+
                }
            }
        }

        #[cfg(feature = "openapi")]
        impl EventType {
            /// The name of its data's schema, and that schema with all schemas it refers to.
            pub(crate) fn data_schemas(self) -> (Cow<'static, str>, Schemas) {
                match self {
                    $(Self::$variant => schemas_of::<$data>(),)+
                }
            }

            /// Its description.
            pub(crate) const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc, "",)*),)+
                }
            }
        }
    };
}

events! {
    /// The shop accepted the order.
    OrderPlaced(OrderPlaced) = "order.placed";
    /// The goods were reserved.
    StockReserved(StockLines) = "stock.reserved";
    /// An article was short, or the reservation came too late.
    StockRefused(Refused) = "stock.refused";
    /// The reserved goods were released.
    StockReleased(StockLines) = "stock.released";
    /// The reservation expired, and the goods were released.
    ReservationExpired(Expired) = "stock.reservation-expired";
    /// A person has to review the order before it continues.
    ReviewNeeded(ReviewNeeded) = "order.review-needed";
    /// A person has reviewed the order, or the deadline for that has passed.
    OrderReviewed(Reviewed) = "order.reviewed";
    /// The customer's bank wants the customer to approve the payment.
    PaymentAwaitingCustomer(AwaitingCustomer) = "payment.awaiting-customer";
    /// The payment was authorised: the customer's bank holds the money.
    PaymentAuthorised(PaymentMoved) = "payment.authorised";
    /// The authorisation had expired before the capture, or the customer did not approve the
    /// payment in time.
    PaymentExpired(Refused) = "payment.expired";
    /// The payment was captured.
    PaymentCaptured(PaymentMoved) = "payment.captured";
    /// The customer's bank declined the payment.
    PaymentDeclined(Refused) = "payment.declined";
    /// An authorised payment, or one that waited for the customer, was voided.
    PaymentVoided(PaymentMoved) = "payment.voided";
    /// The payment was refunded.
    PaymentRefunded(PaymentMoved) = "payment.refunded";
    /// The payment was booked as a deposit.
    LedgerPosted(Booked) = "ledger.posted";
    /// A booking was reversed.
    LedgerReversed(Booked) = "ledger.reversed";
    /// The sale was booked as revenue.
    RevenueRecognised(Booked) = "ledger.revenue-recognised";
    /// The carrier refuses the parcel, or its goods are no longer reserved.
    ShipmentRefused(Refused) = "shipment.refused";
    /// The parcel was handed over.
    OrderShipped(Parcelled) = "order.shipped";
    /// The parcel was recalled before the carrier fetched it.
    ShipmentCancelled(Parcelled) = "shipment.cancelled";
    /// The customer has the parcel.
    OrderDelivered(Delivered) = "order.delivered";
    /// The order is being unwound from now on.
    OrderUnwinding(Unwinding) = "order.unwinding";
    /// The order waits for a person's decision.
    AttentionNeeded(AttentionNeeded) = "order.attention-needed";
    /// The decision was made, or the order went on by itself.
    AttentionResolved(AttentionResolved) = "order.attention-resolved";
    /// The saga ended: the parcel is handed over and the sale is booked.
    OrderCompleted(Completed) = "order.completed";
    /// The saga ended: cancelled in time.
    OrderCancelled(Cancelled) = "order.cancelled";
    /// The saga ended: refused by the business.
    OrderRejected(Refused) = "order.rejected";
    /// The saga ended: stopped by a bug.
    OrderFailed(Failed) = "order.failed";
    /// Somebody asked for money of a completed order to be given back.
    RefundRequested(RefundRequested) = "order.refund-requested";
    /// The money was given back.
    RefundSucceeded(RefundSucceeded) = "order.refund-succeeded";
    /// The provider did not give the money back, and is not asked again.
    RefundFailed(RefundEnded) = "order.refund-failed";
    /// A refund's money came back to the shop.
    RefundReversed(RefundReversed) = "order.refund-reversed";
    /// The refund was given up before the provider was asked.
    RefundCancelled(RefundEnded) = "order.refund-cancelled";
    /// A refund was booked: it reduces income and tax.
    RefundPosted(Booked) = "ledger.refund-posted";
    /// The customer's bank disputes the order's payment, or asks about it.
    DisputeOpened(Disputed) = "order.dispute-opened";
    /// A dispute has gone on, or was opened again.
    DisputeUpdated(Disputed) = "order.dispute-updated";
    /// A dispute was decided.
    DisputeClosed(Disputed) = "order.dispute-closed";
    /// Somebody has dealt with a dispute: a parcel that was held for it is sent.
    DisputeReleased(DisputeReleased) = "order.dispute-released";
    /// A dispute's money movement was booked.
    DisputePosted(Booked) = "ledger.dispute-posted";
}

#[cfg(feature = "openapi")]
type Schemas = Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>;

#[cfg(feature = "openapi")]
fn schemas_of<T: utoipa::ToSchema>() -> (Cow<'static, str>, Schemas) {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    (T::name(), schemas)
}

macro_rules! payload {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }
    };
}

payload! {
    /// The order as the shop accepted it. The payment method is not part of it.
    OrderPlaced {
        /// Who ordered.
        customer_id: CustomerId,
        /// When the shop accepted it.
        placed_at: DateTime<Utc>,
        /// Counts the versions of the order's record, from 1.
        record_version: u32,
        /// What was bought, at the prices of that moment.
        lines: Vec<OrderLine>,
        /// The order's amounts.
        totals: Totals,
        /// What the goods cost the shop.
        cost_of_goods: Money,
        /// The discount code used, if any.
        discount_code: Option<DiscountCode>,
        /// Where it goes.
        ship_to: Destination,
        /// Cancel window and patience.
        terms: Terms,
    }
}

payload! {
    /// Articles that were reserved or released.
    StockLines {
        /// One line per article, in SKU order.
        lines: Vec<ClaimLine>,
    }
}

payload! {
    /// A business refusal.
    Refused {
        /// The reason.
        rejection: Rejection,
    }
}

payload! {
    /// An expired reservation.
    Expired {
        /// The reservation's key.
        reservation: String,
    }
}

payload! {
    /// A payment that changed.
    PaymentMoved {
        /// How much.
        amount: Money,
        /// The provider's id of the payment.
        provider_reference: String,
    }
}

payload! {
    /// A payment that the customer has to approve. The link for that is not part of the event: the
    /// order shows it to authorised readers.
    AwaitingCustomer {
        /// How much.
        amount: Money,
        /// The provider's id of the payment.
        provider_reference: String,
        /// The customer's deadline.
        until: DateTime<Utc>,
    }
}

payload! {
    /// An order that waits for a person's review. The reason is not part of the event: it is shown
    /// to the reviewers only.
    ReviewNeeded {
        /// The deadline of the review.
        until: DateTime<Utc>,
    }
}

payload! {
    /// The outcome of an order's review.
    Reviewed {
        /// The decision.
        decision: ReviewDecision,
        /// Whether the deadline passed without a decision, so that the rules' default counts.
        by_default: bool,
    }
}

payload! {
    /// A journal entry.
    Booked {
        /// Its lines.
        entries: Vec<Entry>,
    }
}

payload! {
    /// A parcel at the carrier.
    Parcelled {
        /// The carrier's tracking number.
        tracking: String,
    }
}

payload! {
    /// A delivered parcel. The recipient is not part of the event.
    Delivered {
        /// The carrier's tracking number.
        tracking: String,
        /// When it was delivered, as reported. The event occurs later.
        delivered_at: DateTime<Utc>,
        /// Who reported it, as the token names them.
        reported_by: String,
    }
}

payload! {
    /// How the order will end once everything is undone.
    Unwinding {
        /// The end.
        ending: Ending,
    }
}

payload! {
    /// A step that cannot continue without a person.
    AttentionNeeded {
        /// Which step.
        step: StepName,
        /// Counts how often this order has needed a person, from 1.
        occurrence: u32,
        /// Whether the undo of the step failed; otherwise the step itself must be completed.
        undoing: bool,
        /// What went wrong, without internal details.
        why: String,
        /// The decisions to choose from.
        decisions: Vec<Decision>,
    }
}

payload! {
    /// A person's decision, or the success of the order's own retry.
    AttentionResolved {
        /// The step that was decided about.
        step: StepName,
        /// The occurrence that was decided about.
        occurrence: u32,
        /// What was decided.
        decision: Decision,
        /// Who decided.
        by: String,
        /// Why.
        why: String,
    }
}

payload! {
    /// No data: the events before tell what was done.
    Completed {}
}

payload! {
    /// A cancelled order.
    Cancelled {
        /// Why, in the caller's words.
        reason: String,
    }
}

payload! {
    /// An order that a bug stopped.
    Failed {
        /// What to search the logs for.
        incident: String,
    }
}

payload! {
    /// A refund that was asked for.
    RefundRequested {
        /// Counts the order's refunds, from 1.
        number: u32,
        /// How much is to be given back.
        amount: Money,
        /// For which goods, if it was asked for by goods.
        lines: Vec<RefundLine>,
        /// Why, in the words of whoever asked.
        reason: String,
        /// Who asked, as the token names them.
        requested_by: String,
    }
}

payload! {
    /// Money that was given back.
    RefundSucceeded {
        /// Which of the order's refunds.
        number: u32,
        /// How much.
        amount: Money,
        /// How much of the payment the shop still has. Zero: the order is refunded in full.
        left: Money,
        /// The provider's id of the refund.
        provider_reference: String,
    }
}

payload! {
    /// A refund that failed after it had succeeded: its money came back to the shop.
    RefundReversed {
        /// Which of the order's refunds.
        number: u32,
        /// How much came back.
        amount: Money,
        /// How much of the payment is still given back, by other refunds. Zero: the shop has all of
        /// it again.
        given_back: Money,
        /// Why, if known.
        why: String,
        /// The provider's id of the refund.
        provider_reference: String,
    }
}

payload! {
    /// A refund that gave no money back.
    RefundEnded {
        /// Which of the order's refunds.
        number: u32,
        /// How much was to be given back.
        amount: Money,
        /// Why, if known.
        why: String,
    }
}

payload! {
    /// A dispute at the time of the event.
    Disputed {
        /// The provider's id of the dispute.
        dispute_id: String,
        /// Counts the order's disputes, from 1.
        number: u32,
        /// Its status.
        status: DisputeStatus,
        /// How much is disputed.
        amount: Money,
        /// The bank's reason.
        reason: String,
        /// The deadline for the shop's answer, if there is one.
        evidence_due: Option<DateTime<Utc>>,
        /// The order's payment status from then on, given all disputes about it; absent if nothing
        /// was captured.
        payment_status: Option<PaymentStatus>,
    }
}

payload! {
    /// A dispute that somebody has dealt with.
    DisputeReleased {
        /// The provider's id of the dispute.
        dispute_id: String,
        /// Counts the order's disputes, from 1.
        number: u32,
        /// Who did, as the token names them.
        by: String,
        /// Why, in their words.
        why: String,
    }
}

/// A stored event that this release does not know: written by a newer release, or damaged.
#[derive(Debug, thiserror::Error)]
#[error("event type `{name}` version {version} is not known to this release")]
pub struct UnknownEvent {
    name: String,
    version: i16,
    #[source]
    source: serde_json::Error,
}

impl EventType {
    /// The short name, as the database and the API write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The version that is written now. All types are at version 1.
    #[must_use]
    pub const fn version(self) -> i16 {
        1
    }

    /// The CloudEvents type, such as `ordersaga.order.placed.v1`.
    #[must_use]
    pub fn cloud_event_type(self) -> String {
        format!("ordersaga.{}.v{}", self.name(), self.version())
    }
}

impl OrderEvent {
    /// Its data alone, as stored in the database.
    ///
    /// **Errors.** It cannot be represented as JSON, which would be a bug.
    pub fn data(&self) -> serde_json::Result<Value> {
        // With adjacent tagging, serde puts the data under a separate field.
        let mut tagged = serde_json::to_value(self)?;
        Ok(tagged.get_mut("data").map(Value::take).unwrap_or_default())
    }

    /// Parses a stored event.
    ///
    /// **Errors.** [`UnknownEvent`]; readers continue without the event's details.
    pub fn read(name: &str, version: i16, data: &Value) -> Result<Self, UnknownEvent> {
        let tagged = serde_json::json!({ "type": name, "data": data });
        serde_json::from_value(tagged).map_err(|source| UnknownEvent {
            name: name.to_owned(),
            version,
            source,
        })
    }

    /// The payment status that the event leads to, if any.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "most events say nothing about it")]
    pub const fn payment_status(&self) -> Option<PaymentStatus> {
        match self {
            Self::PaymentAwaitingCustomer(_) => Some(PaymentStatus::AwaitingCustomer),
            Self::PaymentAuthorised(_) => Some(PaymentStatus::Authorised),
            Self::PaymentCaptured(_) => Some(PaymentStatus::Paid),
            Self::PaymentDeclined(_) => Some(PaymentStatus::Declined),
            Self::PaymentVoided(_) | Self::PaymentExpired(_) => Some(PaymentStatus::Voided),
            Self::PaymentRefunded(_) => Some(PaymentStatus::Refunded),
            Self::RefundSucceeded(refund) if refund.left.is_zero() => Some(PaymentStatus::Refunded),
            Self::RefundSucceeded(_) => Some(PaymentStatus::PartiallyRefunded),
            Self::DisputeOpened(dispute)
            | Self::DisputeUpdated(dispute)
            | Self::DisputeClosed(dispute) => dispute.payment_status,
            _ => None,
        }
    }

    /// The fulfilment status that the event leads to, if any.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "most events say nothing about it")]
    pub const fn fulfilment_status(&self) -> Option<FulfilmentStatus> {
        match self {
            // A recalled parcel's goods are back in the warehouse, still reserved for the order.
            Self::StockReserved(_) | Self::ShipmentCancelled(_) => Some(FulfilmentStatus::Reserved),
            Self::StockReleased(_) | Self::ReservationExpired(_) => {
                Some(FulfilmentStatus::Cancelled)
            }
            Self::OrderShipped(_) => Some(FulfilmentStatus::Shipped),
            Self::OrderDelivered(_) => Some(FulfilmentStatus::Delivered),
            _ => None,
        }
    }

    /// The order's final status, if this is its last event.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "most events say nothing about it")]
    pub fn terminal_status(&self) -> Option<OrderStatus> {
        match self {
            Self::OrderCompleted(_) => Some(OrderStatus::Completed),
            Self::OrderCancelled(Cancelled { reason }) => {
                Some(OrderStatus::Cancelled { reason: reason.clone() })
            }
            Self::OrderRejected(Refused { rejection }) => {
                Some(OrderStatus::Rejected { rejection: rejection.clone() })
            }
            Self::OrderFailed(Failed { incident }) => {
                Some(OrderStatus::Failed { incident: incident.clone() })
            }
            _ => None,
        }
    }
}

impl From<Ending> for OrderEvent {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Cancelled { reason } => Self::OrderCancelled(Cancelled { reason }),
            Ending::Rejected { rejection } => Self::OrderRejected(Refused { rejection }),
            Ending::Failed { incident } => Self::OrderFailed(Failed { incident }),
        }
    }
}

impl AttentionNeeded {
    /// Converts to the form that the order's state shows.
    #[must_use]
    pub fn since(self, since: DateTime<Utc>) -> Attention {
        let Self { step, occurrence, undoing, why, decisions } = self;
        Attention { step, occurrence, undoing, why, decisions, since }
    }
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator as _;

    use super::*;

    #[test]
    fn every_type_has_one_name_everywhere() {
        for event_type in EventType::iter() {
            assert_eq!(serde_json::to_value(event_type).unwrap(), event_type.name());
            assert_eq!(event_type.name().parse(), Ok(event_type));
        }
    }

    #[test]
    fn an_event_is_read_back_as_it_was_written() {
        let event = OrderEvent::OrderShipped(Parcelled { tracking: "T1".to_owned() });
        let data = event.data().unwrap();
        assert_eq!(data, serde_json::json!({ "tracking": "T1" }));
        assert_eq!(OrderEvent::read("order.shipped", 1, &data).unwrap(), event);
        let unknown = OrderEvent::read("order.teleported", 2, &data).unwrap_err();
        assert!(unknown.to_string().contains("`order.teleported` version 2"), "{unknown}");
    }

    #[test]
    fn a_field_that_a_newer_release_adds_is_ignored() {
        let data = serde_json::json!({ "tracking": "T1", "carrier": "added later" });
        assert!(OrderEvent::read("order.shipped", 1, &data).is_ok());
    }
}
