//! Which order meets which trouble. Decided by the order's position alone, so that every run of
//! the demo asks for the same, and knows how each order must end.

use crate::ordersaga::{Order, PlaceOrder, ShipTo};
use crate::retail::{RetailLine, RetailOrder};

/// What an order is to go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::EnumIter)]
pub(crate) enum Twist {
    /// Nothing: it is paid and shipped.
    Plain,
    /// Nothing, but it says where to in full.
    FullAddress,
    /// The customer's bank says no.
    Declined,
    /// More is ordered than any warehouse holds.
    OutOfStock,
    /// The money is taken, but the provider's answer is lost on the way.
    LostAnswer,
    /// The provider answers twice.
    AnsweredTwice,
    /// The provider takes its time.
    Slow,
    /// The provider is out of order for two calls: the quick try rides it out.
    Unavailable,
    /// The provider is out of order for longer: the charge goes on patiently.
    Outage,
    /// No carrier goes there.
    Undeliverable,
    /// The customer changes their mind while the order can still be called off.
    Cancelled,
    /// The shop sends the same request again, as after a lost answer.
    Repeated,
}

/// How an order must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// Handed over to the carrier, and booked.
    Completed,
    /// Refused by the business, with this code.
    Rejected(&'static str),
    /// Called off.
    Cancelled,
}

/// An order as the demo places it.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    /// The invoice it was made of.
    pub(crate) invoice: String,
    /// What it is to go through.
    pub(crate) twist: Twist,
    /// What is asked for.
    pub(crate) request: PlaceOrder,
}

impl Twist {
    /// Ten orders in forty meet trouble, each another one; one in forty has a full address.
    pub(crate) const fn of(position: usize) -> Self {
        match position % 40 {
            0 => Self::FullAddress,
            4 => Self::Declined,
            8 => Self::OutOfStock,
            12 => Self::LostAnswer,
            16 => Self::AnsweredTwice,
            20 => Self::Slow,
            22 => Self::Outage,
            24 => Self::Unavailable,
            28 => Self::Undeliverable,
            32 => Self::Cancelled,
            36 => Self::Repeated,
            _ => Self::Plain,
        }
    }

    /// How an order that goes through this must end.
    pub(crate) const fn ending(self) -> Ending {
        match self {
            Self::Plain
            | Self::FullAddress
            | Self::LostAnswer
            | Self::AnsweredTwice
            | Self::Slow
            | Self::Unavailable
            | Self::Outage
            | Self::Repeated => Ending::Completed,
            Self::Declined => Ending::Rejected("card-declined"),
            Self::OutOfStock => Ending::Rejected("out-of-stock"),
            Self::Undeliverable => Ending::Rejected("address-undeliverable"),
            Self::Cancelled => Ending::Cancelled,
        }
    }

    /// The twist, for people.
    pub(crate) const fn told(self) -> &'static str {
        match self {
            Self::Plain => "nothing special",
            Self::FullAddress => "with a full address",
            Self::Declined => "card declined",
            Self::OutOfStock => "more than is in stock",
            Self::LostAnswer => "charged, but the answer is lost",
            Self::AnsweredTwice => "the provider answers twice",
            Self::Slow => "the provider takes a second for each answer",
            Self::Unavailable => "the provider is down for 2 calls",
            Self::Outage => "the provider is down for 8 calls",
            Self::Undeliverable => "no carrier goes there",
            Self::Cancelled => "cancelled by the customer",
            Self::Repeated => "the same request sent three times",
        }
    }

    /// Whether the order stands still for a while, whatever happens around it: until a provider
    /// is back or has thought it over, or until it cannot be called off any more.
    pub(crate) const fn waits(self) -> bool {
        match self {
            Self::Slow | Self::Unavailable | Self::Outage | Self::Cancelled => true,
            Self::Plain
            | Self::FullAddress
            | Self::Declined
            | Self::OutOfStock
            | Self::LostAnswer
            | Self::AnsweredTwice
            | Self::Undeliverable
            | Self::Repeated => false,
        }
    }

    /// The sandbox provider's token for a card with this behaviour.
    const fn payment_token(self) -> &'static str {
        match self {
            Self::Declined => "tok_declined",
            Self::LostAnswer => "tok_charge_lost",
            Self::AnsweredTwice => "tok_answer_twice",
            Self::Slow => "tok_slow_1000",
            Self::Unavailable => "tok_unavailable_2",
            Self::Outage => "tok_unavailable_8",
            Self::Plain
            | Self::FullAddress
            | Self::OutOfStock
            | Self::Undeliverable
            | Self::Cancelled
            | Self::Repeated => "tok_visa",
        }
    }
}

