//! The authenticated caller of an operation, and its authorisation.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::time::Duration;

use domain::CustomerId;
use jsonwebtoken::get_current_timestamp;

use crate::error::Problem;
use crate::identity::refusal;
use crate::identity::role::Role;
use crate::identity::scope::{HasScope, Scope};
use crate::shares::Who;

/// The sender of a request, with what their token allows. Built only from a verified token.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    subject: Subject,
    scopes: BTreeSet<Scope>,
    /// The token's `exp`.
    expires: u64,
}

#[derive(Clone, Debug)]
enum Subject {
    /// A customer, who acts only for themself.
    Customer(CustomerId),
    /// A staff member or program of the shop, by the name that the issuer has for it.
    Staff(String),
}

impl Caller {
    /// The caller with these roles. If `narrowed_to` is not empty, the roles' scopes are
    /// intersected with it; it never adds one.
    ///
    /// `None` for a customer without a valid customer id.
    pub(super) fn of(
        roles: &[Role],
        name: &str,
        customer: Option<CustomerId>,
        narrowed_to: &BTreeSet<Scope>,
        expires: u64,
    ) -> Option<Self> {
        let is_staff = roles.iter().any(|role| *role != Role::Customer);
        let subject = if is_staff || roles.is_empty() {
            Subject::Staff(name.to_owned())
        } else {
            Subject::Customer(customer?)
        };
        let mut scopes: BTreeSet<_> =
            roles.iter().flat_map(|role| role.scopes()).copied().collect();
        if !narrowed_to.is_empty() {
            scopes.retain(|scope| narrowed_to.contains(scope));
        }
        Some(Self { subject, scopes, expires })
    }

    /// Fails if the caller lacks this scope.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        tracing::warn!(who = self.name(), scope = scope.as_str(), "a caller may not do this");
        Err(refusal::insufficient_scope(scope))
    }

    /// Whether the caller has this scope; without it, less is shown.
    pub(crate) fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// When the token expires, as a Unix timestamp.
    pub(super) const fn expires(&self) -> u64 {
        self.expires
    }

    /// The remaining lifetime of the token.
    pub(crate) fn time_left(&self) -> Duration {
        Duration::from_secs(self.expires.saturating_sub(get_current_timestamp()))
    }

    /// The caller's name, for logs and audit records.
    pub(crate) fn name(&self) -> &str {
        match &self.subject {
            Subject::Customer(customer) => customer.as_str(),
            Subject::Staff(name) => name,
        }
    }

    /// The key for per-caller limits: a customer's name cannot collide with a staff member's.
    pub(crate) fn who(&self) -> Who {
        match &self.subject {
            Subject::Customer(customer) => Who::Customer(customer.clone()),
            Subject::Staff(name) => Who::Staff(name.clone()),
        }
    }

    /// The customer, if the caller is one; `None` for the shop's staff and programs, who act for
    /// any customer.
    pub(crate) const fn customer(&self) -> Option<&CustomerId> {
        match &self.subject {
            Subject::Customer(customer) => Some(customer),
            Subject::Staff(_) => None,
        }
    }

    /// Whether the caller may see data of this customer.
    pub(crate) fn sees(&self, customer: &CustomerId) -> bool {
        self.customer().is_none_or(|own| own == customer)
    }
}

/// The caller of an operation, authorised for the scope `S`.
///
/// Every non-public operation takes it as its first argument. It can only be obtained from a
/// verified token, so such an operation cannot be called unauthenticated.
#[derive(Debug)]
pub(crate) struct Authorized<S> {
    /// The caller.
    pub(crate) caller: Caller,
    scope: PhantomData<S>,
}

impl<S: HasScope> Authorized<S> {
    /// **Errors.** 403 if the caller lacks the scope.
    pub(super) fn of(caller: Caller) -> Result<Self, Problem> {
        caller.require(S::SCOPE)?;
        Ok(Self { caller, scope: PhantomData })
    }
}
