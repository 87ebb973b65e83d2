//! Authentication and authorisation: tokens from an identity provider that the shop trusts, or
//! from the shop's own issuer.
//!
//! A token is verified as RFC 8725 and RFC 9068 require. Nothing in the token decides how it is
//! verified: the algorithm is that of the issuer's key, and a key that comes with the token (`jwk`,
//! `jku`, `x5c`, `x5u`) is ignored.

mod attempts;
mod caller;
mod change_password;
mod clients;
mod embedded;
mod external;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod key;
mod key_ring;
mod passwords;
mod refusal;
mod register;
mod role;
pub(crate) mod scope;
mod sign_in;
mod signatures;
mod verified_tokens;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use domain::CustomerId;
use headers::authorization::Bearer;
use headers::{Authorization, HeaderMapExt};
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header};
use serde_json::{Map, Value};
use sqlx::PgPool;

pub(crate) use caller::{Authorized, Caller};
pub use clients::{Client, InvalidClient};
pub use embedded::EmbeddedSettings;
pub(crate) use embedded::{EmbeddedIssuer, IssuedToken};
pub use external::{ExternalIssuer, REFETCH_PAUSE, http_client, is_safe};
pub(crate) use register::normalized_email;

use crate::error::{Kind, Problem};
use crate::identity::embedded::TOKEN_TYPE;
use crate::identity::key_ring::{KeyRing, Source};
use crate::identity::refusal::TokenRefusal;
use crate::identity::scope::{HasScope, parse_scopes};
use crate::identity::verified_tokens::{LEEWAY_SECONDS, VerifiedTokens};

/// Every accepted signature algorithm; each key is bound to one of them.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

/// The maximum length of a token; those of well-behaved issuers are shorter.
const TOKEN_BYTES_MAX: usize = 8 * 1_024;

/// The issuer whose tokens are accepted. Cheap to clone.
#[derive(Clone)]
pub struct Identity(Arc<Trusted>);

struct Trusted {
    issuer: String,
    token_type: String,
    roles_claim: String,
    customer_claim: String,
    validation: Validation,
    keys: KeyRing,
    verified: VerifiedTokens,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("issuer", &self.0.issuer).finish_non_exhaustive()
    }
}

impl Identity {
    /// The shop's own issuer, which stores its data in the shop's database.
    #[must_use]
    pub fn embedded(database: PgPool, settings: EmbeddedSettings) -> Self {
        Self::trusting(Trusted {
            issuer: settings.issuer.clone(),
            token_type: TOKEN_TYPE.to_owned(),
            roles_claim: "roles".to_owned(),
            customer_claim: "sub".to_owned(),
            validation: validation(&settings.issuer, &settings.audience),
            keys: KeyRing::of(Source::Embedded(EmbeddedIssuer::new(database, settings))),
            verified: VerifiedTokens::default(),
        })
    }

    /// An external identity provider.
    #[must_use]
    pub fn external(issuer: ExternalIssuer) -> Self {
        Self::trusting(Trusted {
            issuer: issuer.issuer.clone(),
            token_type: issuer.token_type.clone(),
            roles_claim: issuer.roles_claim.clone(),
            customer_claim: issuer.customer_claim.clone(),
            validation: validation(&issuer.issuer, &issuer.audience),
            keys: KeyRing::of(Source::External(issuer)),
            verified: VerifiedTokens::default(),
        })
    }

    fn trusting(trusted: Trusted) -> Self {
        signatures::by_ring();
        Self(Arc::new(trusted))
    }

    /// An external identity provider with fixed keys.
    #[cfg(fuzzing)]
    fn knowing(issuer: ExternalIssuer, keys: Vec<key::Key>) -> Self {
        let identity = Self::external(issuer);
        identity.0.keys.hear(keys);
        identity
    }

