//! The scopes of tokens.

use std::collections::BTreeSet;

use strum::{EnumIter, EnumString, IntoStaticStr};

/// Declares each scope once: as a value, which tokens carry, and as a type, which operations
/// require.
macro_rules! scopes {
    ($($(#[$doc:meta])+ $name:ident = $wire:literal;)+) => {
        /// A scope of a token.
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

/// A type that stands for a scope, so that [`Authorized<ReadOrders>`](crate::identity::Authorized)
/// names the scope that an operation requires.
pub(crate) trait HasScope {
    /// The scope.
    const SCOPE: Scope;
}

scopes! {
    /// Read orders and their history; customers: their own.
    ReadOrders = "orders:read";
    /// Place orders; customers: their own.
    PlaceOrders = "orders:place";
    /// Cancel orders; customers: their own.
    CancelOrders = "orders:cancel";
    /// Report deliveries; never for customers.
    DeliverOrders = "orders:deliver";
    /// Refund completed orders; never for customers.
    RefundPayments = "payments:refund";
    /// Read disputes of customers' banks; never for customers.
    ReadDisputes = "disputes:read";
    /// Read what waits for a person, and decide about orders that need attention.
    ResolveOrders = "orders:resolve";
    /// Decide about orders that screening has stopped, and read and change its lists.
    ReviewOrders = "orders:review";
    /// Add and activate rule sets of screening.
    WriteScreening = "screening:write";
    /// Pause and resume task queues and sinks, and stop and resume the calls to a party.
    OperateQueues = "queues:operate";
    /// Read the ledger.
    ReadLedger = "ledger:read";
    /// Read differences between the payment provider and the shop.
    ReadReconciliation = "reconciliation:read";
    /// Settle such differences.
    SettleDifferences = "reconciliation:settle";
    /// Manage webhook endpoints, and read their deliveries.
    ManageWebhooks = "webhooks:manage";
    /// Read mails to customers, and decide about those that cannot be sent.
    OperateMail = "mail:operate";
    /// Add articles to the catalogue and change their prices.
    WriteProducts = "products:write";
    /// Read the stock.
    ReadStock = "stock:read";
    /// Record goods received, found or written off.
    WriteStock = "stock:write";
    /// Read customers; customers: themselves.
    ReadCustomers = "customers:read";
    /// Change customers' particulars; customers: their own.
    WriteCustomers = "customers:write";
    /// Change one's own password; for customers only.
    ChangePassword = "password:change";
}

impl Scope {
    /// Its name in tokens and in the API's description.
    pub(crate) fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The known scopes in a token's `scope`. Scopes of other applications are ignored.
pub(crate) fn parse_scopes(text: &str) -> BTreeSet<Scope> {
    text.split(' ').filter_map(|word| word.parse().ok()).collect()
}
