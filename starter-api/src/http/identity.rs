//! Authentication over HTTP: registering, signing in, and the shop's own token issuer.

pub(crate) mod change_password;
pub(crate) mod discovery;
pub(crate) mod keys;
pub(crate) mod register;
pub(crate) mod sign_in;
pub(crate) mod token;

use axum::http::{HeaderName, header};

/// Tokens must not be cached.
const NO_STORE: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];
