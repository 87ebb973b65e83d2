//! Roles: what a caller is to the shop, and which scopes that implies.

use strum::{EnumString, IntoStaticStr};

use crate::identity::scope::Scope;

/// What a caller is to the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Role {
    /// Sees and changes their own orders.
    Customer,
    /// The shop's backend: acts for any customer.
    Service,
    /// Keeps the orders moving.
    Operator,
    /// Sees the books.
    Finance,
}

impl Role {
    /// As a token writes it.
    pub(crate) fn as_str(self) -> &'static str {
        self.into()
    }

    /// Everything that the role allows.
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
