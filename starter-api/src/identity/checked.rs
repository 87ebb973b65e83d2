//! Tokens whose signature was found good.
//!
//! A program sends the same token with every request until it expires. To check a signature
//! costs more than to read an order, so each is checked once: what counts afterwards is that the
//! issuer still has the very key, and that the time is not over.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use jsonwebtoken::get_current_timestamp;
use moka::future::Cache;

use crate::identity::LEEWAY_SECONDS;
use crate::identity::access::Caller;
use crate::identity::key_ring::Key;

/// Tokens remembered at once; whoever sends more has them checked again.
const TOKENS_MAX: u64 = 10_000;

/// How long a token is remembered that nobody sends.
const QUIET_FOR: Duration = Duration::from_mins(5);

/// What is known of the tokens, none of which is kept: each is told by its hash.
pub(super) struct CheckedTokens(Cache<Vec<u8>, Checked>);

#[derive(Clone)]
struct Checked {
    key: Arc<Key>,
    caller: Caller,
}

impl Default for CheckedTokens {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(TOKENS_MAX).time_to_idle(QUIET_FOR).build())
    }
}

impl CheckedTokens {
    /// Whose token it is, if it was checked against this key and still counts.
    pub(super) async fn caller(&self, token: &str, key: &Arc<Key>) -> Option<Caller> {
        let checked = self.0.get(&hash(token)).await?;
        let counts = Arc::ptr_eq(&checked.key, key)
            && get_current_timestamp() <= checked.caller.expires().saturating_add(LEEWAY_SECONDS);
        counts.then_some(checked.caller)
    }

    /// Remembers a token that was found good.
    pub(super) async fn remember(&self, token: &str, key: Arc<Key>, caller: &Caller) {
        let checked = Checked { key, caller: caller.clone() };
        self.0.insert(hash(token), checked).await;
    }
}

fn hash(token: &str) -> Vec<u8> {
    digest(&SHA256, token.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::Jwk;
    use serde_json::json;

    use super::*;
    use crate::identity::access::Role;

    /// A key's public half, as a ring that asked again has it: the same one, anew.
    fn heard_of() -> Arc<Key> {
        let jwk = json!({
            "kty": "OKP", "crv": "Ed25519", "use": "sig",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        });
        let jwk: Jwk = serde_json::from_value(jwk).unwrap();
        Arc::new(Key::of(&jwk).unwrap())
    }

    #[tokio::test]
    async fn a_checked_token_counts_as_long_as_its_key_and_its_time_do() {
        let (tokens, key, now) = (CheckedTokens::default(), heard_of(), get_current_timestamp());
        let ada = |expires| Caller::of(&[Role::Customer], "ada", "ada", "", expires).unwrap();
        tokens.remember("good", Arc::clone(&key), &ada(now.saturating_add(60))).await;
        let over = now.saturating_sub(LEEWAY_SECONDS).saturating_sub(1);
        tokens.remember("over", Arc::clone(&key), &ada(over)).await;

        assert_eq!(tokens.caller("good", &key).await.unwrap().name(), "ada");
        assert!(tokens.caller("goof", &key).await.is_none(), "another token");
        assert!(tokens.caller("over", &key).await.is_none(), "its time is over");
        assert!(tokens.caller("good", &heard_of()).await.is_none(), "the issuer has other keys");
    }
}
