//! Which order meets which trouble. Decided by the order's position alone, so that every run of
//! the demo asks for the same, and knows how each order must end.

use domain::ProviderName;

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
    /// The customer's bank asks them, and they approve the payment.
    Approved,
    /// The customer's bank asks them, and they do not approve it.
    NotApproved,
    /// The customer approves the payment, and the bank says no all the same.
    ApprovedInVain,
    /// The customer has a part of their money back, and then another.
    ReturnedInPart,
    /// The customer transfers a part of the money, and the rest when they are asked for it.
    PaidInParts,
    /// The customer transfers more than they are asked for.
    PaidTooMuch,
    /// The customer writes the reference down wrong, and a person finds out whose money it is.
    WrongReference,
    /// The customer's bank takes the payment back, and the shop wins.
    DisputeWon,
    /// The customer's bank takes the payment back, and the customer keeps the money.
    DisputeLost,
    /// The customer's bank takes the payment back, and has not decided.
    DisputeOpen,
    /// No carrier goes there.
    Undeliverable,
    /// The customer changes their mind while the order can still be called off.
    Cancelled,
    /// The shop sends the same request again, as after a lost answer.
    Repeated,
}

/// What a customer's bank makes of a payment that it has taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dispute {
    /// The money is the shop's again.
    Won,
    /// The customer keeps it.
    Lost,
    /// The bank has it, and waits for the shop's answer.
    Open,
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
    /// Ten orders in forty meet trouble, each another one; one in forty has a full address. With
    /// the sandbox, some cards bring the provider's troubles along; with Stripe those befall
    /// everybody, and customers and banks do what the sandbox's do not: three orders in forty are
    /// disputed. A transfer is whatever the customer makes of it, and nobody says no to it.
    pub(crate) const fn of(position: usize, provider: ProviderName) -> Self {
        match (position % 40, provider) {
            (0, _) => Self::FullAddress,
            (2, ProviderName::Stripe) => Self::DisputeWon,
            (4, ProviderName::Sandbox | ProviderName::Stripe) => Self::Declined,
            (6, ProviderName::Stripe) => Self::DisputeLost,
            (8, _) => Self::OutOfStock,
            (10, ProviderName::Stripe) => Self::DisputeOpen,
            (12, ProviderName::Sandbox) => Self::LostAnswer,
            (12, ProviderName::Stripe) => Self::Approved,
            (12, ProviderName::BankTransfer) => Self::PaidInParts,
            (16, ProviderName::Sandbox) => Self::AnsweredTwice,
            (16, ProviderName::Stripe) => Self::NotApproved,
            (16, ProviderName::BankTransfer) => Self::PaidTooMuch,
            (20, ProviderName::Sandbox) => Self::Slow,
            (20, ProviderName::Stripe) => Self::ApprovedInVain,
            (20, ProviderName::BankTransfer) => Self::WrongReference,
            (22, ProviderName::Sandbox) => Self::Outage,
            (24, ProviderName::Sandbox) => Self::Unavailable,
            (22 | 24, ProviderName::Stripe) => Self::ReturnedInPart,
            (28, _) => Self::Undeliverable,
            (32, _) => Self::Cancelled,
            (36, _) => Self::Repeated,
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
            | Self::Approved
            | Self::ReturnedInPart
            | Self::PaidInParts
            | Self::PaidTooMuch
            | Self::WrongReference
            | Self::DisputeWon
            | Self::DisputeLost
            | Self::DisputeOpen
            | Self::Repeated => Ending::Completed,
            Self::Declined | Self::NotApproved | Self::ApprovedInVain => {
                Ending::Rejected("card-declined")
            }
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
            Self::Slow => "the provider takes a second each time",
            Self::Unavailable => "the provider is down for 2 calls",
            Self::Outage => "the provider is down for 8 calls",
            Self::Approved => "the bank asks, the customer approves",
            Self::NotApproved => "the bank asks, the customer refuses",
            Self::ApprovedInVain => "approved, and declined all the same",
            Self::ReturnedInPart => "given back in part, twice",
            Self::PaidInParts => "paid in two parts",
            Self::PaidTooMuch => "paid too much",
            Self::WrongReference => "paid under a wrong reference",
            Self::DisputeWon => "disputed by the bank, and won",
            Self::DisputeLost => "disputed by the bank, and lost",
            Self::DisputeOpen => "disputed by the bank, and not decided",
            Self::Undeliverable => "no carrier goes there",
            Self::Cancelled => "cancelled by the customer",
            Self::Repeated => "the same request sent three times",
        }
    }

    /// Whether the order stands still for a while, whatever happens around it: until a provider is
    /// back or has thought it over, until its customer has paid, or until it cannot be called off
    /// any more.
    pub(crate) const fn waits(self) -> bool {
        match self {
            Self::Slow
            | Self::Unavailable
            | Self::Outage
            | Self::Approved
            | Self::NotApproved
            | Self::ApprovedInVain
            | Self::PaidInParts
            | Self::PaidTooMuch
            | Self::WrongReference
            | Self::Cancelled => true,
            Self::Plain
            | Self::FullAddress
            | Self::Declined
            | Self::OutOfStock
            | Self::LostAnswer
            | Self::AnsweredTwice
            | Self::ReturnedInPart
            | Self::DisputeWon
            | Self::DisputeLost
            | Self::DisputeOpen
            | Self::Undeliverable
            | Self::Repeated => false,
        }
    }

    /// What the customer answers their bank, if it asks them.
    pub(crate) const fn answers_bank(self) -> Option<bool> {
        match self {
            Self::Approved | Self::ApprovedInVain => Some(true),
            Self::NotApproved => Some(false),
            Self::Plain
            | Self::FullAddress
            | Self::Declined
            | Self::OutOfStock
            | Self::LostAnswer
            | Self::AnsweredTwice
            | Self::Slow
            | Self::Unavailable
            | Self::Outage
            | Self::ReturnedInPart
            | Self::PaidInParts
            | Self::PaidTooMuch
            | Self::WrongReference
            | Self::DisputeWon
            | Self::DisputeLost
            | Self::DisputeOpen
            | Self::Undeliverable
            | Self::Cancelled
            | Self::Repeated => None,
        }
    }

    /// What the customer's bank makes of the payment, once the order has ended.
    pub(crate) const fn dispute(self) -> Option<Dispute> {
        match self {
            Self::DisputeWon => Some(Dispute::Won),
            Self::DisputeLost => Some(Dispute::Lost),
            Self::DisputeOpen => Some(Dispute::Open),
            Self::Plain
            | Self::FullAddress
            | Self::Declined
            | Self::OutOfStock
            | Self::LostAnswer
            | Self::AnsweredTwice
            | Self::Slow
            | Self::Unavailable
            | Self::Outage
            | Self::Approved
            | Self::NotApproved
            | Self::ApprovedInVain
            | Self::ReturnedInPart
            | Self::PaidInParts
            | Self::PaidTooMuch
            | Self::WrongReference
            | Self::Undeliverable
            | Self::Cancelled
            | Self::Repeated => None,
        }
    }

    /// The provider's token for a card with this behaviour.
    pub(crate) const fn payment_token(self, provider: ProviderName) -> &'static str {
        match provider {
            ProviderName::Sandbox | ProviderName::BankTransfer => self.sandbox_token(),
            ProviderName::Stripe => self.stripe_token(),
        }
    }

    /// Stripe's names for its test cards.
    const fn stripe_token(self) -> &'static str {
        match self {
            Self::Declined => "pm_card_chargeDeclinedInsufficientFunds",
            Self::Approved | Self::NotApproved => "pm_card_authenticationRequired",
            Self::ApprovedInVain => "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds",
            Self::Plain
            | Self::FullAddress
            | Self::OutOfStock
            | Self::LostAnswer
            | Self::AnsweredTwice
            | Self::Slow
            | Self::Unavailable
            | Self::Outage
            | Self::ReturnedInPart
            | Self::PaidInParts
            | Self::PaidTooMuch
            | Self::WrongReference
            | Self::DisputeWon
            | Self::DisputeLost
            | Self::DisputeOpen
            | Self::Undeliverable
            | Self::Cancelled
            | Self::Repeated => "pm_card_visa",
        }
    }

    const fn sandbox_token(self) -> &'static str {
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
            | Self::Approved
            | Self::NotApproved
            | Self::ApprovedInVain
            | Self::ReturnedInPart
            | Self::PaidInParts
            | Self::PaidTooMuch
            | Self::WrongReference
            | Self::DisputeWon
            | Self::DisputeLost
            | Self::DisputeOpen
            | Self::Undeliverable
            | Self::Cancelled
            | Self::Repeated => "tok_visa",
        }
    }
}

