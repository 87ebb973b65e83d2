//! An order's three statuses, each with its own state machine.
//!
//! | question | type |
//! |---|---|
//! | Is the order still being worked on, and how did it end? | [`OrderStatus`] |
//! | Who has the customer's money? | [`PaymentStatus`] |
//! | Where are the goods? | [`FulfilmentStatus`] |
//!
//! [`OrderState`] combines the three with what else is known of an order in progress. It is derived
//! from the order's events alone ([`OrderState::apply`]). PostgreSQL derives the same in
//! `orders.project`; a test drives both through every reachable state.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use strum::{EnumIter, IntoEnumIterator as _, IntoStaticStr};

use crate::event::OrderEvent;
use crate::{Decision, Rejection, StepName};

/// Whether the order is in progress, and how it ended.
///
/// **Shape.** In JSON the status and its data are fields of the same object:
/// `{"status":"rejected","rejection":{…}}`. `processing` is the only status that is not terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(tag = "status", rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum OrderStatus {
    /// Accepted and in progress.
    Processing,
    /// The parcel is handed over and the sale is booked. Only the workflow run that completed the
    /// order can revert this, if its last workflow task is lost and a cancel arrives first.
    Completed,
    /// The customer or the shop cancelled it in time; everything done for it was undone.
    Cancelled {
        /// Why, in the caller's words.
        reason: String,
    },
    /// The business refused; everything done before was undone.
    Rejected {
        /// The reason.
        rejection: Rejection,
    },
    /// A bug stopped the order; everything done for it was undone, and an alarm was raised.
    Failed {
        /// What to search the logs for.
        incident: String,
    },
}

/// How an unwound order ends: a terminal status other than `completed`.
///
/// It is decided and recorded before the first undo, so that a second run of the order's workflow
/// ends the order in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Ending {
    /// See [`OrderStatus::Cancelled`].
    Cancelled {
        /// Why.
        reason: String,
    },
    /// See [`OrderStatus::Rejected`].
    Rejected {
        /// The reason.
        rejection: Rejection,
    },
    /// See [`OrderStatus::Failed`].
    Failed {
        /// What to search the logs for.
        incident: String,
    },
}

/// Who has the customer's money.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    EnumIter,
    IntoStaticStr,
    strum::EnumString,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PaymentStatus {
    /// The customer's bank has not been asked yet, or nothing is known about the payment.
    #[default]
    None,
    /// The customer has to act before the payment can continue.
    AwaitingCustomer,
    /// The customer's bank holds the money.
    Authorised,
    /// The money was captured.
    Paid,
    /// A part of the money was given back.
    PartiallyRefunded,
    /// All of the money was given back.
    Refunded,
    /// The authorisation was voided.
    Voided,
    /// The customer's bank declined the payment.
    Declined,
    /// The customer's bank disputes the payment.
    Disputed,
}

/// Where the goods are.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    EnumIter,
    IntoStaticStr,
    strum::EnumString,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum FulfilmentStatus {
    /// Nothing is reserved yet.
    #[default]
    None,
    /// The goods are reserved in the warehouse.
    Reserved,
    /// The parcel is handed over to the carrier.
    Shipped,
    /// The customer has the parcel.
    Delivered,
    /// A part of the goods came back.
    PartiallyReturned,
    /// All of the goods came back.
    Returned,
    /// The carrier lost the parcel.
    Lost,
    /// The goods were released.
    Cancelled,
}

/// Something that waits for a person's decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Attention {
    /// The step that cannot continue.
    pub step: StepName,
    /// Counts how often this order has needed a person, from 1. A decision must name it, so that a
    /// late decision does not apply to a later question.
    pub occurrence: u32,
    /// Whether the undo of the step failed; otherwise the step itself must be completed.
    pub undoing: bool,
    /// What went wrong, without internal details.
    pub why: String,
    /// The decisions to choose from.
    pub decisions: Vec<Decision>,
    /// Since when a person has been needed.
    pub since: DateTime<Utc>,
}

/// The state of an order in progress or ended, derived from its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrderState {
    /// Whether it is in progress, and how it ended.
    #[serde(flatten)]
    pub status: OrderStatus,
    /// Who has the customer's money.
    pub payment_status: PaymentStatus,
    /// Where the goods are.
    pub fulfilment_status: FulfilmentStatus,
    /// Whether the order is being unwound.
    pub unwinding: bool,
    /// What waits for a person's decision, if anything does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs_attention: Option<Attention>,
    /// The carrier's tracking number, once the parcel was handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking: Option<String>,
}

