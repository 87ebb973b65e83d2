//! The secret of a webhook endpoint.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::error::Unspecified;
use ring::rand::{SecureRandom as _, SystemRandom};

/// The length of a secret in bytes: that of the signature's hash.
const BYTES: usize = 32;

/// A generated secret. It implements neither `Debug` nor `Display`, so that it cannot be logged.
pub(super) struct Secret([u8; BYTES]);

impl Secret {
    /// Generates a secret.
    ///
    /// **Errors.** The system's random number generator fails.
    pub(super) fn drawn() -> Result<Self, Unspecified> {
        let mut bytes = [0; BYTES];
        SystemRandom::new().fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The HMAC key.
    pub(super) const fn key(&self) -> &[u8] {
        &self.0
    }

    /// The secret in the form shown to the receiver.
    ///
    /// **Source.** The Standard Webhooks specification: `whsec_` and the key in Base64.
    pub(super) fn written(&self) -> String {
        format!("whsec_{}", STANDARD.encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_written_as_receivers_libraries_read_it_and_no_two_are_the_same() {
        let (one, other) = (Secret::drawn().unwrap(), Secret::drawn().unwrap());
        let read = STANDARD.decode(one.written().strip_prefix("whsec_").unwrap()).unwrap();
        assert_eq!(read, one.key());
        assert_ne!(one.key(), other.key());
    }
}
