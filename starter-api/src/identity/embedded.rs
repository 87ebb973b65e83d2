//! The shop's own token issuer, for running without an identity provider: its signing keys and its
//! tokens.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde::Serialize;
use sqlx::{PgExecutor, PgPool};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::error::Problem;
use crate::identity::clients::{self, Client};
use crate::identity::key::{FetchError, Key};
use crate::identity::passwords::Passwords;
use crate::identity::role::Role;
use crate::identity::scope::Scope;

/// The `typ` of the shop's own tokens (RFC 9068).
pub(super) const TOKEN_TYPE: &str = "at+jwt";

/// The advisory lock that serialises key generation, so that concurrent starters generate only one
/// key.
const KEY_GENERATION_LOCK: i64 = 0x6f72_6465_726b_6579;

/// The settings of the shop's own issuer.
#[derive(Clone, Debug)]
pub struct EmbeddedSettings {
    /// The starter's public URL: the tokens' `iss`.
    pub issuer: String,
    /// The audience of the tokens: their `aud`.
    pub audience: String,
    /// The lifetime of a token.
    pub token_lifetime: Duration,
    /// Every program and staff member with a secret. `None` keeps the stored ones.
    pub clients: Option<Vec<Client>>,
}

/// The shop's own issuer.
#[derive(Clone)]
pub(crate) struct EmbeddedIssuer {
    settings: Arc<EmbeddedSettings>,
    pub(super) passwords: Passwords,
    database: PgPool,
    clients_entered: Arc<OnceCell<()>>,
}

