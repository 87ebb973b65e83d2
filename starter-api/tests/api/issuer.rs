//! An identity provider: somebody else's program, so a small one of the test's own stands for it.
//! It speaks HTTP on a port of its own and counts how often it is asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};
use starter_api::{ExternalIssuer, REFETCH_PAUSE};
use tokio::net::TcpListener;

/// What tokens of this shop are for.
pub(crate) const AUDIENCE: &str = "ordersaga";

#[derive(Clone)]
pub(crate) struct Issuer {
    pub(crate) url: String,
    keys: Arc<Mutex<Vec<Value>>>,
    asked: Arc<AtomicUsize>,
    away: Arc<Mutex<bool>>,
}

/// A key that an issuer signs with.
#[derive(Clone)]
pub(crate) struct SigningKey {
    pub(crate) kid: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) private: EncodingKey,
    pub(crate) public: Value,
}

impl SigningKey {
    pub(crate) fn es256(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let private = EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref());
        Self::of(kid, Algorithm::ES256, private)
    }

    pub(crate) fn rs256(kid: &str) -> Self {
        Self::rsa(kid, KeySize::Rsa2048)
    }

    pub(crate) fn rsa(kid: &str, size: KeySize) -> Self {
        let pair = KeyPair::generate(size).unwrap();
        // Of PKCS #8 the library wants what is inside: 26 bytes say that it is RSA's.
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
        Self::of(kid, Algorithm::RS256, EncodingKey::from_rsa_der(&der.as_ref()[26..]))
    }

    pub(crate) fn eddsa(kid: &str) -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let private = EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref());
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        let public = json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid});
        Self { kid: kid.to_owned(), algorithm: Algorithm::EdDSA, private, public }
    }

    fn of(kid: &str, algorithm: Algorithm, private: EncodingKey) -> Self {
        let mut jwk = Jwk::from_encoding_key(&private, algorithm).unwrap();
        jwk.common.key_id = Some(kid.to_owned());
        let public = serde_json::to_value(jwk).unwrap();
        Self { kid: kid.to_owned(), algorithm, private, public }
    }

    pub(crate) fn header(&self) -> Header {
        let mut header = Header::new(self.algorithm);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(self.kid.clone());
        header
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        encode(&self.header(), claims, &self.private).unwrap()
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

    /// The issuer as a shop that trusts it knows it.
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

    /// From now on these are its keys.
    pub(crate) fn publish(&self, keys: &[&SigningKey]) {
        *self.keys.lock().unwrap() = keys.iter().map(|key| key.public.clone()).collect();
    }

    /// From now on it answers nobody, or everybody again.
    pub(crate) fn be_away(&self, away: bool) {
        *self.away.lock().unwrap() = away;
    }

    /// How often it was asked for its keys.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// What a token of this issuer says.
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

/// The key that every issuer starts with.
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