    /// The caller who sent these headers, if their token has the scope `S`.
    ///
    /// **Errors.** 401 without a valid token, 403 without the scope, 503 if the issuer's keys are
    /// unavailable.
    pub(crate) async fn authorize<S: HasScope>(
        &self,
        headers: &HeaderMap,
    ) -> Result<Authorized<S>, Problem> {
        Authorized::of(self.caller(headers).await?)
    }

    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        if headers.get_all(header::AUTHORIZATION).iter().count() > 1 {
            return Err(TokenRefusal::NotAccepted.into());
        }
        let Some(Authorization(token)) = headers.typed_get::<Authorization<Bearer>>() else {
            return Err(refusal::missing_token());
        };
        self.verify(token.token()).await
    }

    async fn verify(&self, token: &str) -> Result<Caller, Problem> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenRefusal::NotAccepted.into());
        }
        let Ok(head) = decode_header(token) else { return Err(TokenRefusal::NotAccepted.into()) };
        if !self.is_acceptable(&head) {
            return Err(TokenRefusal::NotAccepted.into());
        }
        let Some(key) = self.0.keys.find(head.kid.as_deref(), head.alg).await? else {
            return Err(TokenRefusal::NotAccepted.into());
        };
        if let Some(caller) = self.0.verified.caller(token, &key).await {
            return Ok(caller);
        }
        let mut validation = self.0.validation.clone();
        validation.algorithms = vec![key.algorithm()];
        let claims = decode::<Map<String, Value>>(token, key.decoding(), &validation)
            .map_err(|error| TokenRefusal::of(error.kind()))?
            .claims;
        let claims = Value::Object(claims);
        let caller = self.caller_of(&claims).ok_or(TokenRefusal::UnknownSubject)?;
        self.0.verified.remember(token, key, &caller).await;
        Ok(caller)
    }

    /// Whether the header belongs to a token that could be accepted. The signature is verified
    /// afterwards.
    fn is_acceptable(&self, head: &Header) -> bool {
        let typ = head.typ.as_deref().unwrap_or_default().to_ascii_lowercase();
        // RFC 7515: "application/" may be omitted.
        let typ = typ.strip_prefix("application/").unwrap_or(&typ);
        ALGORITHMS.contains(&head.alg)
            && typ == self.0.token_type.to_ascii_lowercase()
            // A critical extension that is not supported must be refused (RFC 7515).
            && head.crit.is_none()
    }

    fn caller_of(&self, claims: &Value) -> Option<Caller> {
        let text = |claim| claim_of(claims, claim).and_then(Value::as_str);
        // The library also accepts a list for `iss`; a token has one issuer.
        if text("iss") != Some(self.0.issuer.as_str()) {
            return None;
        }
        let roles = match claim_of(claims, &self.0.roles_claim) {
            Some(Value::Array(roles)) => roles.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(roles)) => roles.split(' ').collect(),
            Some(_) | None => Vec::new(),
        };
        // Roles of other applications are ignored.
        let roles: Vec<_> = roles.into_iter().filter_map(|role| role.parse().ok()).collect();
        let customer = text(&self.0.customer_claim).and_then(|id| CustomerId::parse(id).ok());
        // RFC 7519 allows fractions of a second.
        let expires = claims.get("exp").and_then(Value::as_f64)?;
        let expires = Duration::try_from_secs_f64(expires).ok()?.as_secs();
        // Without `scope` the roles decide. An unreadable scope may have been meant to restrict
        // them, so such a token is refused.
        let scope = match claims.get("scope") {
            None => BTreeSet::new(),
            Some(scope) => parse_scopes(scope.as_str()?),
        };
        // The name is recorded with the caller's actions, and shown to people.
        let name = text("sub").filter(|name| is_a_name(name))?;
        Caller::of(&roles, name, customer, &scope, expires)
    }

    /// The shop's own issuer.
    ///
    /// **Errors.** 404 if tokens come from an external issuer.
    pub(crate) fn own_issuer(&self) -> Result<&EmbeddedIssuer, Problem> {
        match &self.0.keys.source {
            Source::Embedded(issuer) => Ok(issuer),
            Source::External(other) => Err(Problem::new(
                Kind::IssuedElsewhere,
                format!("This shop's tokens come from {}.", other.issuer),
            )),
        }
    }
}

fn validation(issuer: &str, audience: &str) -> Validation {
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.validate_nbf = true;
    validation.leeway = LEEWAY_SECONDS;
    validation
}

/// Whether a token's subject can be stored and shown (`OpenID` Connect: at most 255 characters).
fn is_a_name(subject: &str) -> bool {
    (1..=255).contains(&subject.chars().count()) && !subject.chars().any(char::is_control)
}

/// A claim by its name, or by a JSON pointer for a nested one.
fn claim_of<'a>(claims: &'a Value, claim: &str) -> Option<&'a Value> {
    if claim.starts_with('/') { claims.pointer(claim) } else { claims.get(claim) }
}
