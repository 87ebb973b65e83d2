//! A cache of an issuer's public keys.
//!
//! An issuer may rotate its keys at any time, so a token with an unknown key id makes the cache
//! fetch the keys again. Forged key ids must not cause a flood of requests, so there is a minimum
//! pause between two requests, however many such tokens arrive.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use tokio::sync::Mutex;

use crate::error::Problem;
use crate::identity::embedded::EmbeddedIssuer;
use crate::identity::external::ExternalIssuer;
use crate::identity::key::{FetchError, Key};

/// How long fetched keys are used before they are fetched again.
const FRESH_FOR: Duration = Duration::from_mins(10);

/// The source of the keys.
pub(super) enum Source {
    /// Another program, over HTTP.
    External(ExternalIssuer),
    /// The shop's own issuer, from the database.
    Embedded(EmbeddedIssuer),
}

impl Source {
    async fn keys(&self) -> Result<Vec<Key>, FetchError> {
        match self {
            Self::External(issuer) => issuer.keys().await,
            Self::Embedded(issuer) => issuer.keys().await,
        }
    }

    /// The minimum time between two fetches.
    const fn pause(&self) -> Duration {
        match self {
            Self::External(issuer) => issuer.refetch_pause,
            Self::Embedded(_) => Duration::from_secs(1),
        }
    }
}

/// The cached keys of one issuer.
pub(super) struct KeyRing {
    pub(super) source: Source,
    known: RwLock<Arc<KeySet>>,
    /// Held while fetching, so that only one task fetches.
    asking: Mutex<()>,
}

#[derive(Default)]
struct KeySet {
    /// In an `Arc`, so that a key that was fetched again is distinguishable from its predecessor.
    keys: Vec<Arc<Key>>,
    /// When these keys were fetched; `None` if no fetch has succeeded.
    heard_at: Option<Instant>,
    /// When the last fetch began, whatever its result.
    asked_at: Option<Instant>,
}

impl KeySet {
    /// The key with this id. A token without a key id is verified with the only key of its
    /// algorithm, if there is exactly one.
    fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<Arc<Key>> {
        let mut fitting = self.keys.iter().filter(|key| key.algorithm() == algorithm);
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
#[error("the issuer's keys could not be fetched")]
struct NoKeys(#[source] FetchError);

#[derive(Debug, thiserror::Error)]
#[error("the issuer's keys could not be fetched a moment ago")]
struct NoKeysYet;

const DOING: &str = "asking a token's issuer for its keys";

impl KeyRing {
    pub(super) fn of(source: Source) -> Self {
        Self { source, known: RwLock::default(), asking: Mutex::default() }
    }

    /// Uses fixed keys instead of fetching them.
    #[cfg(fuzzing)]
    pub(super) fn hear(&self, keys: Vec<Key>) {
        let (keys, now) = (keys.into_iter().map(Arc::new).collect(), Some(Instant::now()));
        self.learn(KeySet { keys, heard_at: now, asked_at: now });
    }

    /// The key that verifies a token; `None` if the issuer has no such key.
    ///
    /// **Errors.** 503 if no fetch has ever succeeded. After that, the last keys stay in use while
    /// the issuer does not answer.
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
            // Another task is fetching already, and this key was valid a moment ago.
            let Ok(turn) = self.asking.try_lock() else { return Ok(found) };
            turn
        } else {
            self.asking.lock().await
        };
        self.ask_unless_asked().await?;
        Ok(self.known().find(kid, algorithm))
    }

    /// Fetches the keys, unless that was done a moment ago.
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
                self.learn(KeySet { keys, heard_at: now, asked_at: now });
            }
            Err(error) if known.heard_at.is_none() => {
                self.learn(KeySet { asked_at: now, ..KeySet::default() });
                return Err(Problem::unavailable(DOING, &NoKeys(error)));
            }
            Err(error) => {
                tracing::warn!(%error, "a token's issuer does not answer; its last keys stay in use");
                let (keys, heard_at) = (known.keys.clone(), known.heard_at);
                self.learn(KeySet { keys, heard_at, asked_at: now });
            }
        }
        Ok(())
    }

    fn known(&self) -> Arc<KeySet> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn learn(&self, keys: KeySet) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }
}