impl Dispute {
    /// Where it stands, as Ordersaga tells it.
    pub(crate) const fn status(self) -> &'static str {
        match self {
            Self::Won => "won",
            Self::Lost => "lost",
            Self::Open => "needs-response",
        }
    }

    /// What its order's payment is then.
    pub(crate) const fn payment_status(self) -> &'static str {
        match self {
            Self::Won => "paid",
            Self::Lost => "refunded",
            Self::Open => "disputed",
        }
    }

    /// How often it is booked: the payment is withdrawn, for a fee; and then it is reinstated, or
    /// lost.
    pub(crate) const fn bookings(self) -> usize {
        match self {
            Self::Won | Self::Lost => 3,
            Self::Open => 2,
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
    pub(crate) fn of(position: usize, order: RetailOrder, provider: ProviderName) -> Self {
        let twist = Twist::of(position, provider);
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
            payment_token: twist.payment_token(provider),
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
        plan_for(count, ProviderName::Sandbox)
    }

    fn plan_for(count: usize, provider: ProviderName) -> Vec<Planned> {
        let read = RetailOrders::read(None, count).unwrap();
        let planned = read.orders.into_iter();
        planned.map(|(position, order)| Planned::of(position, order, provider)).collect()
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
        let met = |provider| {
            let planned = plan_for(40, provider).into_iter();
            planned.map(|order| order.twist).collect::<BTreeSet<_>>()
        };
        let (sandbox, stripe) = (met(ProviderName::Sandbox), met(ProviderName::Stripe));
        let bank = met(ProviderName::BankTransfer);
        let all = sandbox.iter().chain(&stripe).chain(&bank).copied();
        assert_eq!(all.collect::<BTreeSet<_>>(), Twist::iter().collect());
        // Nobody is declined who transfers money.
        assert!(!bank.contains(&Twist::Declined));
        // What takes a card of the one provider's is not asked of the other.
        let of_both = sandbox.intersection(&stripe).copied();
        assert!(of_both.clone().any(|twist| twist == Twist::Declined));
        let is_of_stripe =
            |twist: Twist| twist.answers_bank().is_some() || twist.dispute().is_some();
        assert!(!of_both.into_iter().any(is_of_stripe));
    }

    #[test]
    fn banks_dispute_what_was_paid_and_decide_in_every_way() {
        let disputed = plan_for(40, ProviderName::Stripe).into_iter();
        let disputed = disputed.filter(|order| order.twist.dispute().is_some());
        let mut statuses = Vec::new();
        for order in disputed {
            assert_eq!(order.twist.ending(), Ending::Completed, "{:?}", order.twist);
            statuses.extend(order.twist.dispute().map(Dispute::status));
        }
        assert_eq!(statuses, ["won", "lost", "needs-response"]);
    }

    #[test]
    fn each_provider_is_given_tokens_of_its_own() {
        for (provider, prefix) in [
            (ProviderName::Sandbox, "tok_"),
            (ProviderName::Stripe, "pm_"),
            (ProviderName::BankTransfer, "tok_"),
        ] {
            for order in plan_for(40, provider) {
                let token = order.request.payment_token;
                assert!(token.starts_with(prefix), "{token}");
                assert!(domain::PaymentToken::parse(token).is_ok(), "{token}");
            }
        }
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