impl Ending {
    /// Whether the order has ended so.
    pub(crate) fn is_that_of(self, order: &Order) -> bool {
        match self {
            Self::Completed => order.status == "completed",
            Self::Cancelled => order.status == "cancelled",
            Self::Rejected(code) => {
                order.status == "rejected" && order.rejection_code() == Some(code)
            }
        }
    }
}

impl Planned {
    /// What is asked for, for the order at this position.
    pub(crate) fn of(position: usize, order: RetailOrder) -> Self {
        let twist = Twist::of(position);
        let country = if twist == Twist::Undeliverable { "AQ" } else { order.country };
        let lines = if twist == Twist::OutOfStock { too_many(&order) } else { order.lines };
        let ship_to = if twist == Twist::FullAddress {
            ShipTo::in_full(country)
        } else {
            ShipTo::country(country)
        };
        let request = PlaceOrder {
            customer_id: order.customer,
            lines,
            ship_to,
            payment_token: twist.payment_token(),
            cancel_window_seconds: (twist == Twist::Cancelled).then_some(CANCEL_WINDOW_SECONDS),
        };
        Self { invoice: order.invoice, twist, request }
    }
}

/// Long enough for the cancel to come in time, even if a program is down for a while.
const CANCEL_WINDOW_SECONDS: u32 = 120;

/// The order's first article, two million times: more than the demo's warehouse holds of it,
/// in lines that are each small enough to be a line.
fn too_many(order: &RetailOrder) -> Vec<RetailLine> {
    let line = |line: &RetailLine| RetailLine { sku: line.sku.clone(), quantity: 100_000 };
    let lines = order.lines.first().map(line);
    lines.into_iter().cycle().take(20).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use strum::IntoEnumIterator;

    use super::*;
    use crate::retail::RetailOrders;

    fn plan(count: usize) -> Vec<Planned> {
        let read = RetailOrders::read(None, count).unwrap();
        read.orders.into_iter().map(|(position, order)| Planned::of(position, order)).collect()
    }

    #[test]
    fn every_run_plans_the_same() {
        let requests = |plan: Vec<Planned>| {
            plan.iter()
                .map(|order| serde_json::to_string(&order.request).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(requests(plan(300)), requests(plan(300)));
    }

    #[test]
    fn a_longer_run_begins_like_a_shorter_one() {
        let twists = |plan: Vec<Planned>| plan.iter().map(|order| order.twist).collect::<Vec<_>>();
        assert_eq!(twists(plan(100)), twists(plan(300)).split_at(98).0);
    }

    #[test]
    fn forty_orders_go_through_everything_there_is() {
        let met = plan(40).into_iter().map(|order| order.twist).collect::<BTreeSet<_>>();
        assert_eq!(met, Twist::iter().collect());
    }

    #[test]
    fn what_is_sure_to_be_short_is_still_an_order_that_the_shop_takes() {
        let short = plan(40).into_iter().find(|order| order.twist == Twist::OutOfStock).unwrap();
        let lines = short.request.lines;
        assert!(lines.len() <= domain::LINES_MAX);
        assert!(lines.iter().all(|line| line.quantity <= domain::QUANTITY_MAX));
        assert!(lines.iter().map(|line| line.quantity).sum::<u32>() > 1_000_000);
    }
}
