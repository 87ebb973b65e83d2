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

/// An error in words that the caller can act on.
///
/// Source errors never leave the process: they are logged once, with the incident's id.
#[derive(Debug)]
pub struct Problem(Box<Details>);

/// The parts of a [`Problem`].
#[derive(Debug)]
pub(crate) struct Details {
    /// The kind of the problem.
    pub(crate) kind: Kind,
    /// What happened, in words for the caller.
    pub(crate) detail: Cow<'static, str>,
    /// Every broken rule, for an invalid request.
    pub(crate) breaches: Vec<Breach>,
    /// Both prices, if the price has changed.
    pub(crate) price_change: Option<PriceChange>,
    /// The id to quote when asking for help, for an internal error.
    pub(crate) incident: Option<Uuid>,
    /// When the same request may be retried.
    pub(crate) retry_after_seconds: Option<u16>,
    /// The `WWW-Authenticate` challenge (RFC 6750), if authentication is required.
    pub(crate) challenge: Option<String>,
}

/// A broken rule, and where it is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Breach {
    /// The location in the body: a JSON pointer (RFC 6901).
    #[schema(example = "/lines/0/quantity")]
    pub pointer: String,
    /// The rule, and what would satisfy it.
    #[schema(example = "a quantity is a whole number from 1 to 100000, not 0")]
    pub detail: String,
}

/// The price that the customer was shown, and the price now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PriceChange {
    pub(crate) expected: Money,
    pub(crate) actual: Money,
}

/// The default `Retry-After`: long enough for a restart to make progress.
const RETRY_AFTER_SECONDS: u16 = 2;

impl Problem {
    /// A problem of this kind. `detail` is shown to the caller.
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

    /// The kind of the problem.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Everything that a protocol may reveal to the caller.
    pub(crate) fn details(&self) -> &Details {
        &self.0
    }

    /// The request cannot be parsed at this place.
    #[must_use]
    pub fn malformed(pointer: &str, detail: String) -> Self {
        let mut problem = Self::new(Kind::MalformedRequest, detail.clone());
        if !pointer.is_empty() {
            problem.0.breaches.push(Breach { pointer: pointer.to_owned(), detail });
        }
        problem
    }

    /// The request breaks rules.
    #[must_use]
    pub fn invalid(breaches: Vec<Breach>) -> Self {
        let mut problem =
            Self::new(Kind::InvalidRequest, "Nothing was done. `errors` lists each broken rule.");
        problem.0.breaches = breaches;
        problem
    }

    /// The price has changed since the customer was shown it.
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

    /// The order does not exist, or the caller may not see it.
    #[must_use]
    pub fn order_not_found() -> Self {
        Self::new(Kind::OrderNotFound, "There is no order with this id.")
    }

    /// The customer does not exist, or the caller may not see them.
    #[must_use]
    pub fn customer_not_found() -> Self {
        Self::new(Kind::CustomerNotFound, "There is no customer with this id.")
    }

    /// The product does not exist.
    #[must_use]
    pub fn product_not_found() -> Self {
        Self::new(Kind::ProductNotFound, "There is no article with this number.")
    }

    /// Adds a `WWW-Authenticate` challenge (RFC 6750).
    #[must_use]
    pub(crate) fn with_challenge(mut self, challenge: String) -> Self {
        self.0.challenge = Some(challenge);
        self
    }

    /// Adds when the same request may be retried.
    #[must_use]
    pub(crate) fn with_retry_after(mut self, seconds: u16) -> Self {
        self.0.retry_after_seconds = Some(seconds);
        self
    }

    /// A dependency does not answer; the log says which and why.
    pub fn unavailable(doing: &'static str, why: &dyn Error) -> Self {
        tracing::warn!(doing, error = chain(why), "a party does not answer");
        let detail = "The shop's database or its order engine does not answer. Send the same \
                      request again, with the same Idempotency-Key, after the time in Retry-After.";
        Self::new(Kind::TryAgain, detail).with_retry_after(RETRY_AFTER_SECONDS)
    }

    /// This process has reached a concurrency limit.
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

    /// A bug. The log has the cause, under the incident id that the caller gets.
    pub fn internal(doing: &'static str, why: &dyn Error) -> Self {
        let incident = Uuid::now_v7();
        tracing::error!(%incident, doing, error = chain(why), "a bug stopped a request");
        let detail = "The fault is on the shop's side. Quote the incident when you ask for help.";
        let mut problem = Self::new(Kind::Internal, detail);
        problem.0.incident = Some(incident);
        problem
    }
}

/// Converts a dependency's error to a [`Problem`], with the operation that failed.
pub(crate) trait OrProblem<T> {
    /// The value, or the problem for the caller.
    fn or_problem(self, doing: &'static str) -> Result<T, Problem>;
}

/// The error with its chain of causes, for the log.
fn chain(error: &dyn Error) -> String {
    let sources = iter::successors(error.source(), |&source| source.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}