/// A token response (RFC 6749).
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct IssuedToken {
    /// The token, to be sent as `Authorization: Bearer …`.
    access_token: String,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// The lifetime of the token, in seconds.
    #[schema(example = 900)]
    expires_in: u64,
    /// The scopes of the token.
    #[schema(example = "orders:read orders:place orders:cancel")]
    scope: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    client_id: &'a str,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: Uuid,
    roles: [&'static str; 1],
    scope: &'a str,
}

struct StoredKey {
    kid: String,
    private_key: Vec<u8>,
}

/// Why a key cannot be obtained.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    #[error("the keys cannot be read")]
    Database(#[from] sqlx::Error),
    #[error("no key could be generated")]
    NotGenerated(#[from] ring::error::Unspecified),
    #[error("the stored key is invalid")]
    Invalid(#[from] jsonwebtoken::errors::Error),
}

impl KeyError {
    fn into_problem(self, doing: &'static str) -> Problem {
        match self {
            Self::Database(error) => Problem::of_database(doing, &error),
            broken @ (Self::NotGenerated(_) | Self::Invalid(_)) => {
                Problem::internal(doing, &broken)
            }
        }
    }
}

impl EmbeddedIssuer {
    pub(super) fn new(database: PgPool, settings: EmbeddedSettings) -> Self {
        Self {
            settings: Arc::new(settings),
            passwords: Passwords::default(),
            database,
            clients_entered: Arc::default(),
        }
    }

    /// Signs a token for a caller who has just authenticated, with the role's scopes, restricted to
    /// the `wanted` ones.
    pub(crate) async fn issue(
        &self,
        name: &str,
        role: Role,
        wanted: impl Fn(Scope) -> bool,
    ) -> Result<IssuedToken, Problem> {
        const DOING: &str = "signing a token";
        let key = self.signing_key().await.map_err(|error| error.into_problem(DOING))?;
        let allowed = role.scopes().iter().filter(|scope| wanted(**scope));
        let scope = allowed.map(|scope| scope.as_str()).collect::<Vec<_>>().join(" ");
        let EmbeddedSettings { issuer, audience, token_lifetime, .. } = &*self.settings;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = Claims {
            iss: issuer,
            aud: audience,
            sub: name,
            client_id: name,
            iat: now,
            nbf: now,
            exp: now.saturating_add(token_lifetime.as_secs()),
            jti: Uuid::now_v7(),
            roles: [role.as_str()],
            scope: &scope,
        };
        let header = Header {
            typ: Some(TOKEN_TYPE.to_owned()),
            kid: Some(key.kid),
            ..Header::new(Algorithm::ES256)
        };
        let access_token = encode(&header, &claims, &EncodingKey::from_ec_der(&key.private_key))
            .map_err(|error| Problem::internal(DOING, &error))?;
        let expires_in = token_lifetime.as_secs();
        Ok(IssuedToken { access_token, token_type: "Bearer", expires_in, scope })
    }

    /// Every public key that a token of this issuer may be signed with, for publication.
    pub(crate) async fn public_keys(&self) -> Result<Vec<Jwk>, Problem> {
        self.public().await.map_err(|error| error.into_problem("reading the public keys"))
    }

    pub(super) async fn keys(&self) -> Result<Vec<Key>, FetchError> {
        Ok(self.public().await?.iter().filter_map(Key::of).collect())
    }

    /// Keys that signed within the last 90 days, plus one day for the last tokens.
    ///
    /// Generates the first key if there is none, so that no starter caches an empty set right
    /// before another one generates a key.
    async fn public(&self) -> Result<Vec<Jwk>, KeyError> {
        let mut keys = sqlx::query_as!(
            StoredKey,
            "select kid, private_key from identity.signing_keys
             where created_at > now() - interval '91 days'"
        )
        .fetch_all(&self.database)
        .await?;
        if keys.is_empty() {
            keys.push(self.signing_key().await?);
        }
        Ok(keys.iter().map(public).collect::<Result<_, _>>()?)
    }

    /// The role of the client with this id, if the secret matches.
    pub(crate) async fn client(&self, id: &str, secret: &str) -> Result<Option<Role>, Problem> {
        self.clients_entered
            .get_or_try_init(|| async {
                let Some(wanted) = &self.settings.clients else { return Ok(()) };
                clients::enter(&self.database, &self.passwords, wanted).await
            })
            .await?;
        clients::recognise(&self.database, &self.passwords, id, secret).await
    }

    /// The issuer, as in the tokens' `iss`.
    pub(crate) fn url(&self) -> &str {
        &self.settings.issuer
    }

    pub(super) const fn database(&self) -> &PgPool {
        &self.database
    }

    /// The current signing key; generated if there is none.
    async fn signing_key(&self) -> Result<StoredKey, KeyError> {
        if let Some(key) = current_key(&self.database).await? {
            return Ok(key);
        }
        let mut transaction = self.database.begin().await?;
        sqlx::query!("select pg_advisory_xact_lock($1)", KEY_GENERATION_LOCK)
            .execute(&mut *transaction)
            .await?;
        if let Some(key) = current_key(&mut *transaction).await? {
            return Ok(key);
        }
        let key = generate()?;
        sqlx::query!(
            "insert into identity.signing_keys (kid, private_key) values ($1, $2)",
            key.kid,
            key.private_key,
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        tracing::info!(kid = key.kid, "generated a key to sign tokens with");
        Ok(key)
    }
}

async fn current_key(database: impl PgExecutor<'_>) -> sqlx::Result<Option<StoredKey>> {
    sqlx::query_as!(
        StoredKey,
        "select kid, private_key from identity.signing_keys
         where created_at > now() - interval '90 days'
         order by created_at desc limit 1"
    )
    .fetch_optional(database)
    .await
}

fn generate() -> Result<StoredKey, KeyError> {
    let (scheme, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let private_key = EcdsaKeyPair::generate_pkcs8(scheme, &random)?.as_ref().to_vec();
    let kid = unnamed(&private_key)?.thumbprint(ThumbprintHash::SHA256)?;
    Ok(StoredKey { kid, private_key })
}

fn unnamed(private_key: &[u8]) -> jsonwebtoken::errors::Result<Jwk> {
    Jwk::from_encoding_key(&EncodingKey::from_ec_der(private_key), Algorithm::ES256)
}

/// The public half of a key.
fn public(key: &StoredKey) -> jsonwebtoken::errors::Result<Jwk> {
    let mut jwk = unnamed(&key.private_key)?;
    jwk.common.key_id = Some(key.kid.clone());
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    Ok(jwk)
}
