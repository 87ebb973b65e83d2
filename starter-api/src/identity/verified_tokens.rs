//! A cache of verified tokens.
//!
//! A program sends the same token with every request until it expires. Verifying a signature costs
//! more than reading an order, so each token is verified once; later requests only check that the
//! issuer still has the same key, and that the token has not expired.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::get_current_timestamp;
use moka::future::Cache;
use ring::digest::{SHA256, digest};

use crate::identity::caller::Caller;
use crate::identity::key::Key;

/// The tolerated clock skew between issuer and shop, in seconds.
pub(super) const LEEWAY_SECONDS: u64 = 30;

/// The capacity of the cache; an evicted token is verified again.
const TOKENS_MAX: u64 = 10_000;

/// How long an unused token stays in the cache.
const QUIET_FOR: Duration = Duration::from_mins(5);

/// Verified tokens by hash. The tokens themselves are not stored.
pub(super) struct VerifiedTokens(Cache<Vec<u8>, Verified>);

#[derive(Clone)]
struct Verified {
    key: Arc<Key>,
    caller: Caller,
}

impl Default for VerifiedTokens {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(TOKENS_MAX).time_to_idle(QUIET_FOR).build())
    }
}

impl VerifiedTokens {
    /// The caller, if the token was verified with this key and has not expired.
    pub(super) async fn caller(&self, token: &str, key: &Arc<Key>) -> Option<Caller> {
        let verified = self.0.get(&hash(token)).await?;
        let is_valid = Arc::ptr_eq(&verified.key, key)
            && get_current_timestamp() <= verified.caller.expires().saturating_add(LEEWAY_SECONDS);
        is_valid.then_some(verified.caller)
    }

    /// Caches a verified token.
    pub(super) async fn remember(&self, token: &str, key: Arc<Key>, caller: &Caller) {
        let verified = Verified { key, caller: caller.clone() };
        self.0.insert(hash(token), verified).await;
    }
}

fn hash(token: &str) -> Vec<u8> {
    digest(&SHA256, token.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use domain::CustomerId;
    use jsonwebtoken::jwk::Jwk;
    use serde_json::json;

    use super::*;
    use crate::identity::role::Role;

    /// A key's public half as after a refetch: the same key in a new allocation.
    fn heard_of() -> Arc<Key> {
        let jwk = json!({
            "kty": "OKP", "crv": "Ed25519", "use": "sig",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        });
        let jwk: Jwk = serde_json::from_value(jwk).unwrap();
        Arc::new(Key::of(&jwk).unwrap())
    }

    #[tokio::test]
    async fn a_verified_token_is_valid_as_long_as_its_key_and_its_time_do() {
        let (tokens, key, now) = (VerifiedTokens::default(), heard_of(), get_current_timestamp());
        let ada = |expires| {
            let id = CustomerId::parse("ada").ok();
            Caller::of(&[Role::Customer], "ada", id, &BTreeSet::new(), expires).unwrap()
        };
        tokens.remember("good", Arc::clone(&key), &ada(now.saturating_add(60))).await;
        let over = now.saturating_sub(LEEWAY_SECONDS).saturating_sub(1);
        tokens.remember("over", Arc::clone(&key), &ada(over)).await;

        assert_eq!(tokens.caller("good", &key).await.unwrap().name(), "ada");
        assert!(tokens.caller("goof", &key).await.is_none(), "another token");
        assert!(tokens.caller("over", &key).await.is_none(), "its time is over");
        assert!(tokens.caller("good", &heard_of()).await.is_none(), "the issuer has other keys");
    }
}
