//! Authentication and authorisation errors, as RFC 6750 defines them.

use jsonwebtoken::errors::ErrorKind;

use crate::error::{Kind, Problem};
use crate::identity::scope::Scope;

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenRefusal {
    /// It has expired.
    Expired,
    /// It is not valid yet.
    TooEarly,
    /// Its subject is not a valid customer id.
    UnknownSubject,
    /// Anything else. The sender of a forged token must not learn which check failed.
    NotAccepted,
}

impl TokenRefusal {
    pub(super) fn of(error: &ErrorKind) -> Self {
        // The list of errors is open; only those about time are distinguished.
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

/// The request has no token.
pub(super) fn missing_token() -> Problem {
    let detail = "Send a token, as `Authorization: Bearer …`. POST /v1/sessions issues one to a \
                  customer, POST /oauth/token to a program.";
    // RFC 6750, 3.1: a request without authentication gets no error code.
    Problem::new(Kind::Unauthenticated, detail).with_challenge(bearer(""))
}

/// There is no customer with this e-mail address and password.
pub(super) fn sign_in_failed() -> Problem {
    Problem::new(Kind::SignInFailed, "The e-mail address or the password is wrong.")
        .with_challenge(bearer(""))
}

/// The token is valid but lacks this scope.
pub(super) fn insufficient_scope(scope: Scope) -> Problem {
    let scope = scope.as_str();
    Problem::new(Kind::InsufficientScope, format!("This operation requires the scope {scope}."))
        .with_challenge(bearer(&format!(", error=\"insufficient_scope\", scope=\"{scope}\"")))
}

/// Sign-in for this address is delayed.
pub(super) fn sign_in_delayed(wait_seconds: u16) -> Problem {
    let detail = "Too many wrong passwords in a row were sent for this address. This one was not \
                  checked; send it again after the time in Retry-After.";
    Problem::new(Kind::SignInDelayed, detail).with_retry_after(wait_seconds)
}

/// The value of `WWW-Authenticate` (RFC 6750).
fn bearer(parameters: &str) -> String {
    format!("Bearer realm=\"ordersaga\"{parameters}")
}
