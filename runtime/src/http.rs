//! HTTP clients, and the one implementation of cryptography behind their TLS: ring.

pub mod outside;

use reqwest::{Client, ClientBuilder};
use rustls::crypto::{CryptoProvider, ring};

/// Begins an HTTP client, whose TLS is ring's as that of Postgres and Temporal is.
///
/// The HTTP library brings no cryptography, and cannot build a client in a process that has chosen
/// none. So every client begins here, in programs and in tests; lints refuse any other beginning.
#[expect(clippy::disallowed_methods, reason = "this is the place that sees to it")]
pub fn client_builder() -> ClientBuilder {
    if CryptoProvider::get_default().is_none() {
        // Whoever else was first has installed the same one.
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
