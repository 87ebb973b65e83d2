//! Scopes: what a token may allow.

use std::collections::BTreeSet;

use strum::{EnumIter, EnumString, IntoStaticStr};

/// Declares each scope once: as a value, which tokens carry, and as a type, which operations
/// require.
macro_rules! scopes {
    ($($(#[$doc:meta])+ $name:ident = $wire:literal;)+) => {
        /// One thing that a token may allow.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, EnumIter, EnumString, IntoStaticStr,
        )]
        pub(crate) enum Scope {
            $($(#[$doc])+ #[strum(serialize = $wire)] $name,)+
        }

        $(
            $(#[$doc])+
            #[derive(Debug)]
            pub(crate) struct $name;

            impl HasScope for $name {
                const SCOPE: Scope = Scope::$name;
            }
        )+
    };
}

/// A type that stands for a scope, so that
/// [`Authorized<ReadOrders>`](crate::identity::Authorized) names what an operation requires.
pub(crate) trait HasScope {
    /// The scope.
    const SCOPE: Scope;
}

scopes! {
    /// See orders and what happened to them; a customer: their own.
    ReadOrders = "orders:read";
    /// Place orders; a customer: their own.
    PlaceOrders = "orders:place";
    /// Cancel orders; a customer: their own.
    CancelOrders = "orders:cancel";
    /// Report that customers have their parcels; never for customers.
    DeliverOrders = "orders:deliver";
    /// Have money of completed orders given back; never for customers.
    RefundPayments = "payments:refund";
    /// See disputes of customers' banks; never for customers.
    ReadDisputes = "disputes:read";
    /// See what waits for a person, and decide what becomes of an order that is stuck.
    ResolveOrders = "orders:resolve";
    /// Decide about orders that screening has stopped, and see and change its lists.
    ReviewOrders = "orders:review";
    /// Bring in sets of screening's rules, and say which one counts.
    WriteScreening = "screening:write";
    /// Pause and resume task queues and sinks of messages, and stop and resume the calls to a party.
    OperateQueues = "queues:operate";
    /// See the books.
    ReadLedger = "ledger:read";
    /// See where the payment provider and the shop do not say the same.
    ReadReconciliation = "reconciliation:read";
    /// Say that such a difference is settled.
    SettleDifferences = "reconciliation:settle";
    /// Say who is told of events by webhooks, and see what came of it.
    ManageWebhooks = "webhooks:manage";
    /// See mails to customers, and decide about those that cannot be sent.
    OperateMail = "mail:operate";
    /// Add articles to the catalogue and change their prices.
    WriteProducts = "products:write";
    /// See the stock.
    ReadStock = "stock:read";
    /// Record goods received, found or written off.
    WriteStock = "stock:write";
    /// See customers; a customer: themself.
    ReadCustomers = "customers:read";
    /// Change what is known of customers; a customer: of themself.
    WriteCustomers = "customers:write";
    /// Change one's own password; for customers only.
    ChangePassword = "password:change";
}

impl Scope {
    /// As a token and the API's description write it.
    pub(crate) fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The scopes of this shop that a token's `scope` names. Scopes of other programs are ignored.
pub(crate) fn parse_scopes(text: &str) -> BTreeSet<Scope> {
    text.split(' ').filter_map(|word| word.parse().ok()).collect()
}
