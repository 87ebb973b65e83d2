//! An issuer's public keys, as they were last heard of.
//!
//! An issuer changes its keys when it likes. So a token under a key that is not known makes the
//! ring ask anew, and a token under a bad name would make it ask for ever: between two askings
//! lies a pause, however many such tokens come.

use std::error::Error;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::identity::embedded::EmbeddedIssuer;
use crate::identity::external::ExternalIssuer;
use crate::problem::Problem;

/// How long a key is trusted without asking whether the issuer still has it.
const FRESH_FOR: Duration = Duration::from_mins(10);

/// How many keys of one issuer are kept; none in use has as many.
const KEYS_MAX: usize = 100;

/// A key that tokens are checked against. It belongs to one algorithm: what a token says of
/// itself never chooses another.
pub(super) struct Key {
    kid: Option<String>,
    algorithm: Algorithm,
    check: DecodingKey,
}

impl Key {
    /// The key, if it is one to check signatures with that this shop takes: RS256 from 2,048
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

/// The keys of a JWK set. One that cannot be used is as if it were not there: issuers publish
/// keys for others too.
pub(super) fn usable(set: &Value) -> Vec<Key> {
    let keys = set.get("keys").and_then(Value::as_array);
    keys.into_iter()
        .flatten()
        .take(KEYS_MAX)
        .filter_map(|key| serde_json::from_value::<Jwk>(key.clone()).ok())
        .filter_map(|jwk| Key::of(&jwk))
        .collect()
}

/// Why an issuer's keys could not be had.
pub(super) type FetchError = Box<dyn Error + Send + Sync>;

/// Whose keys they are.
pub(super) enum Source {
    /// Another program's, asked over HTTP.
    External(ExternalIssuer),
    /// The shop's own, kept in the database.
    Embedded(EmbeddedIssuer),
}

impl Source {
    async fn keys(&self) -> Result<Vec<Key>, FetchError> {
        match self {
            Self::External(issuer) => issuer.keys().await,
            Self::Embedded(issuer) => issuer.keys().await,
        }
    }

    /// How long to leave it in peace after it was asked.
    const fn pause(&self) -> Duration {
        match self {
            Self::External(issuer) => issuer.refetch_pause,
            Self::Embedded(_) => Duration::from_secs(1),
        }
    }
}

/// The keys of one issuer.
pub(super) struct KeyRing {
    pub(super) source: Source,
    known: RwLock<Arc<Known>>,
    /// Held by whoever is asking, so that one does.
    asking: Mutex<()>,
}

#[derive(Default)]
struct Known {
    /// Each a key of its own, so that one that came anew is told from one that was there.
    keys: Vec<Arc<Key>>,
    /// When these keys came. None: nobody has ever answered.
    heard_at: Option<Instant>,
    /// When it was last asked, whatever the answer.
    asked_at: Option<Instant>,
}

impl Known {
    /// The key of this name. A token that names none is checked against the only key there is
    /// for its algorithm.
    fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<Arc<Key>> {
        let mut fitting = self.keys.iter().filter(|key| key.algorithm == algorithm);
        match kid {
            Some(kid) => fitting.find(|key| key.kid.as_deref() == Some(kid)).cloned(),
            None => fitting.next().filter(|_only| fitting.next().is_none()).cloned(),
        }
    }

    fn is_fresh(&self) -> bool {
        self.heard_at.is_some_and(|at| at.elapsed() < FRESH_FOR)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the issuer's keys could not be had")]
struct NoKeys(#[source] FetchError);

#[derive(Debug, thiserror::Error)]
#[error("the issuer's keys could not be had a moment ago")]
struct NoKeysYet;

const DOING: &str = "asking a token's issuer for its keys";

impl KeyRing {
    pub(super) fn of(source: Source) -> Self {
        Self { source, known: RwLock::default(), asking: Mutex::default() }
    }

    /// The key by which a token can be checked; nothing, if its issuer has no such key.
    ///
    /// **Errors.** 503 while the issuer has never answered. Once it has, what it said last
    /// counts for as long as it does not answer again.
    pub(super) async fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Option<Arc<Key>>, Problem> {
        let known = self.known();
        let found = known.find(kid, algorithm);
        if found.is_some() && known.is_fresh() {
            return Ok(found);
        }
        let _turn = if found.is_some() {
            // Somebody else is asking already, and this key was good a moment ago.
            let Ok(turn) = self.asking.try_lock() else { return Ok(found) };
            turn
        } else {
            self.asking.lock().await
        };
        self.ask_unless_asked().await?;
        Ok(self.known().find(kid, algorithm))
    }

    /// Asks the issuer, unless it was asked a moment ago.
    async fn ask_unless_asked(&self) -> Result<(), Problem> {
        let known = self.known();
        if known.asked_at.is_some_and(|at| at.elapsed() < self.source.pause()) {
            let answered = known.heard_at.map(|_at| ());
            return answered.ok_or_else(|| Problem::unavailable(DOING, &NoKeysYet));
        }
        let now = Some(Instant::now());
        match self.source.keys().await {
            Ok(keys) => {
                let keys = keys.into_iter().map(Arc::new).collect();
                self.learn(Known { keys, heard_at: now, asked_at: now });
            }
            Err(error) if known.heard_at.is_none() => {
                self.learn(Known { asked_at: now, ..Known::default() });
                return Err(Problem::unavailable(DOING, &NoKeys(error)));
            }
            Err(error) => {
                tracing::warn!(%error, "a token's issuer does not answer; its last keys count on");
                let (keys, heard_at) = (known.keys.clone(), known.heard_at);
                self.learn(Known { keys, heard_at, asked_at: now });
            }
        }
        Ok(())
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn learn(&self, known: Known) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
    }
}