/// The state machine has no such transition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{from} does not become {to}")]
pub struct InvalidTransition {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
}

impl OrderStatus {
    /// Every status by name, in the order in which the documents list them.
    pub const NAMES: [&'static str; 5] =
        ["processing", "completed", "cancelled", "rejected", "failed"];

    /// The name that the database, the search attribute and JSON use.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.into()
    }

    /// Whether the order's saga has ended. Must agree with `orders.is_terminal` in the database.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        match self {
            Self::Processing => false,
            Self::Completed
            | Self::Cancelled { .. }
            | Self::Rejected { .. }
            | Self::Failed { .. } => true,
        }
    }

    /// Changes to the next status.
    ///
    /// **Errors.** [`InvalidTransition`]: a terminal status is never left.
    pub fn transition_to(self, next: Self) -> Result<Self, InvalidTransition> {
        if self.is_terminal() || !next.is_terminal() {
            return Err(InvalidTransition { from: self.name(), to: next.name() });
        }
        Ok(next)
    }
}

impl From<Ending> for OrderStatus {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Cancelled { reason } => Self::Cancelled { reason },
            Ending::Rejected { rejection } => Self::Rejected { rejection },
            Ending::Failed { incident } => Self::Failed { incident },
        }
    }
}

macro_rules! named_state {
    ($name:ident, { $($from:ident => $($to:ident)|+;)+ }) => {
        impl $name {
            /// Every state by name, in the order in which the documents list them.
            pub fn names() -> impl Iterator<Item = &'static str> {
                Self::iter().map(Self::name)
            }

            /// The name that the database and JSON use.
            #[must_use]
            pub fn name(self) -> &'static str {
                self.into()
            }

            /// Changes to the next state.
            ///
            /// **Errors.** [`InvalidTransition`]. The same state again is no transition.
            pub fn transition_to(self, next: Self) -> Result<Self, InvalidTransition> {
                let allowed = match self {
                    $(Self::$from => matches!(next, $(Self::$to)|+),)+
                    // States that are not listed are terminal.
                    _ => false,
                };
                if allowed {
                    Ok(next)
                } else {
                    Err(InvalidTransition { from: self.name(), to: next.name() })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

named_state!(PaymentStatus, {
    // A payment whose answer was lost is first recorded when it is undone.
    None => AwaitingCustomer | Authorised | Paid | Declined | Voided | Refunded;
    AwaitingCustomer => Authorised | Paid | Declined | Voided;
    Authorised => Paid | Voided | Declined | Refunded;
    Paid => PartiallyRefunded | Refunded | Disputed;
    PartiallyRefunded => Refunded | Disputed;
    // A bank may dispute a refunded payment, and may reverse its decision.
    Refunded => Disputed;
    Disputed => Paid | PartiallyRefunded | Refunded;
    Declined => AwaitingCustomer | Authorised | Paid | Voided;
});

named_state!(FulfilmentStatus, {
    // A parcel whose booking was never answered may be recorded before its reservation is known.
    None => Reserved | Cancelled;
    Reserved => Shipped | Cancelled;
    // A parcel can be recalled before the carrier's pickup; its goods are then reserved again.
    Shipped => Reserved | Delivered | PartiallyReturned | Returned | Lost | Cancelled;
    Delivered => PartiallyReturned | Returned;
    PartiallyReturned => Returned;
    Lost => Delivered | Returned;
    // A parcel that could not be recalled is accepted after its reservation had expired.
    Cancelled => Shipped;
});

impl FulfilmentStatus {
    /// Whether the parcel has left the warehouse, wherever it is now.
    #[must_use]
    pub const fn has_left(self) -> bool {
        match self {
            Self::Shipped
            | Self::Delivered
            | Self::PartiallyReturned
            | Self::Returned
            | Self::Lost => true,
            Self::None | Self::Reserved | Self::Cancelled => false,
        }
    }
}

impl PaymentStatus {
    /// The status after a refund's money came back to the shop, depending on whether the whole
    /// payment is there again. Only a reversal may take back the effect of a refund, so this is not
    /// a transition of the state machine, which any late event could trigger.
    #[must_use]
    pub const fn after_reversal(self, is_all_there: bool) -> Self {
        match self {
            Self::PartiallyRefunded | Self::Refunded if is_all_there => Self::Paid,
            Self::PartiallyRefunded | Self::Refunded => Self::PartiallyRefunded,
            Self::None
            | Self::AwaitingCustomer
            | Self::Authorised
            | Self::Paid
            | Self::Voided
            | Self::Declined
            | Self::Disputed => self,
        }
    }
}

impl OrderState {
    /// A newly placed order.
    #[must_use]
    pub const fn placed() -> Self {
        Self {
            status: OrderStatus::Processing,
            payment_status: PaymentStatus::None,
            fulfilment_status: FulfilmentStatus::None,
            unwinding: false,
            needs_attention: None,
            tracking: None,
        }
    }

    /// Whether nothing will happen to the order by itself: it has ended, or waits for a person.
    /// Must agree with `orders.is_at_rest` in the database.
    #[must_use]
    pub const fn is_at_rest(&self) -> bool {
        self.status.is_terminal() || self.needs_attention.is_some()
    }

    /// Whether a cancel can still stop it: it goes forward, and its parcel is not handed over.
    #[must_use]
    pub const fn can_be_cancelled(&self) -> bool {
        !self.status.is_terminal() && !self.unwinding && !self.fulfilment_status.has_left()
    }

    /// Whether the outcome can be shown to the customer: the payment is authorised or captured, or
    /// the order ends or waits without.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        let has_paid =
            matches!(self.payment_status, PaymentStatus::Authorised | PaymentStatus::Paid);
        self.is_at_rest() || (!self.unwinding && has_paid)
    }

    /// Applies one event.
    ///
    /// An event that requests an invalid transition changes nothing on that axis: it is recorded,
    /// but a late success never makes an order look better than it is.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "most events change only an axis")]
    pub fn apply(mut self, event: &OrderEvent, occurred_at: DateTime<Utc>) -> Self {
        // A refund that was in progress when the bank took the payment back does not end the
        // dispute.
        let is_kept = self.payment_status == PaymentStatus::Disputed
            && matches!(event, OrderEvent::RefundSucceeded(_));
        if let Some(next) = event.payment_status().filter(|_| !is_kept) {
            self.payment_status =
                self.payment_status.transition_to(next).unwrap_or(self.payment_status);
        }
        if let OrderEvent::RefundReversed(reversed) = event {
            let is_all_there = reversed.given_back.is_zero();
            self.payment_status = self.payment_status.after_reversal(is_all_there);
        }
        if let Some(next) = event.fulfilment_status() {
            self.fulfilment_status =
                self.fulfilment_status.transition_to(next).unwrap_or(self.fulfilment_status);
        }
        if let OrderEvent::OrderShipped(shipped) = event {
            self.tracking = Some(shipped.tracking.clone());
        }
        if let (OrderEvent::OrderUnwinding(_), OrderStatus::Completed) = (event, &self.status) {
            // The run that completed the order was lost, and its successor found a cancel first.
            self.status = OrderStatus::Processing;
        }
        if self.status.is_terminal() {
            return self.refunded(event, occurred_at);
        }
        match event {
            OrderEvent::OrderUnwinding(_) => self.unwinding = true,
            OrderEvent::AttentionNeeded(needed) => {
                self.needs_attention = Some(needed.clone().since(occurred_at));
            }
            OrderEvent::AttentionResolved(resolved) => {
                self.needs_attention = None;
                // The parcel has left for good: there is nothing left to undo.
                self.unwinding &= resolved.decision != Decision::AcceptAsDone;
            }
            _ => {}
        }
        if let Some(end) = event.terminal_status() {
            self.status = end;
            self.unwinding = false;
            self.needs_attention = None;
        }
        self
    }

    /// A refund may need a person long after its order was completed.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "nothing else changes an order that has ended"
    )]
    fn refunded(mut self, event: &OrderEvent, occurred_at: DateTime<Utc>) -> Self {
        match event {
            OrderEvent::AttentionNeeded(needed)
                if needed.step.is_of_refund() && self.status == OrderStatus::Completed =>
            {
                self.needs_attention = Some(needed.clone().since(occurred_at));
            }
            OrderEvent::AttentionResolved(resolved) if resolved.step.is_of_refund() => {
                self.needs_attention = None;
            }
            _ => {}
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use itertools::Itertools as _;

    use super::*;
    use crate::event::Delivered;

    fn transitions<S: Copy>(
        all: &(impl Iterator<Item = S> + Clone),
        name: impl Fn(S) -> &'static str,
        allowed: impl Fn(S, S) -> bool,
    ) -> String {
        let lines = all.clone().map(|from| {
            let next = all.clone().filter(|to| allowed(from, *to)).map(&name).join(" | ");
            format!("{} -> {next}\n", name(from))
        });
        lines.collect()
    }

    #[test]
    fn payments_and_parcels_have_these_transitions_and_no_others() {
        expect![[r"
            none -> awaiting-customer | authorised | paid | refunded | voided | declined
            awaiting-customer -> authorised | paid | voided | declined
            authorised -> paid | refunded | voided | declined
            paid -> partially-refunded | refunded | disputed
            partially-refunded -> refunded | disputed
            refunded -> disputed
            voided -> 
            declined -> awaiting-customer | authorised | paid | voided
            disputed -> paid | partially-refunded | refunded
        "]]
        .assert_eq(&transitions(&PaymentStatus::iter(), PaymentStatus::name, |from, to| {
            from.transition_to(to).is_ok()
        }));
        expect![[r"
            none -> reserved | cancelled
            reserved -> shipped | cancelled
            shipped -> reserved | delivered | partially-returned | returned | lost | cancelled
            delivered -> partially-returned | returned
            partially-returned -> returned
            returned -> 
            lost -> delivered | returned
            cancelled -> shipped
        "]]
        .assert_eq(&transitions(&FulfilmentStatus::iter(), FulfilmentStatus::name, |from, to| {
            from.transition_to(to).is_ok()
        }));
    }

    #[test]
    fn a_terminal_status_is_never_left() {
        let ends = [
            OrderStatus::Completed,
            OrderStatus::Cancelled { reason: "ordered twice".to_owned() },
            OrderStatus::Rejected { rejection: Rejection::ReservationExpired },
            OrderStatus::Failed { incident: "i".to_owned() },
        ];
        for end in &ends {
            assert_eq!(OrderStatus::Processing.transition_to(end.clone()).as_ref(), Ok(end));
            assert!(end.is_terminal());
            for next in ends.iter().chain([&OrderStatus::Processing]) {
                assert!(end.clone().transition_to(next.clone()).is_err());
            }
        }
    }

    fn delivered() -> OrderEvent {
        OrderEvent::OrderDelivered(Delivered {
            tracking: "T1".to_owned(),
            delivered_at: DateTime::UNIX_EPOCH,
            reported_by: "web-shop".to_owned(),
        })
    }

    #[test]
    fn a_delivery_moves_the_goods_of_a_parcel_that_is_on_its_way_and_nothing_else() {
        let ends = [
            OrderStatus::Processing,
            OrderStatus::Completed,
            OrderStatus::Cancelled { reason: "ordered twice".to_owned() },
        ];
        for (status, before) in ends.into_iter().cartesian_product(FulfilmentStatus::iter()) {
            let before = OrderState {
                status,
                payment_status: PaymentStatus::Disputed,
                fulfilment_status: before,
                tracking: Some("T1".to_owned()),
                ..OrderState::placed()
            };
            let is_under_way = matches!(
                before.fulfilment_status,
                FulfilmentStatus::Shipped | FulfilmentStatus::Lost
            );
            let mut expected = before.clone();
            if is_under_way {
                expected.fulfilment_status = FulfilmentStatus::Delivered;
            }
            assert_eq!(before.apply(&delivered(), DateTime::UNIX_EPOCH), expected);
        }
    }

    #[test]
    fn an_order_whose_parcel_was_delivered_cannot_be_cancelled() {
        let shipped =
            OrderState { fulfilment_status: FulfilmentStatus::Shipped, ..OrderState::placed() };
        assert!(!shipped.can_be_cancelled());
        let delivered = shipped.apply(&delivered(), DateTime::UNIX_EPOCH);
        assert_eq!(delivered.fulfilment_status, FulfilmentStatus::Delivered);
        assert!(!delivered.can_be_cancelled());
        assert!(OrderState::placed().can_be_cancelled());
    }

    #[test]
    fn the_three_axes_stand_side_by_side_in_json() {
        let state = OrderState {
            status: OrderStatus::Cancelled { reason: "ordered twice".to_owned() },
            payment_status: PaymentStatus::Refunded,
            fulfilment_status: FulfilmentStatus::Cancelled,
            ..OrderState::placed()
        };
        let json = serde_json::to_value(&state).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "status": "cancelled", "reason": "ordered twice", "payment_status": "refunded",
                "fulfilment_status": "cancelled", "unwinding": false,
            })
        );
        assert_eq!(serde_json::from_value::<OrderState>(json).unwrap(), state);
    }
}
