//! Where an order stands, and which turns it may take.

use serde::{Deserialize, Serialize};

use crate::{Rejection, StepName};

/// Where an order stands.
///
/// **Shape.** `processing → reserved → paid → posted → shipped`, or through `unwinding` to
/// `cancelled`, `rejected` or `failed`; `stuck` while an undo needs a person.
/// In JSON `{"status":"rejected","rejection":{…}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum OrderStatus {
    /// Accepted; nothing has been done for it yet.
    Processing,
    /// The goods are set aside.
    Reserved,
    /// The customer has paid.
    Paid,
    /// The payment is in the books.
    Posted,
    /// The parcel is handed over. The end, and a good one.
    Shipped {
        /// The carrier's tracking number.
        tracking: String,
    },
    /// What was done is being undone, last first.
    Unwinding,
    /// The customer or the shop called it off in time. An end.
    Cancelled {
        /// Why, in the words of whoever cancelled.
        reason: String,
    },
    /// The business said no. An end.
    Rejected {
        /// What it said no to.
        rejection: Rejection,
    },
    /// A step or an undo is broken and waits for an operator.
    Stuck {
        /// The step whose undo (or whose own effect, past the point of no return) is broken.
        step: StepName,
        /// What broke, as far as it may be shown.
        why: String,
    },
    /// A bug stopped the order; everything was undone. An end, and an alarm.
    Failed {
        /// What to search the logs for.
        incident: String,
    },
}

/// The order's life has no such turn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an order that is {from} does not become {to}")]
pub struct InvalidTransition {
    from: &'static str,
    to: &'static str,
}

impl OrderStatus {
    /// Every status by name, in the order in which the docs tell them.
    pub const NAMES: [&'static str; 10] = [
        "processing",
        "reserved",
        "paid",
        "posted",
        "shipped",
        "unwinding",
        "cancelled",
        "rejected",
        "stuck",
        "failed",
    ];

    /// The name that the database, the search attribute and JSON use.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Processing => "processing",
            Self::Reserved => "reserved",
            Self::Paid => "paid",
            Self::Posted => "posted",
            Self::Shipped { .. } => "shipped",
            Self::Unwinding => "unwinding",
            Self::Cancelled { .. } => "cancelled",
            Self::Rejected { .. } => "rejected",
            Self::Stuck { .. } => "stuck",
            Self::Failed { .. } => "failed",
        }
    }

    /// Whether nothing will happen to the order any more.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        match self {
            Self::Shipped { .. }
            | Self::Cancelled { .. }
            | Self::Rejected { .. }
            | Self::Failed { .. } => true,
            Self::Processing
            | Self::Reserved
            | Self::Paid
            | Self::Posted
            | Self::Unwinding
            | Self::Stuck { .. } => false,
        }
    }

    /// Whether a cancel still finds something to call off.
    #[must_use]
    pub const fn can_be_cancelled(&self) -> bool {
        match self {
            Self::Processing | Self::Reserved | Self::Paid | Self::Posted => true,
            Self::Shipped { .. }
            | Self::Unwinding
            | Self::Cancelled { .. }
            | Self::Rejected { .. }
            | Self::Stuck { .. }
            | Self::Failed { .. } => false,
        }
    }

    /// Takes the next turn of the order's life.
    ///
    /// **Errors.** [`InvalidTransition`] when the life of an order has no such turn. The same
    /// status again is no turn: a repeat is recognised by its key, not here.
    pub fn becomes(self, next: Self) -> Result<Self, InvalidTransition> {
        let allowed = match &self {
            Self::Processing => matches!(next, Self::Reserved | Self::Unwinding),
            Self::Reserved => matches!(next, Self::Paid | Self::Unwinding),
            Self::Paid => matches!(next, Self::Posted | Self::Unwinding),
            Self::Posted => matches!(next, Self::Shipped { .. } | Self::Unwinding),
            Self::Unwinding => matches!(
                next,
                Self::Cancelled { .. }
                    | Self::Rejected { .. }
                    | Self::Failed { .. }
                    | Self::Stuck { .. }
            ),
            // A hand-over whose answer never reached the workflow is called off with the rest.
            Self::Shipped { .. } => matches!(next, Self::Unwinding | Self::Stuck { .. }),
            Self::Stuck { .. } => matches!(next, Self::Unwinding | Self::Shipped { .. }),
            Self::Cancelled { .. } | Self::Rejected { .. } | Self::Failed { .. } => false,
        };
        if allowed {
            Ok(next)
        } else {
            Err(InvalidTransition { from: self.name(), to: next.name() })
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn every_status() -> Vec<OrderStatus> {
        vec![
            OrderStatus::Processing,
            OrderStatus::Reserved,
            OrderStatus::Paid,
            OrderStatus::Posted,
            OrderStatus::Shipped { tracking: "T1".to_owned() },
            OrderStatus::Unwinding,
            OrderStatus::Cancelled { reason: "changed my mind".to_owned() },
            OrderStatus::Rejected { rejection: Rejection::ReservationExpired },
            OrderStatus::Stuck { step: StepName::ChargePayment, why: "bug".to_owned() },
            OrderStatus::Failed { incident: "i".to_owned() },
        ]
    }

    #[test]
    fn the_life_of_an_order_has_these_turns_and_no_others() {
        let turns: Vec<String> = every_status()
            .iter()
            .map(|from| {
                let next: Vec<_> = every_status()
                    .into_iter()
                    .filter(|to| from.clone().becomes(to.clone()).is_ok())
                    .map(|to| to.name())
                    .collect();
                format!("{} -> {}", from.name(), next.join(" | "))
            })
            .collect();
        expect![[r"
            processing -> reserved | unwinding
            reserved -> paid | unwinding
            paid -> posted | unwinding
            posted -> shipped | unwinding
            shipped -> unwinding | stuck
            unwinding -> cancelled | rejected | stuck | failed
            cancelled -> 
            rejected -> 
            stuck -> shipped | unwinding
            failed -> 
        "]]
        .assert_eq(&(turns.join("\n") + "\n"));
    }

    #[test]
    fn every_status_goes_through_json_and_is_listed_by_name() {
        let names: Vec<_> = every_status().iter().map(OrderStatus::name).collect();
        assert_eq!(names, OrderStatus::NAMES);
        for status in every_status() {
            let json = serde_json::to_value(&status).unwrap();
            assert_eq!(json.get("status").unwrap(), status.name());
            assert_eq!(serde_json::from_value::<OrderStatus>(json).unwrap(), status);
        }
    }

    #[test]
    fn nothing_can_be_cancelled_once_it_is_over_or_being_unwound() {
        for status in every_status() {
            let goes_forward =
                matches!(status.name(), "processing" | "reserved" | "paid" | "posted");
            assert_eq!(status.can_be_cancelled(), goes_forward, "{}", status.name());
        }
    }
}
