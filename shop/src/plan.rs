//! Which order meets which trouble. Determined by the order's position, so that every run of the
//! demo is the same and each order's end is known in advance.

use domain::ProviderName;

use crate::ordersaga::{Order, PlaceOrder, ShipTo};
use crate::retail::{RetailLine, RetailOrder};

/// The trouble that an order goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::EnumIter)]
pub(crate) enum Twist {
    /// None: it is paid and shipped.
    Plain,
    /// None, but with a complete address.
    FullAddress,
    /// The bank declines the payment.
    Declined,
    /// More is ordered than is in stock.
    OutOfStock,
    /// The payment is taken, but the provider's answer is lost.
    LostAnswer,
    /// The provider answers twice.
    AnsweredTwice,
    /// The provider is slow.
    Slow,
    /// The provider is unavailable for two calls: the quick attempt survives that.
    Unavailable,
    /// The provider is unavailable for longer: the payment needs a patient attempt.
    Outage,
    /// The bank asks for approval, and the customer approves.
    Approved,
    /// The bank asks for approval, and the customer refuses.
    NotApproved,
    /// The customer approves, and the bank declines anyway.
    ApprovedInVain,
    /// Two partial refunds.
    ReturnedInPart,
    /// The customer transfers a part of the amount, and later the rest.
    PaidInParts,
    /// The customer transfers too much.
    PaidTooMuch,
    /// The customer uses a wrong reference, and a person assigns the transfer.
    WrongReference,
    /// The payment is disputed, and the shop wins.
    DisputeWon,
    /// The payment is disputed, and the shop loses.
    DisputeLost,
    /// The payment is disputed, and the dispute stays open.
    DisputeOpen,
    /// The carrier does not deliver to this address.
    Undeliverable,
    /// The customer cancels in time.
    Cancelled,
    /// The request is sent again, as after a lost answer.
    Repeated,
}

/// The outcome of a dispute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dispute {
    /// The money is returned to the shop.
    Won,
    /// The customer keeps it.
    Lost,
    /// Undecided: the bank holds the money, and waits for the shop's answer.
    Open,
}

/// How an order must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// Shipped and booked.
    Completed,
    /// Rejected with this code.
    Rejected(&'static str),
    /// Cancelled.
    Cancelled,
}

/// An order as the demo places it.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    /// The invoice of the data that it is based on.
    pub(crate) invoice: String,
    /// Its trouble.
    pub(crate) twist: Twist,
    /// Its request.
    pub(crate) request: PlaceOrder,
}

impl Twist {
    /// Ten orders in forty meet trouble, each of a different kind; one in forty has a complete
    /// address. With the sandbox, some cards trigger the provider's faults; with Stripe, faults
    /// affect any order, and customers and banks do what the sandbox's cannot: three orders in
    /// forty are disputed. With bank transfers, trouble comes from the customer, and no payment is
    /// declined.
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

    /// How an order with this trouble must end.
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

    /// The description for people.
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

    /// Whether the order waits by plan: for a slow or unavailable provider, for its customer's
    /// payment, or for the end of its cancel window.
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

    /// The customer's answer to the bank, if it asks for approval.
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

    /// The dispute to open once the order has ended.
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

    /// Stripe's test cards.
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
    /// The dispute's status in the API.
    pub(crate) const fn status(self) -> &'static str {
        match self {
            Self::Won => "won",
            Self::Lost => "lost",
            Self::Open => "needs-response",
        }
    }

    /// The payment's status in the API.
    pub(crate) const fn payment_status(self) -> &'static str {
        match self {
            Self::Won => "paid",
            Self::Lost => "refunded",
            Self::Open => "disputed",
        }
    }

    /// The number of bookings: the withdrawal with its fee; and then the reinstatement, or the
    /// loss.
    pub(crate) const fn bookings(self) -> usize {
        match self {
            Self::Won | Self::Lost => 3,
            Self::Open => 2,
        }
    }
}

impl Ending {
    /// Whether the order has ended like this.
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
    /// The plan for the order at this position.
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

/// Long enough for the cancellation to arrive in time, even if a program is down for a while.
const CANCEL_WINDOW_SECONDS: u32 = 120;

/// Two million pieces of the order's first article: more than the demo's stock, in lines that are
/// each within the limit.
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
        // A bank transfer cannot be declined.
        assert!(!bank.contains(&Twist::Declined));
        // Troubles that need one provider's cards do not occur with the other.
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
