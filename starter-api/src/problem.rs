//! How the starter says no: the only way from an error to an HTTP answer.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::Money;
use runtime::chain;
use runtime::database::{DatabaseFault, alarm};
use serde::Serialize;
use temporalio_client::tonic::{Code, Status};
use utoipa::{IntoResponses, ToSchema};
use uuid::Uuid;

use crate::identity::Refused;
use crate::identity::access::Scope;

/// What went wrong, in words a caller can act on.
///
/// **Shape.** `application/problem+json` as RFC 9457 has it; `type` leads to the heading of
/// `docs/problems.md` that says what to do. Source errors never leave the process: they are
/// logged once, beside the incident's id.
#[derive(Debug)]
pub struct Problem(Box<Document>);

/// Every kind of problem, with its heading in `docs/problems.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request is not what the operation reads: no JSON, an unknown field, a bad header.
    MalformedRequest,
    /// No token that counts came with the request.
    Unauthenticated,
    /// There is no customer of this address and password.
    SignInFailed,
    /// The token does not allow it.
    InsufficientScope,
    /// Nothing lives at this path.
    RouteNotFound,
    /// Somebody else issues this shop's tokens.
    IssuedElsewhere,
    /// The shop knows no such order.
    OrderNotFound,
    /// The shop sells no such article.
    ProductNotFound,
    /// The shop knows no such customer.
    CustomerNotFound,
    /// There is no such task queue.
    QueueNotFound,
    /// The books have no such account.
    AccountNotFound,
    /// The path is right, the method is not.
    MethodNotAllowed,
    /// The shop's price is not the one the customer was shown.
    PriceChanged,
    /// Somebody has registered with this address before.
    EmailTaken,
    /// There is an article of this number.
    ProductExists,
    /// The pieces are not there, or are set aside for orders.
    NotInStock,
    /// The same paper came with another movement.
    ReferenceReused,
    /// Nothing of the order waits for a decision.
    OrderNotStuck,
    /// The parcel is out of the house.
    OrderAlreadyShipped,
    /// There is nothing to call off: the shop itself said no.
    OrderAlreadyRejected,
    /// There is nothing to call off: a bug had stopped the order.
    OrderAlreadyFailed,
    /// The body is larger than the starter reads.
    BodyTooLarge,
    /// The body is not JSON by its own declaration.
    UnsupportedMediaType,
    /// Well formed, and breaks a rule.
    InvalidRequest,
    /// The same key came with another order.
    IdempotencyKeyReused,
    /// More requests than one caller is allowed.
    TooManyRequests,
    /// Too many wrong passwords in a row.
    SignInDelayed,
    /// A bug.
    Internal,
    /// Temporal or the database does not answer.
    TryAgain,
    /// Too much is asked of the starter at once.
    Overloaded,
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

/// The body of every error (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Document {
    /// The kind itself, for other protocols than HTTP.
    #[serde(skip)]
    #[schema(ignore)]
    pub(crate) which: Kind,
    /// Which kind; leads to its explanation.
    #[serde(rename = "type")]
    #[schema(format = "uri-reference", example = "/docs/problems.md#invalid-request")]
    kind: String,
    /// The kind in words; the same for every problem of the kind.
    title: &'static str,
    /// The status of the answer, again.
    status: u16,
    /// This very problem, in words for whoever sent the request.
    #[schema(value_type = String)]
    pub(crate) detail: Cow<'static, str>,
    /// Every broken rule, where rules are broken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<Breach>,
    /// What the customer was shown, where the price has changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_total: Option<Money>,
    /// What the order costs now, where the price has changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    actual_total: Option<Money>,
    /// What to name when asking for help, where the fault is the shop's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) incident: Option<Uuid>,
    #[serde(skip)]
    pub(crate) retry_after_seconds: Option<u16>,
    #[serde(skip)]
    www_authenticate: Option<String>,
}

/// What any operation that reads may answer instead, for the `OpenAPI` page.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) enum ReadProblems {
    /// The request cannot be read.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(Document),
    /// More requests than the caller may send; `Retry-After` says when to come back.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(Document),
    /// A fault of the shop, with the incident to name.
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(Document),
    /// Temporal or the database does not answer; `Retry-After` says when to come back.
    #[response(status = 503, content_type = "application/problem+json")]
    TryAgain(Document),
}

