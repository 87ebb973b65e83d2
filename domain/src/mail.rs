//! The mails to customers, and how often each may be sent.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

use crate::event::EventType;

/// A mail to customers.
///
/// **Shape.** Kebab case everywhere: in the database, in the API, and in the names of the template
/// files.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumIter,
    EnumString,
    IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum MailTemplate {
    /// The order is accepted, and its payment is authorised.
    Confirmed,
    /// The customer has to approve the payment, or to transfer the money.
    PaymentNeeded,
    /// The payment was declined, and can still be replaced.
    PaymentDeclined,
    /// The parcel is on its way.
    Shipped,
    /// The customer has the parcel.
    Delivered,
    /// The order was cancelled.
    Cancelled,
    /// The shop cannot fulfil the order.
    Rejected,
    /// Money of a completed order was given back.
    Refunded,
    /// An article that the customer waits for is available again.
    BackInStock,
}

/// The delivery guarantee of a mail, which decides what happens when the outcome of sending is
/// unknown.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum MailPolicy {
    /// It is sent again, so a customer may get it twice.
    AtLeastOnce,
    /// It is not sent again, and an operator is told.
    AtMostOnce,
}

impl MailTemplate {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether a customer can opt out of it. The others are part of every sale.
    #[must_use]
    pub const fn can_be_switched_off(self) -> bool {
        match self {
            Self::Shipped | Self::Delivered | Self::BackInStock => true,
            Self::Confirmed
            | Self::PaymentNeeded
            | Self::PaymentDeclined
            | Self::Cancelled
            | Self::Rejected
            | Self::Refunded => false,
        }
    }

    /// The mail that an event triggers, if any.
    ///
    /// An order is confirmed once its payment is authorised. If it is unwound afterwards, the mail
    /// about its end follows.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "most events are not for customers")]
    pub const fn told_by(event: EventType) -> Option<Self> {
        match event {
            EventType::PaymentAuthorised => Some(Self::Confirmed),
            EventType::PaymentAwaitingCustomer => Some(Self::PaymentNeeded),
            EventType::PaymentDeclined => Some(Self::PaymentDeclined),
            EventType::OrderShipped => Some(Self::Shipped),
            EventType::OrderDelivered => Some(Self::Delivered),
            EventType::OrderCancelled => Some(Self::Cancelled),
            // A customer who was promised goods is told that they will not come, whatever the
            // cause.
            EventType::OrderRejected | EventType::OrderFailed => Some(Self::Rejected),
            EventType::RefundSucceeded => Some(Self::Refunded),
            _ => None,
        }
    }
}

impl MailPolicy {
    /// How often a mail may be deferred, under either policy: for almost four days. After that it
    /// is parked.
    pub const DEFERRALS_MAX: i32 = 30;

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator as _;

    use super::*;

    #[test]
    fn a_mail_is_called_the_same_everywhere() {
        for template in MailTemplate::iter() {
            assert_eq!(serde_json::to_value(template).unwrap(), template.name());
            assert_eq!(template.name().parse(), Ok(template));
        }
    }

    #[test]
    fn every_end_of_an_order_without_its_goods_is_told() {
        for end in [EventType::OrderCancelled, EventType::OrderRejected, EventType::OrderFailed] {
            let told = MailTemplate::told_by(end);
            assert!(told.is_some_and(|mail| !mail.can_be_switched_off()), "{end:?}");
        }
    }
}
