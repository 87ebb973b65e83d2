//! Fuzzing entry points of authentication: the parsers of tokens, claims and keys.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::{self, HeaderMap, HeaderValue};
use futures::executor::block_on;
use serde_json::{Value, json};

use crate::identity::key::{KEYS_MAX, usable};
use crate::identity::role::Role;
use crate::identity::scope::Scope;
use crate::identity::{
    ALGORITHMS, Caller, Client, ExternalIssuer, Identity, http_client, is_a_name, is_safe,
};

const ISSUER: &str = "https://issuer.example";

/// All tokens that [`identity`] accepts, one per line: signed with the private half of its key, for
/// a service, until the year 2100. One has the key id, the other does not.
const SIGNED: &str = include_str!("fuzzing/signed.jwt");

/// A caller who may act for any customer.
pub(crate) fn caller_of_the_shop() -> Option<Caller> {
    Caller::of(&[Role::Service], "shop", None, &BTreeSet::new(), u64::MAX)
}

/// An issuer with one key (RFC 8037, appendix A), whose keys are never fetched again.
fn identity() -> Option<Identity> {
    let issuer = ExternalIssuer {
        issuer: ISSUER.to_owned(),
        jwks_url: None,
        audience: "ordersaga".to_owned(),
        token_type: "at+jwt".to_owned(),
        roles_claim: "/realm_access/roles".to_owned(),
        customer_claim: "sub".to_owned(),
        refetch_pause: Duration::MAX,
        http: http_client().ok()?,
    };
    let keys = json!({ "keys": [{
        "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": "fuzz",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    }]});
    Some(Identity::knowing(issuer, usable(&keys)))
}

thread_local! {
    static IDENTITY: Option<Identity> = identity();
}

/// The header `Authorization`: only tokens with a valid signature are accepted, byte for byte.
pub fn authorization(header: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(header) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(http::header::AUTHORIZATION, value);
    let accepted = IDENTITY.with(|identity| {
        let identity = identity.as_ref()?;
        block_on(identity.caller(&headers)).ok()
    });
    let token = header.trim_ascii().rsplit(|byte| *byte == b' ').next();
    let is_signed = SIGNED.lines().any(|signed| token == Some(signed.as_bytes()));
    assert!(accepted.is_none() || is_signed, "nobody signed this token");
    if SIGNED.lines().any(|signed| header == format!("Bearer {signed}").as_bytes()) {
        assert_eq!(accepted.as_ref().map(Caller::name), Some("shop"));
    }
}

/// The claims of a token with a valid signature: an identity provider may send anything.
pub fn claims(json: &[u8]) {
    let Ok(claims) = serde_json::from_slice::<Value>(json) else { return };
    let caller = IDENTITY.with(|identity| identity.as_ref()?.caller_of(&claims));
    let Some(caller) = caller else { return };
    assert_eq!(claims.get("iss").and_then(Value::as_str), Some(ISSUER));
    assert!(is_a_name(caller.name()));
    if caller.customer().is_some() {
        // A customer never gets access to the ledger or to other customers' orders.
        for scope in [Scope::ReadLedger, Scope::ResolveOrders, Scope::OperateQueues] {
            assert!(caller.require(scope).is_err());
        }
    }
}

/// An issuer's keys.
pub fn key_set(json: &[u8]) {
    let Ok(set) = serde_json::from_slice::<Value>(json) else { return };
    let keys = usable(&set);
    assert!(keys.len() <= KEYS_MAX);
    assert!(keys.iter().all(|key| ALGORITHMS.contains(&key.algorithm())));
}

/// Settings that list clients and issuers.
pub fn setting(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    if text.parse::<Client>().is_ok() {
        let secret = text.trim().splitn(3, ':').last().unwrap_or_default();
        assert!(secret.len() >= 16);
    }
    if let Ok(url) = text.parse::<reqwest::Url>()
        && is_safe(&url)
    {
        assert!(matches!(url.scheme(), "https" | "http"));
        assert!(url.has_host());
    }
}