/// What any operation that takes a body may answer instead, for the `OpenAPI` page.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) enum WriteProblems {
    /// The body cannot be read, or has a field that nobody knows.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(Document),
    /// The body is too large.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Document),
    /// The body is not declared as JSON.
    #[response(status = 415, content_type = "application/problem+json")]
    NotJson(Document),
    /// Rules are broken; `errors` names each with a JSON pointer.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(Document),
    /// More requests than the caller may send; `Retry-After` says when to come back.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(Document),
    /// A fault of the shop, with the incident to name.
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(Document),
    /// Temporal or the database does not answer; `Retry-After` says when to come back.
    #[response(status = 503, content_type = "application/problem+json")]
    TryAgain(Document),
}

/// What any operation that is not public may answer instead, for the `OpenAPI` page.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) enum Guarded {
    /// No token that counts; `WWW-Authenticate` says what would do.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(Document),
    /// The token does not allow it; `WWW-Authenticate` names the scope that would.
    #[response(status = 403, content_type = "application/problem+json")]
    NotAllowed(Document),
}

/// How soon a caller should come back: long enough for a restart to have made progress.
const RETRY_AFTER_SECONDS: u16 = 2;

impl Kind {
    /// Every kind, in the order in which the docs tell them.
    pub const ALL: [Self; 30] = [
        Self::MalformedRequest,
        Self::Unauthenticated,
        Self::SignInFailed,
        Self::InsufficientScope,
        Self::RouteNotFound,
        Self::IssuedElsewhere,
        Self::OrderNotFound,
        Self::ProductNotFound,
        Self::CustomerNotFound,
        Self::QueueNotFound,
        Self::AccountNotFound,
        Self::MethodNotAllowed,
        Self::PriceChanged,
        Self::EmailTaken,
        Self::ProductExists,
        Self::NotInStock,
        Self::ReferenceReused,
        Self::OrderNotStuck,
        Self::OrderAlreadyShipped,
        Self::OrderAlreadyRejected,
        Self::OrderAlreadyFailed,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::InvalidRequest,
        Self::IdempotencyKeyReused,
        Self::TooManyRequests,
        Self::SignInDelayed,
        Self::Internal,
        Self::TryAgain,
        Self::Overloaded,
    ];

    /// The status it is answered with.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::MalformedRequest => StatusCode::BAD_REQUEST,
            Self::Unauthenticated | Self::SignInFailed => StatusCode::UNAUTHORIZED,
            Self::InsufficientScope => StatusCode::FORBIDDEN,
            Self::RouteNotFound
            | Self::IssuedElsewhere
            | Self::OrderNotFound
            | Self::ProductNotFound
            | Self::CustomerNotFound
            | Self::QueueNotFound
            | Self::AccountNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::PriceChanged
            | Self::EmailTaken
            | Self::ProductExists
            | Self::NotInStock
            | Self::ReferenceReused
            | Self::OrderNotStuck
            | Self::OrderAlreadyShipped
            | Self::OrderAlreadyRejected
            | Self::OrderAlreadyFailed => StatusCode::CONFLICT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::InvalidRequest | Self::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyRequests | Self::SignInDelayed => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TryAgain | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Heading and title: one line a kind.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::MalformedRequest => ("malformed-request", "The request cannot be read"),
            Self::Unauthenticated => ("unauthenticated", "The request does not say who sends it"),
            Self::SignInFailed => {
                ("sign-in-failed", "There is no such customer with this password")
            }
            Self::InsufficientScope => ("insufficient-scope", "The token does not allow this"),
            Self::RouteNotFound => ("route-not-found", "There is nothing at this path"),
            Self::IssuedElsewhere => {
                ("issued-elsewhere", "This shop's tokens come from another issuer")
            }
            Self::OrderNotFound => ("order-not-found", "There is no such order"),
            Self::ProductNotFound => ("product-not-found", "There is no such product"),
            Self::CustomerNotFound => ("customer-not-found", "There is no such customer"),
            Self::QueueNotFound => ("queue-not-found", "There is no such task queue"),
            Self::AccountNotFound => ("account-not-found", "There is no such account"),
            Self::MethodNotAllowed => ("method-not-allowed", "The path does not know this method"),
            Self::PriceChanged => ("price-changed", "The order costs something else now"),
            Self::EmailTaken => ("email-taken", "There is a customer of this address"),
            Self::ProductExists => ("product-exists", "There is an article of this number"),
            Self::NotInStock => ("not-in-stock", "So many pieces are not there to be taken"),
            Self::ReferenceReused => ("reference-reused", "The paper belongs to another movement"),
            Self::OrderNotStuck => ("order-not-stuck", "Nothing waits for a decision"),
            Self::OrderAlreadyShipped => {
                ("order-already-shipped", "The parcel has been handed over")
            }
            Self::OrderAlreadyRejected => {
                ("order-already-rejected", "The shop has refused the order")
            }
            Self::OrderAlreadyFailed => {
                ("order-already-failed", "The order was stopped by a fault")
            }
            Self::BodyTooLarge => ("body-too-large", "The body is too large"),
            Self::UnsupportedMediaType => {
                ("unsupported-media-type", "The body is not declared as JSON")
            }
            Self::InvalidRequest => ("invalid-request", "The request breaks a rule"),
            Self::IdempotencyKeyReused => {
                ("idempotency-key-reused", "The key belongs to another order")
            }
            Self::TooManyRequests => ("too-many-requests", "The caller sends more than it may"),
            Self::SignInDelayed => ("sign-in-delayed", "Too many wrong passwords in a row"),
            Self::Internal => ("internal", "The shop has made a mistake"),
            Self::TryAgain => ("try-again", "The shop cannot answer right now"),
            Self::Overloaded => ("overloaded", "Too much is asked at once"),
        }
    }

    /// Its heading in `docs/problems.md`.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        self.words().0
    }
}

