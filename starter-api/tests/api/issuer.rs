//! A fake identity provider for tests. It serves HTTP on its own port and counts requests for its
//! keys.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Header, get_current_timestamp};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Value, json};
use starter_api::{ExternalIssuer, REFETCH_PAUSE};
use tokio::net::TcpListener;

/// The audience of this shop's tokens.
pub(crate) const AUDIENCE: &str = "ordersaga";

#[derive(Clone)]
pub(crate) struct Issuer {
    pub(crate) url: String,
    keys: Arc<Mutex<Vec<Value>>>,
    asked: Arc<AtomicUsize>,
    away: Arc<Mutex<bool>>,
}

/// A signing key of an issuer.
#[derive(Clone)]
pub(crate) struct SigningKey {
    pub(crate) kid: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) private: PrivateKey,
    pub(crate) public: Value,
}

/// A private key for any algorithm that a header may name: an attacker may try any.
#[derive(Clone)]
pub(crate) enum PrivateKey {
    Ec(Arc<EcdsaKeyPair>),
    Ed(Arc<Ed25519KeyPair>),
    Rsa(Arc<RsaKeyPair>),
    /// A shared secret.
    Secret(Vec<u8>),
}

impl PrivateKey {
    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Rsa(pair) => {
                let is_pss = algorithm == Algorithm::PS256;
                let scheme: &'static dyn RsaEncoding =
                    if is_pss { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(scheme, &random, message, &mut signature).unwrap();
                signature
            }
            Self::Secret(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, message).as_ref().to_vec()
            }
        }
    }
}

/// A token with these claims, whether or not they make sense.
pub(crate) fn signed(head: &Header, claims: &Value, key: &PrivateKey) -> String {
    let (algorithm, head) = (head.alg, URL_SAFE_NO_PAD.encode(serde_json::to_vec(head).unwrap()));
    let message = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = key.sign(algorithm, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A key of 2,048 bits generated for these tests, because ring cannot generate RSA keys.
const RSA: &[u8] = include_bytes!("rsa-2048.der");

impl SigningKey {
    pub(crate) fn es256(kid: &str) -> Self {
        let (scheme, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let private = EcdsaKeyPair::generate_pkcs8(scheme, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(scheme, private.as_ref(), &random).unwrap();
        let point: &[u8] = pair.public_key().as_ref();
        // The first byte says that the point is not compressed.
        let (x, y) = point[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let public = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y});
        Self::of(kid, Algorithm::ES256, PrivateKey::Ec(Arc::new(pair)), public)
    }

    pub(crate) fn rs256(kid: &str) -> Self {
        let pair = RsaKeyPair::from_der(RSA).unwrap();
        let RsaPublicKeyComponents { n, e }: RsaPublicKeyComponents<Vec<u8>> = pair.public().into();
        let (n, e) = (URL_SAFE_NO_PAD.encode(n), URL_SAFE_NO_PAD.encode(e));
        let public = json!({"kty": "RSA", "n": n, "e": e});
        Self::of(kid, Algorithm::RS256, PrivateKey::Rsa(Arc::new(pair)), public)
    }

    pub(crate) fn eddsa(kid: &str) -> Self {
        let private = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).unwrap();
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        let public = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
        Self::of(kid, Algorithm::EdDSA, PrivateKey::Ed(Arc::new(pair)), public)
    }

    fn of(kid: &str, algorithm: Algorithm, private: PrivateKey, mut public: Value) -> Self {
        public["kid"] = json!(kid);
        public["alg"] = json!(algorithm);
        Self { kid: kid.to_owned(), algorithm, private, public }
    }

    pub(crate) fn header(&self) -> Header {
        let mut header = Header::new(self.algorithm);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(self.kid.clone());
        header
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        signed(&self.header(), claims, &self.private)
    }
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            keys: Arc::default(),
            asked: Arc::default(),
            away: Arc::default(),
        };
        issuer.publish(&[first_key()]);
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/keys", get(keys))
            .with_state(issuer.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        issuer
    }

    /// The issuer's settings for a shop that trusts it.
    pub(crate) fn trusted(&self) -> ExternalIssuer {
        ExternalIssuer {
            issuer: self.url.clone(),
            jwks_url: None,
            audience: AUDIENCE.to_owned(),
            token_type: "at+jwt".to_owned(),
            roles_claim: "roles".to_owned(),
            customer_claim: "sub".to_owned(),
            refetch_pause: REFETCH_PAUSE,
            http: starter_api::http_client().unwrap(),
        }
    }

    /// Replaces its published keys.
    pub(crate) fn publish(&self, keys: &[&SigningKey]) {
        *self.keys.lock().unwrap() = keys.iter().map(|key| key.public.clone()).collect();
    }

    /// Makes it unavailable, or available again.
    pub(crate) fn be_away(&self, away: bool) {
        *self.away.lock().unwrap() = away;
    }

    /// The number of requests for its keys.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The claims of a token of this issuer.
    pub(crate) fn claims(&self, name: &str, roles: &[&str]) -> Value {
        let now = get_current_timestamp();
        json!({
            "iss": self.url, "aud": AUDIENCE, "sub": name, "roles": roles,
            "iat": now, "nbf": now, "exp": now.saturating_add(600),
        })
    }

    pub(crate) fn token(&self, name: &str, roles: &[&str]) -> String {
        first_key().sign(&self.claims(name, roles))
    }
}

/// The initial key of every issuer.
pub(crate) fn first_key() -> &'static SigningKey {
    static FIRST: OnceLock<SigningKey> = OnceLock::new();
    FIRST.get_or_init(|| SigningKey::es256("first"))
}

async fn configuration(State(issuer): State<Issuer>) -> Json<Value> {
    Json(json!({"issuer": issuer.url, "jwks_uri": format!("{}/keys", issuer.url)}))
}

async fn keys(State(issuer): State<Issuer>) -> Result<Json<Value>, StatusCode> {
    issuer.asked.fetch_add(1, Ordering::SeqCst);
    if *issuer.away.lock().unwrap() {
        return Err(StatusCode::BAD_GATEWAY);
    }
    Ok(Json(json!({"keys": *issuer.keys.lock().unwrap()})))
}
