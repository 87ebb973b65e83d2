//! Fingerprints of requests: they tell a repeated request from a different one under the same key.

use std::fmt;

use sha2::{Digest, Sha256};

/// A hash over the meaning of a request: not over its bytes, and not over this release's
/// serialisation.
///
/// **Shape.** `v1:` and 64 lower-case hexadecimal digits. The version fixes which fields are
/// hashed, in which order and under which names, so a release with a new optional field computes
/// the same fingerprint for a request that does not use it. Golden vectors in the tests pin each
/// version.
/// **Repeats.** The same meaning gives the same fingerprint, on any machine and release.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(String);

/// Collects the fields of version 1, in a fixed order.
#[derive(Clone, Debug, Default)]
pub struct V1(Sha256);

impl Fingerprint {
    /// Begins a fingerprint of version 1.
    #[must_use]
    pub fn v1() -> V1 {
        V1::default()
    }

    /// The fingerprint as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl V1 {
    /// Adds a field. Lengths are hashed too, so that different lists of fields never hash alike.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl fmt::Display) -> Self {
        let value = value.to_string();
        for part in [name, value.as_str()] {
            self.0.update(part.len().to_string());
            self.0.update(":");
            self.0.update(part);
        }
        self
    }

    /// Adds a field if it is given. A missing field adds nothing, so a field that a later release
    /// adds does not change the fingerprints of requests without it.
    #[must_use]
    pub fn given(self, name: &str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    /// The fingerprint of all added fields.
    #[must_use]
    pub fn finish(self) -> Fingerprint {
        Fingerprint(format!("v1:{:x}", self.0.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_is_pinned() {
        let fingerprint =
            Fingerprint::v1().field("customer", "17850").given("code", Some("WELCOME10")).finish();
        assert_eq!(
            fingerprint.as_str(),
            // printf '8:customer5:178504:code9:WELCOME10' | sha256sum
            "v1:4522e52c016eb2a3fb5d3b90851562ccd07e3a60d348d1bc4ed1857fd6e5f9fa"
        );
    }

    #[test]
    fn fields_do_not_run_together_and_a_missing_one_leaves_no_trace() {
        let of = |fields: &[(&str, Option<&str>)]| {
            fields
                .iter()
                .fold(Fingerprint::v1(), |v1, (name, value)| v1.given(name, *value))
                .finish()
        };
        assert_eq!(of(&[("a", Some("1")), ("later", None)]), of(&[("a", Some("1"))]));
        assert_ne!(of(&[("a", Some("1b"))]), of(&[("a", Some("1")), ("b", Some(""))]));
        assert_ne!(of(&[("ab", Some(""))]), of(&[("a", Some("b"))]));
    }
}