impl Problem {
    /// The status it is answered with over HTTP.
    pub(crate) fn status(&self) -> u16 {
        self.0.status
    }

    /// What is told about it.
    pub(crate) fn document(&self) -> &Document {
        &self.0
    }

    /// A problem of this kind, told to whoever sent the request.
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        let (heading, title) = kind.words();
        Self(Box::new(Document {
            which: kind,
            kind: format!("/docs/problems.md#{heading}"),
            title,
            status: kind.status().as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            expected_total: None,
            actual_total: None,
            incident: None,
            retry_after_seconds: None,
            www_authenticate: None,
        }))
    }

    /// The request cannot be read, at this place.
    #[must_use]
    pub fn malformed(pointer: &str, detail: String) -> Self {
        let mut problem = Self::new(Kind::MalformedRequest, detail.clone());
        if !pointer.is_empty() {
            problem.0.errors.push(Breach { pointer: pointer.to_owned(), detail });
        }
        problem
    }

    /// The request breaks these rules.
    #[must_use]
    pub fn invalid(breaches: Vec<Breach>) -> Self {
        let mut problem =
            Self::new(Kind::InvalidRequest, "Nothing was done. See `errors` for each broken rule.");
        problem.0.errors = breaches;
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
        problem.0.expected_total = Some(expected);
        problem.0.actual_total = Some(actual);
        problem
    }

    /// The shop knows no such order.
    #[must_use]
    pub fn order_not_found() -> Self {
        Self::new(Kind::OrderNotFound, "The shop knows no order by this id.")
    }

    /// The request says nothing of who sends it.
    #[must_use]
    pub(crate) fn no_token() -> Self {
        let detail = "Send a token, as `Authorization: Bearer …`. POST /v1/sessions has one for a \
                      customer, POST /oauth/token for a program.";
        // RFC 6750, 3.1: who has shown nothing is told of no error.
        Self::new(Kind::Unauthenticated, detail).challenged("")
    }

    /// The token does not count.
    #[must_use]
    pub(crate) fn bad_token(refused: Refused) -> Self {
        let why = refused.told();
        Self::new(Kind::Unauthenticated, format!("{why}. Get a new one."))
            .challenged(&format!(", error=\"invalid_token\", error_description=\"{why}\""))
    }

    /// There is no customer of this address and password.
    #[must_use]
    pub(crate) fn sign_in_failed() -> Self {
        Self::new(Kind::SignInFailed, "The e-mail address or the password is not right.")
            .challenged("")
    }

    /// The token counts, and does not allow this.
    #[must_use]
    pub(crate) fn not_allowed(scope: Scope) -> Self {
        let scope = scope.as_str();
        Self::new(Kind::InsufficientScope, format!("This takes the scope {scope}."))
            .challenged(&format!(", error=\"insufficient_scope\", scope=\"{scope}\""))
    }

    /// Says in the header too what would do (RFC 6750).
    fn challenged(mut self, why: &str) -> Self {
        self.0.www_authenticate = Some(format!("Bearer realm=\"ordersaga\"{why}"));
        self
    }

    /// A party does not answer; the log says which and why.
    pub fn unavailable(doing: &'static str, why: &dyn Error) -> Self {
        tracing::warn!(doing, error = chain(why), "a party does not answer");
        let mut problem = Self::new(
            Kind::TryAgain,
            "The shop's database or its order engine does not answer. Send the same request again, \
             with the same Idempotency-Key, after the time in Retry-After.",
        );
        problem.0.retry_after_seconds = Some(RETRY_AFTER_SECONDS);
        problem
    }

    /// The starter is doing as much as it can.
    #[must_use]
    pub(crate) fn overloaded(what: &'static str) -> Self {
        let mut problem = Self::new(Kind::Overloaded, what);
        problem.0.retry_after_seconds = Some(RETRY_AFTER_SECONDS);
        problem
    }

    /// The caller has used up what it may send.
    #[must_use]
    pub(crate) fn too_many_requests(wait: Duration) -> Self {
        let mut problem = Self::new(
            Kind::TooManyRequests,
            "Nothing was done. `RateLimit-Policy` tells how many requests are allowed.",
        );
        let seconds = u16::try_from(wait.as_secs()).unwrap_or(u16::MAX);
        problem.0.retry_after_seconds = Some(seconds.saturating_add(1));
        problem
    }

    /// The next password for this address has to wait.
    #[must_use]
    pub(crate) fn sign_in_delayed(wait_seconds: u16) -> Self {
        let mut problem = Self::new(
            Kind::SignInDelayed,
            "Too many wrong passwords in a row were sent for this address. This one was not \
             looked at; send it again after the time in Retry-After.",
        );
        problem.0.retry_after_seconds = Some(wait_seconds);
        problem
    }

    /// A bug; the log says which, beside the incident that the caller is given.
    pub fn internal(doing: &'static str, why: &dyn Error) -> Self {
        let incident = Uuid::now_v7();
        tracing::error!(%incident, doing, error = chain(why), "a bug stopped a request");
        let mut problem = Self::new(
            Kind::Internal,
            "Something is broken on the shop's side. Name the incident when you ask for help.",
        );
        problem.0.incident = Some(incident);
        problem
    }

    /// What the database's error means: it does not answer, it does not fit the starter, which
    /// an operator puts right, or the starter has a bug.
    #[must_use]
    pub fn of_database(doing: &'static str, error: &sqlx::Error) -> Self {
        match DatabaseFault::of(error) {
            DatabaseFault::Transient => Self::unavailable(doing, error),
            DatabaseFault::Misdeployed => {
                alarm(doing, error);
                Self::unavailable(doing, error)
            }
            DatabaseFault::Broken => Self::internal(doing, error),
        }
    }

    /// What Temporal's error means: it does not answer, or something is set up wrong.
    #[must_use]
    pub fn of_temporal(doing: &'static str, status: &Status) -> Self {
        match status.code() {
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Cancelled
            | Code::Unknown => Self::unavailable(doing, status),
            Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss
            | Code::Unauthenticated => Self::internal(doing, status),
        }
    }
}

/// What a result's error means, said where it is known what was being done.
pub(crate) trait OrProblem<T> {
    /// The value, or the problem that the caller is told.
    fn or_problem(self, doing: &'static str) -> Result<T, Problem>;
}

impl<T> OrProblem<T> for Result<T, sqlx::Error> {
    fn or_problem(self, doing: &'static str) -> Result<T, Problem> {
        self.map_err(|error| Problem::of_database(doing, &error))
    }
}

impl<T> OrProblem<T> for Result<T, Status> {
    fn or_problem(self, doing: &'static str) -> Result<T, Problem> {
        self.map_err(|status| Problem::of_temporal(doing, &status))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or_default();
        let retry_after = self.0.retry_after_seconds;
        let challenge =
            self.0.www_authenticate.as_deref().and_then(|text| HeaderValue::try_from(text).ok());
        let grpc = tonic::Status::from(&self);
        let mut response = (status, Json(self.0)).into_response();
        // Where the caller speaks gRPC, this is what it is told.
        response.extensions_mut().insert(grpc);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = challenge {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
