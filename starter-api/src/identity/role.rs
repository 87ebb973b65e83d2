//! Roles, and the scopes that they imply.

use strum::{EnumString, IntoStaticStr};

use crate::identity::scope::Scope;

/// The role of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Role {
    /// Sees and changes their own orders.
    Customer,
    /// The shop's backend: acts for any customer.
    Service,
    /// Operates the shop: keeps orders moving.
    Operator,
    /// Reads the ledger.
    Finance,
}

impl Role {
    /// Its name in tokens.
    pub(crate) fn as_str(self) -> &'static str {
        self.into()
    }

    /// The scopes of the role.
    pub(crate) const fn scopes(self) -> &'static [Scope] {
        match self {
            Self::Customer => &[
                Scope::ReadOrders,
                Scope::PlaceOrders,
                Scope::CancelOrders,
                Scope::ReadCustomers,
                Scope::WriteCustomers,
                Scope::ChangePassword,
            ],
            Self::Service => &[
                Scope::ReadOrders,
                Scope::PlaceOrders,
                Scope::CancelOrders,
                Scope::DeliverOrders,
                Scope::RefundPayments,
                Scope::ReadCustomers,
                Scope::WriteCustomers,
            ],
            Self::Operator => &[
                Scope::ReadOrders,
                Scope::CancelOrders,
                Scope::DeliverOrders,
                Scope::RefundPayments,
                Scope::ReadDisputes,
                Scope::ResolveOrders,
                Scope::ReviewOrders,
                Scope::WriteScreening,
                Scope::OperateQueues,
                Scope::ReadReconciliation,
                Scope::SettleDifferences,
                Scope::ManageWebhooks,
                Scope::OperateMail,
                Scope::WriteProducts,
                Scope::ReadStock,
                Scope::WriteStock,
                Scope::ReadCustomers,
            ],
            Self::Finance => &[
                Scope::ReadOrders,
                Scope::ReadLedger,
                Scope::ReadDisputes,
                Scope::ReadReconciliation,
                Scope::SettleDifferences,
            ],
        }
    }
}
