//! The starter's error type. A [`Problem`] describes an error independently of the protocol;
//! `http`, `grpc` and `graphql` encode it.

mod database;
mod kind;
mod rules;

use std::borrow::Cow;
use std::error::Error;
use std::iter;
use std::time::Duration;

use domain::Money;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

pub use kind::Kind;
pub(crate) use rules::Rules;

/// What went wrong, in words that the caller can act on.
///
/// Source errors never leave the process: they are logged once, with the incident's id.
#[derive(Debug)]
pub struct Problem(Box<Details>);

/// The parts of a [`Problem`].
#[derive(Debug)]
pub(crate) struct Details {
    /// What kind of problem it is.
    pub(crate) kind: Kind,
    /// What happened this time, for the caller.
    pub(crate) detail: Cow<'static, str>,
    /// Every broken rule, where rules are broken.
    pub(crate) breaches: Vec<Breach>,
    /// Both prices, where the price has changed.
    pub(crate) price_change: Option<PriceChange>,
    /// What to quote when asking for help, if the fault is the shop's.
    pub(crate) incident: Option<Uuid>,
    /// When the same request may be sent again.
    pub(crate) retry_after_seconds: Option<u16>,
    /// How to authenticate, as RFC 6750 writes it, where authentication is what is missing.
    pub(crate) challenge: Option<String>,
}

/// One broken rule, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Breach {
    /// Where in the body: a JSON pointer (RFC 6901).
    #[schema(example = "/lines/0/quantity")]
    pub pointer: String,
    /// Which rule, and what would satisfy it.
    #[schema(example = "a quantity is a whole number from 1 to 100000, not 0")]
    pub detail: String,
}

/// The price that the customer was shown, and the price now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PriceChange {
    pub(crate) expected: Money,
    pub(crate) actual: Money,
}

/// How soon a caller should come back: long enough for a restart to have made progress.
const RETRY_AFTER_SECONDS: u16 = 2;

impl Problem {
    /// A problem of this kind. The `detail` is shown to the caller.
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Details {
            kind,
            detail: detail.into(),
            breaches: Vec::new(),
            price_change: None,
            incident: None,
            retry_after_seconds: None,
            challenge: None,
        }))
    }

    /// What kind of problem it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Everything that a protocol may tell the caller about it.
    pub(crate) fn details(&self) -> &Details {
        &self.0
    }

    /// The request cannot be read, at this place.
    #[must_use]
    pub fn malformed(pointer: &str, detail: String) -> Self {
        let mut problem = Self::new(Kind::MalformedRequest, detail.clone());
        if !pointer.is_empty() {
            problem.0.breaches.push(Breach { pointer: pointer.to_owned(), detail });
        }
        problem
    }

    /// The request breaks these rules.
    #[must_use]
    pub fn invalid(breaches: Vec<Breach>) -> Self {
        let mut problem =
            Self::new(Kind::InvalidRequest, "Nothing was done. `errors` lists each broken rule.");
        problem.0.breaches = breaches;
        problem
    }

    /// The customer was shown another price.
    #[must_use]
    pub fn price_changed(expected: Money, actual: Money) -> Self {
        let detail = format!(
            "The order was expected to cost {expected} and costs {actual}. Nothing was done; show \
             the customer the new price and order again."
        );
        let mut problem = Self::new(Kind::PriceChanged, detail);
        problem.0.price_change = Some(PriceChange { expected, actual });
        problem
    }

    /// There is no such order, or it is not the caller's to see.
    #[must_use]
    pub fn order_not_found() -> Self {
        Self::new(Kind::OrderNotFound, "There is no order with this id.")
    }

    /// There is no such customer, or the caller is somebody else.
    #[must_use]
    pub fn customer_not_found() -> Self {
        Self::new(Kind::CustomerNotFound, "There is no customer with this id.")
    }

    /// There is no such product.
    #[must_use]
    pub fn product_not_found() -> Self {
        Self::new(Kind::ProductNotFound, "There is no article with this number.")
    }

    /// Adds how to authenticate, as RFC 6750 writes it.
    #[must_use]
    pub(crate) fn with_challenge(mut self, challenge: String) -> Self {
        self.0.challenge = Some(challenge);
        self
    }

    /// Adds when the same request may be sent again.
    #[must_use]
    pub(crate) fn with_retry_after(mut self, seconds: u16) -> Self {
        self.0.retry_after_seconds = Some(seconds);
        self
    }

    /// A party does not answer; the log says which and why.
    pub fn unavailable(doing: &'static str, why: &dyn Error) -> Self {
        tracing::warn!(doing, error = chain(why), "a party does not answer");
        let detail = "The shop's database or its order engine does not answer. Send the same \
                      request again, with the same Idempotency-Key, after the time in Retry-After.";
        Self::new(Kind::TryAgain, detail).with_retry_after(RETRY_AFTER_SECONDS)
    }

    /// This process does as much as it can at once.
    #[must_use]
    pub(crate) fn overloaded(detail: &'static str) -> Self {
        Self::new(Kind::Overloaded, detail).with_retry_after(RETRY_AFTER_SECONDS)
    }

    /// The caller has exceeded a rate limit.
    #[must_use]
    pub(crate) fn too_many_requests(wait: Duration) -> Self {
        let detail = "Nothing was done. `RateLimit-Policy` says how many requests are allowed.";
        let seconds = u16::try_from(wait.as_secs()).unwrap_or(u16::MAX);
        Self::new(Kind::TooManyRequests, detail).with_retry_after(seconds.saturating_add(1))
    }

    /// A bug; the log says which, beside the incident that the caller is given.
    pub fn internal(doing: &'static str, why: &dyn Error) -> Self {
        let incident = Uuid::now_v7();
        tracing::error!(%incident, doing, error = chain(why), "a bug stopped a request");
        let detail = "The fault is on the shop's side. Quote the incident when you ask for help.";
        let mut problem = Self::new(Kind::Internal, detail);
        problem.0.incident = Some(incident);
        problem
    }
}

/// Turns a party's error into a [`Problem`], where it is known what was being done.
pub(crate) trait OrProblem<T> {
    /// The value, or the problem that the caller is shown.
    fn or_problem(self, doing: &'static str) -> Result<T, Problem>;
}

/// The error with everything it stems from, for the log.
fn chain(error: &dyn Error) -> String {
    let sources = iter::successors(error.source(), |&source| source.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}
