//! The authenticated caller of an operation, and the proof that it may call it.

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

/// Who sent a request, and what their token allows. Built only from a verified token.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    subject: Subject,
    scopes: BTreeSet<Scope>,
    /// The token's `exp`.
    expires: u64,
}

#[derive(Clone, Debug)]
enum Subject {
    /// A customer, who acts for themself only.
    Customer(CustomerId),
    /// A person or program of the shop, by the name that the issuer has for it.
    Staff(String),
}

impl Caller {
    /// The caller with these roles. If `narrowed_to` is not empty, only those scopes of the roles
    /// are kept; it never adds one.
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

    /// Refuses a caller who lacks this scope.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        tracing::warn!(who = self.name(), scope = scope.as_str(), "a caller may not do this");
        Err(refusal::insufficient_scope(scope))
    }

    /// Whether the caller has this scope, where one without it is shown less.
    pub(crate) fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// When the token expires, in seconds of the Unix epoch.
    pub(super) const fn expires(&self) -> u64 {
        self.expires
    }

    /// How long until the token expires.
    pub(crate) fn time_left(&self) -> Duration {
        Duration::from_secs(self.expires.saturating_sub(get_current_timestamp()))
    }

    /// The caller's name, for the record.
    pub(crate) fn name(&self) -> &str {
        match &self.subject {
            Subject::Customer(customer) => customer.as_str(),
            Subject::Staff(name) => name,
        }
    }

    /// What the caller is counted by: a customer's name is not taken for one of the staff's.
    pub(crate) fn who(&self) -> Who {
        match &self.subject {
            Subject::Customer(customer) => Who::Customer(customer.clone()),
            Subject::Staff(name) => Who::Staff(name.clone()),
        }
    }

    /// The customer, if the caller is one; `None` for the shop's own people and programs, who act
    /// for any customer.
    pub(crate) const fn customer(&self) -> Option<&CustomerId> {
        match &self.subject {
            Subject::Customer(customer) => Some(customer),
            Subject::Staff(_) => None,
        }
    }

    /// Whether the caller may see what belongs to this customer.
    pub(crate) fn sees(&self, customer: &CustomerId) -> bool {
        self.customer().is_none_or(|own| own == customer)
    }
}

/// The caller of an operation, who has the scope `S`.
///
/// The first argument of every operation that is not public. It can only be obtained from a
/// verified token, so an operation that takes one is protected.
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
