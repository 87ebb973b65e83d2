//! HTTP clients. All TLS uses one cryptography provider: ring.

pub mod outside;

use reqwest::{Client, ClientBuilder};
use rustls::crypto::{CryptoProvider, ring};

/// A builder for HTTP clients that uses ring for TLS, as Postgres and Temporal do.
///
/// The HTTP library brings no cryptography provider, and cannot build a client in a process without
/// one. So every client, in programs and tests, is built from here; lints refuse other
/// constructors.
#[expect(clippy::disallowed_methods, reason = "this is the place that sees to it")]
pub fn client_builder() -> ClientBuilder {
    if CryptoProvider::get_default().is_none() {
        // If another thread was first, it has installed the same provider.
        let _is_first = ring::default_provider().install_default().is_ok();
    }
    Client::builder()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_can_be_built_and_speaks_tls_by_ring() {
        client_builder().build().unwrap();
        let used = CryptoProvider::get_default().unwrap();
        let rings = ring::default_provider();
        assert_eq!(format!("{:?}", used.secure_random), format!("{:?}", rings.secure_random));
    }
}
