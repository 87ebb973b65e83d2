//! A public key for verifying tokens.

use std::error::Error;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

/// The maximum number of keys of one issuer; real issuers have fewer.
pub(super) const KEYS_MAX: usize = 100;

/// A verification key. It is bound to one algorithm: the token's own header cannot choose another.
pub(super) struct Key {
    pub(super) kid: Option<String>,
    algorithm: Algorithm,
    check: DecodingKey,
}

impl Key {
    /// Converts a JWK, if it is a signature key that this shop accepts: RS256 with at least 2,048
    /// bits, ES256 or `EdDSA`.
    pub(super) fn of(jwk: &Jwk) -> Option<Self> {
        let algorithm = if let AlgorithmParameters::RSA(key) = &jwk.algorithm {
            // Base64 without padding: 2,048 bits are 342 characters.
            (key.n.len() >= 342).then_some(Algorithm::RS256)?
        } else if let AlgorithmParameters::EllipticCurve(key) = &jwk.algorithm {
            (key.curve == EllipticCurve::P256).then_some(Algorithm::ES256)?
        } else if let AlgorithmParameters::OctetKeyPair(key) = &jwk.algorithm {
            (key.curve == EllipticCurve::Ed25519).then_some(Algorithm::EdDSA)?
        } else {
            return None;
        };
        let common = &jwk.common;
        let signs = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
        let agrees = common.key_algorithm.is_none_or(|named| named == algorithm.into());
        if !signs || !agrees {
            return None;
        }
        let check = DecodingKey::from_jwk(jwk).ok()?;
        Some(Self { kid: common.key_id.clone(), algorithm, check })
    }

    pub(super) const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) const fn decoding(&self) -> &DecodingKey {
        &self.check
    }
}

/// The usable keys of a JWK set. Others are ignored: issuers also publish keys for other purposes.
pub(super) fn usable(set: &Value) -> Vec<Key> {
    let keys = set.get("keys").and_then(Value::as_array);
    keys.into_iter()
        .flatten()
        .take(KEYS_MAX)
        .filter_map(|key| serde_json::from_value::<Jwk>(key.clone()).ok())
        .filter_map(|jwk| Key::of(&jwk))
        .collect()
}

/// Why an issuer's keys could not be fetched.
pub(super) type FetchError = Box<dyn Error + Send + Sync>;
