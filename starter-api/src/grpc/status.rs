//! A [`Problem`] as a gRPC status.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::error::{Kind, Problem};

/// The domain of the error reasons (`google.rpc.ErrorInfo`).
const DOMAIN: &str = "ordersaga";

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        Self::from(&problem)
    }
}

impl From<&Problem> for Status {
    fn from(problem: &Problem) -> Self {
        let details = problem.details();
        let reason = details.kind.heading().replace('-', "_").to_uppercase();
        let mut status = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
        for breach in &details.breaches {
            status.add_bad_request_violation(&breach.pointer, &breach.detail);
        }
        if let Some(seconds) = details.retry_after_seconds {
            status.set_retry_info(Some(Duration::from_secs(seconds.into())));
        }
        if let Some(incident) = details.incident {
            status.set_request_info(incident.to_string(), "");
        }
        Self::with_error_details(code(details.kind), details.detail.to_string(), status)
    }
}

const fn code(kind: Kind) -> Code {
    match kind {
        Kind::MalformedRequest
        | Kind::InvalidRequest
        | Kind::BodyTooLarge
        | Kind::UnsupportedMediaType
        | Kind::SignatureRefused
        | Kind::EventOfAnotherAccount => Code::InvalidArgument,
        Kind::Unauthenticated | Kind::SignInFailed => Code::Unauthenticated,
        Kind::InsufficientScope => Code::PermissionDenied,
        Kind::RouteNotFound | Kind::MethodNotAllowed => Code::Unimplemented,
        Kind::OrderNotFound
        | Kind::InvoiceNotIssued
        | Kind::ProductNotFound
        | Kind::CustomerNotFound
        | Kind::QueueNotFound
        | Kind::PartyNotFound
        | Kind::AccountNotFound
        | Kind::EventNotFound
        | Kind::DifferenceNotFound
        | Kind::SinkNotFound
        | Kind::EndpointNotFound
        | Kind::NotificationNotFound
        | Kind::WebhooksNotTaken
        | Kind::EntryNotFound
        | Kind::RuleSetNotFound
        | Kind::IssuedElsewhere => Code::NotFound,
        Kind::PriceChanged
        | Kind::NotInStock
        | Kind::OrderNotStuck
        | Kind::OrderAlreadyShipped
        | Kind::OrderAlreadyRejected
        | Kind::OrderAlreadyFailed
        | Kind::NoPaymentDue
        | Kind::NoReviewDue
        | Kind::ParcelNotUnderWay
        | Kind::TooManyEndpoints
        | Kind::EndpointDisabled
        | Kind::OrderNotRefundable
        | Kind::RefundUnderWay
        | Kind::OrderInterrupted
        | Kind::SinkInUse
        | Kind::ChangedMeanwhile => Code::FailedPrecondition,
        Kind::IdempotencyKeyReused
        | Kind::EmailTaken
        | Kind::ProductExists
        | Kind::ReferenceReused => Code::AlreadyExists,
        Kind::TooManyRequests | Kind::SignInDelayed => Code::ResourceExhausted,
        Kind::BodyTooSlow => Code::DeadlineExceeded,
        Kind::Internal => Code::Internal,
        Kind::TryAgain | Kind::Overloaded => Code::Unavailable,
    }
}
