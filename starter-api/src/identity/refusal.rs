//! Why a caller is not authenticated or not authorised, as RFC 6750 expresses it.

use jsonwebtoken::errors::ErrorKind;

use crate::error::{Kind, Problem};
use crate::identity::scope::Scope;

/// Why a token is refused, in words for the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenRefusal {
    /// It has expired.
    Expired,
    /// It is not valid yet.
    TooEarly,
    /// It does not name a customer that the shop could know.
    UnknownSubject,
    /// Anything else. Someone who forges a token is not told how far they got.
    NotAccepted,
}

impl TokenRefusal {
    pub(super) fn of(error: &ErrorKind) -> Self {
        // The list of errors is open; only those about time are worth telling apart.
        if matches!(error, ErrorKind::ExpiredSignature) {
            Self::Expired
        } else if matches!(error, ErrorKind::ImmatureSignature) {
            Self::TooEarly
        } else {
            Self::NotAccepted
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::Expired => "The token has expired",
            Self::TooEarly => "The token is not valid yet",
            Self::UnknownSubject => "The token does not name a subject that this shop accepts",
            Self::NotAccepted => "The token is not one that this shop accepts",
        }
    }
}

impl From<TokenRefusal> for Problem {
    fn from(refusal: TokenRefusal) -> Self {
        let message = refusal.message();
        let challenge = format!(", error=\"invalid_token\", error_description=\"{message}\"");
        Self::new(Kind::Unauthenticated, format!("{message}. Get a new one."))
            .with_challenge(bearer(&challenge))
    }
}

/// The request carries no token.
pub(super) fn missing_token() -> Problem {
    let detail = "Send a token, as `Authorization: Bearer …`. POST /v1/sessions issues one to a \
                  customer, POST /oauth/token to a program.";
    // RFC 6750, 3.1: a request without authentication is not told of an error.
    Problem::new(Kind::Unauthenticated, detail).with_challenge(bearer(""))
}

/// There is no customer with this address and password.
pub(super) fn sign_in_failed() -> Problem {
    Problem::new(Kind::SignInFailed, "The e-mail address or the password is wrong.")
        .with_challenge(bearer(""))
}

/// The token is valid and lacks this scope.
pub(super) fn insufficient_scope(scope: Scope) -> Problem {
    let scope = scope.as_str();
    Problem::new(Kind::InsufficientScope, format!("This operation requires the scope {scope}."))
        .with_challenge(bearer(&format!(", error=\"insufficient_scope\", scope=\"{scope}\"")))
}

/// The next password for this address has to wait.
pub(super) fn sign_in_delayed(wait_seconds: u16) -> Problem {
    let detail = "Too many wrong passwords in a row were sent for this address. This one was not \
                  checked; send it again after the time in Retry-After.";
    Problem::new(Kind::SignInDelayed, detail).with_retry_after(wait_seconds)
}

/// The value of `WWW-Authenticate` (RFC 6750).
fn bearer(parameters: &str) -> String {
    format!("Bearer realm=\"ordersaga\"{parameters}")
}
