//! What there is to be allowed, to whom, and the guard that every operation names it by.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use domain::CustomerId;
use jsonwebtoken::get_current_timestamp;
use strum::{EnumIter, EnumString, IntoEnumIterator, IntoStaticStr};

use crate::problem::Problem;
use crate::state::State;

/// Declares each scope once: as a value, which tokens are made of, and as a type, which
/// operations are guarded by.
macro_rules! scopes {
    ($($(#[$doc:meta])+ $name:ident = $wire:literal;)+) => {
        /// One thing that a token may allow.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, EnumIter, EnumString, IntoStaticStr,
        )]
        pub(crate) enum Scope {
            $($(#[$doc])+ #[strum(serialize = $wire)] $name,)+
        }

        /// Each scope as a type, for [`May`].
        pub(crate) mod scope {
            $(
                $(#[$doc])+
                #[derive(Debug)]
                pub(crate) struct $name;

                impl super::Guarded for $name {
                    const SCOPE: super::Scope = super::Scope::$name;
                }
            )+
        }
    };
}

scopes! {
    /// See orders and what happened to them; a customer: their own.
    ReadOrders = "orders:read";
    /// Place orders; a customer: their own.
    PlaceOrders = "orders:place";
    /// Call orders off; a customer: their own.
    CancelOrders = "orders:cancel";
    /// Decide what becomes of an order that is stuck.
    ResolveOrders = "orders:resolve";
    /// Stop the line, and let it go on.
    OperateQueues = "queues:operate";
    /// See the books.
    ReadLedger = "ledger:read";
    /// Put articles into the catalogue and change their prices.
    WriteProducts = "products:write";
    /// See what lies in the warehouse.
    ReadStock = "stock:read";
    /// Take goods in, and set right what was counted.
    WriteStock = "stock:write";
    /// See customers; a customer: themself.
    ReadCustomers = "customers:read";
    /// Change what is known of customers; a customer: of themself.
    WriteCustomers = "customers:write";
    /// Take another password; a customer alone, for themself.
    ChangePassword = "password:change";
}

impl Scope {
    /// As a token and the API's description write it.
    pub(crate) fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What somebody is to the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Role {
    /// Sees and touches their own orders.
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
                Scope::ReadCustomers,
                Scope::WriteCustomers,
            ],
            Self::Operator => &[
                Scope::ReadOrders,
                Scope::CancelOrders,
                Scope::ResolveOrders,
                Scope::OperateQueues,
                Scope::WriteProducts,
                Scope::ReadStock,
                Scope::WriteStock,
                Scope::ReadCustomers,
            ],
            Self::Finance => &[Scope::ReadOrders, Scope::ReadLedger],
        }
    }
}

/// Whoever sent a request, and what their token allows. Made of a token that was checked, and of
/// nothing else.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    who: Who,
    scopes: BTreeSet<Scope>,
    /// The token's `exp`.
    expires: u64,
}

#[derive(Clone, Debug)]
enum Who {
    /// Acts for themself alone.
    Customer(CustomerId),
    /// A person or program of the shop, by the name that the issuer has for it.
    Staff(String),
}

impl Caller {
    /// Whoever has these roles. A `scope` that names scopes of this shop narrows what the roles
    /// allow, and never widens it.
    ///
    /// Nothing for a customer whose name is none.
    pub(super) fn of(
        roles: &[Role],
        name: &str,
        customer: &str,
        scope: &str,
        expires: u64,
    ) -> Option<Self> {
        let is_staff = roles.iter().any(|role| *role != Role::Customer);
        let who = if is_staff || roles.is_empty() {
            Who::Staff(name.to_owned())
        } else {
            Who::Customer(CustomerId::parse(customer).ok()?)
        };
        let mut scopes: BTreeSet<_> =
            roles.iter().flat_map(|role| role.scopes()).copied().collect();
        let wanted = scopes_in(scope);
        if !wanted.is_empty() {
            scopes.retain(|scope| wanted.contains(scope));
        }
        Some(Self { who, scopes, expires })
    }

    /// Refuses a caller who may not do this.
    pub(crate) fn needs(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        tracing::warn!(who = self.name(), scope = scope.as_str(), "a caller may not do this");
        Err(Problem::not_allowed(scope))
    }

    /// When the token's time is over, in seconds of the Unix epoch.
    pub(super) const fn expires(&self) -> u64 {
        self.expires
    }

    /// How long the caller may still be answered on the strength of this token.
    pub(crate) fn time_left(&self) -> Duration {
        Duration::from_secs(self.expires.saturating_sub(get_current_timestamp()))
    }

    /// Who it is, for the record.
    pub(crate) fn name(&self) -> &str {
        match &self.who {
            Who::Customer(customer) => customer.as_str(),
            Who::Staff(name) => name,
        }
    }

    /// The customer who acts for themself; nothing for the shop's own people and programs, who
    /// act for any.
    pub(crate) const fn customer(&self) -> Option<&CustomerId> {
        match &self.who {
            Who::Customer(customer) => Some(customer),
            Who::Staff(_) => None,
        }
    }

    /// Whether what belongs to this customer is the caller's to see.
    pub(crate) fn sees(&self, customer: &CustomerId) -> bool {
        self.customer().is_none_or(|own| own == customer)
    }
}

/// The scopes of this shop that a token's `scope` names; others belong to others.
pub(super) fn scopes_in(scope: &str) -> BTreeSet<Scope> {
    scope.split(' ').filter_map(|word| word.parse().ok()).collect()
}

/// Every scope with what it allows, for the API's description.
pub(crate) fn every_scope() -> impl Iterator<Item = Scope> {
    Scope::iter()
}

/// A scope that operations are guarded by; see [`scope`].
pub(crate) trait Guarded {
    /// The scope.
    const SCOPE: Scope;
}

/// The caller of an operation, who may do what `S` says.
///
/// The first argument of every operation that is not public. It can only be had from a token
/// that was checked, so an operation that has one is guarded.
///
/// **Errors.** 401 without a token that counts, 403 without the scope, 503 while nobody can say.
#[derive(Debug)]
pub(crate) struct May<S> {
    /// Who asks.
    pub(crate) caller: Caller,
    scope: PhantomData<S>,
}

impl<S: Guarded> FromRequestParts<State> for May<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let caller = state.identity.caller(&parts.headers).await?;
        caller.needs(S::SCOPE)?;
        Ok(Self { caller, scope: PhantomData })
    }
}
