//! The kinds of problems, and their titles.

use strum::{IntoStaticStr, VariantArray};

/// Every kind of problem, with its heading in `docs/problems.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Kind {
    /// The request cannot be parsed: no JSON, an unknown field, a bad header.
    MalformedRequest,
    /// The request carries no valid token.
    Unauthenticated,
    /// There is no customer with this e-mail address and password.
    SignInFailed,
    /// The token lacks a scope.
    InsufficientScope,
    /// There is no operation at this path.
    RouteNotFound,
    /// An external identity provider issues this shop's tokens.
    IssuedElsewhere,
    /// There is no such order, or the caller may not see it.
    OrderNotFound,
    /// The order has no such invoice or credit note.
    InvoiceNotIssued,
    /// There is no such article.
    ProductNotFound,
    /// There is no such customer, or the caller may not see them.
    CustomerNotFound,
    /// There is no such task queue.
    QueueNotFound,
    /// There is no such party.
    PartyNotFound,
    /// There is no such ledger account.
    AccountNotFound,
    /// There is no open event with this id.
    EventNotFound,
    /// There is no open difference with this number.
    DifferenceNotFound,
    /// There is no such sink.
    SinkNotFound,
    /// A process serves the sink.
    SinkInUse,
    /// There is no such webhook endpoint.
    EndpointNotFound,
    /// There is no such mail in a state that can be decided.
    NotificationNotFound,
    /// The shop has no secret to verify webhooks with.
    WebhooksNotTaken,
    /// The webhook's signature is wrong or too old.
    SignatureRefused,
    /// The event is of another account or mode.
    EventOfAnotherAccount,
    /// The path does not support this method.
    MethodNotAllowed,
    /// The price is not the one that the customer was shown.
    PriceChanged,
    /// The e-mail address is registered already.
    EmailTaken,
    /// An article with this number exists already.
    ProductExists,
    /// The pieces are not in stock, or are reserved for orders.
    NotInStock,
    /// The reference was used for another movement.
    ReferenceReused,
    /// The order is not waiting for a decision.
    OrderNotStuck,
    /// The parcel has been handed over, so it is too late to cancel.
    OrderAlreadyShipped,
    /// There is nothing to cancel: the shop rejected the order.
    OrderAlreadyRejected,
    /// There is nothing to cancel: a fault stopped the order.
    OrderAlreadyFailed,
    /// The order does not wait for a payment.
    NoPaymentDue,
    /// The order does not wait for a review.
    NoReviewDue,
    /// The order's parcel is not on its way, so it cannot have been delivered.
    ParcelNotUnderWay,
    /// The maximum number of webhook endpoints is reached.
    TooManyEndpoints,
    /// The webhook endpoint is disabled.
    EndpointDisabled,
    /// There is no such entry in the block and allow lists.
    EntryNotFound,
    /// There is no such rule set.
    RuleSetNotFound,
    /// No money of the order can be given back.
    OrderNotRefundable,
    /// Another refund of the order is under way.
    RefundUnderWay,
    /// The order's workflow was terminated externally before the order reached a terminal status.
    OrderInterrupted,
    /// The precondition of the request does not hold.
    ChangedMeanwhile,
    /// The body was not received in time.
    BodyTooSlow,
    /// The body is too large.
    BodyTooLarge,
    /// The body is not declared as JSON.
    UnsupportedMediaType,
    /// The request is well formed but breaks a rule.
    InvalidRequest,
    /// The idempotency key was used for a different request.
    IdempotencyKeyReused,
    /// The caller exceeds a rate limit.
    TooManyRequests,
    /// Too many wrong passwords in a row.
    SignInDelayed,
    /// A bug.
    Internal,
    /// Temporal or the database does not answer.
    TryAgain,
    /// This process has reached its limit of concurrent requests.
    Overloaded,
}

impl Kind {
    /// Its heading in `docs/problems.md`: the variant's name in kebab case.
    #[must_use]
    pub fn heading(self) -> &'static str {
        self.into()
    }

    /// The title, the same for every problem of the kind.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::MalformedRequest => "The request cannot be read",
            Self::Unauthenticated => "The request is not authenticated",
            Self::SignInFailed => "The e-mail address or the password is wrong",
            Self::InsufficientScope => "The token does not allow this",
            Self::RouteNotFound => "There is nothing at this path",
            Self::IssuedElsewhere => "This shop's tokens come from another issuer",
            Self::OrderNotFound => "There is no such order",
            Self::InvoiceNotIssued => "There is no such invoice",
            Self::ProductNotFound => "There is no such product",
            Self::CustomerNotFound => "There is no such customer",
            Self::QueueNotFound => "There is no such task queue",
            Self::PartyNotFound => "There is no such party",
            Self::AccountNotFound => "There is no such account",
            Self::EventNotFound => "There is no such open event",
            Self::DifferenceNotFound => "There is no such open difference",
            Self::SinkNotFound => "There is no such sink",
            Self::SinkInUse => "The sink is in use",
            Self::EndpointNotFound => "There is no such webhook endpoint",
            Self::NotificationNotFound => "There is no such mail",
            Self::WebhooksNotTaken => "This shop takes no webhooks",
            Self::SignatureRefused => "The webhook's signature is not valid",
            Self::EventOfAnotherAccount => "The event is of another account or mode",
            Self::MethodNotAllowed => "The path does not support this method",
            Self::PriceChanged => "The price has changed",
            Self::EmailTaken => "The e-mail address is registered already",
            Self::ProductExists => "An article with this number exists already",
            Self::NotInStock => "There are not enough pieces in stock",
            Self::ReferenceReused => "The reference belongs to another movement",
            Self::OrderNotStuck => "The order is not waiting for a decision",
            Self::OrderAlreadyShipped => "The parcel has been handed over",
            Self::OrderAlreadyRejected => "The shop has refused the order",
            Self::OrderAlreadyFailed => "The order was stopped by a fault",
            Self::NoPaymentDue => "The order does not wait for a payment",
            Self::NoReviewDue => "The order does not wait for a review",
            Self::ParcelNotUnderWay => "The order's parcel is not on its way",
            Self::TooManyEndpoints => "The maximum number of webhook endpoints is reached",
            Self::EndpointDisabled => "The webhook endpoint is disabled",
            Self::EntryNotFound => "There is no such entry",
            Self::RuleSetNotFound => "There is no such set of rules",
            Self::OrderNotRefundable => "No money of the order can be given back",
            Self::RefundUnderWay => "Another refund of the order is under way",
            Self::OrderInterrupted => "The order's workflow was ended from outside",
            Self::ChangedMeanwhile => "The resource has changed meanwhile",
            Self::BodyTooSlow => "The body took too long",
            Self::BodyTooLarge => "The body is too large",
            Self::UnsupportedMediaType => "The body is not declared as JSON",
            Self::InvalidRequest => "The request breaks a rule",
            Self::IdempotencyKeyReused => "The key belongs to another request",
            Self::TooManyRequests => "The caller exceeds a rate limit",
            Self::SignInDelayed => "Too many wrong passwords in a row",
            Self::Internal => "The shop has an internal error",
            Self::TryAgain => "The shop is temporarily unavailable",
            Self::Overloaded => "The shop is overloaded",
        }
    }
}
