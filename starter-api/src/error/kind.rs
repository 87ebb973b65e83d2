//! The kinds of problems, and what each is called.

use strum::{IntoStaticStr, VariantArray};

/// Every kind of problem, with its heading in `docs/problems.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
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

impl Kind {
    /// Its heading in `docs/problems.md`: the variant's name in kebab case.
    #[must_use]
    pub fn heading(self) -> &'static str {
        self.into()
    }

    /// What it is called; the same for every problem of the kind.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::MalformedRequest => "The request cannot be read",
            Self::Unauthenticated => "The request does not say who sends it",
            Self::SignInFailed => "There is no such customer with this password",
            Self::InsufficientScope => "The token does not allow this",
            Self::RouteNotFound => "There is nothing at this path",
            Self::IssuedElsewhere => "This shop's tokens come from another issuer",
            Self::OrderNotFound => "There is no such order",
            Self::ProductNotFound => "There is no such product",
            Self::CustomerNotFound => "There is no such customer",
            Self::QueueNotFound => "There is no such task queue",
            Self::AccountNotFound => "There is no such account",
            Self::MethodNotAllowed => "The path does not know this method",
            Self::PriceChanged => "The order costs something else now",
            Self::EmailTaken => "There is a customer of this address",
            Self::ProductExists => "There is an article of this number",
            Self::NotInStock => "So many pieces are not there to be taken",
            Self::ReferenceReused => "The paper belongs to another movement",
            Self::OrderNotStuck => "Nothing waits for a decision",
            Self::OrderAlreadyShipped => "The parcel has been handed over",
            Self::OrderAlreadyRejected => "The shop has refused the order",
            Self::OrderAlreadyFailed => "The order was stopped by a fault",
            Self::BodyTooLarge => "The body is too large",
            Self::UnsupportedMediaType => "The body is not declared as JSON",
            Self::InvalidRequest => "The request breaks a rule",
            Self::IdempotencyKeyReused => "The key belongs to another order",
            Self::TooManyRequests => "The caller sends more than it may",
            Self::SignInDelayed => "Too many wrong passwords in a row",
            Self::Internal => "The shop has made a mistake",
            Self::TryAgain => "The shop cannot answer right now",
            Self::Overloaded => "Too much is asked at once",
        }
    }
}
