//! Who asks, and what they may do: tokens from an identity provider that the shop trusts, or
//! from the shop's own issuer.
//!
//! A token is checked as RFC 8725 and RFC 9068 have it. What it says of itself decides nothing:
//! the algorithm is that of the issuer's key, and a key that comes with the token (`jwk`, `jku`,
//! `x5c`, `x5u`) is not looked at.

pub(crate) mod access;
mod attempts;
pub(crate) mod change_password;
mod checked;
mod clients;
pub(crate) mod discovery;
mod embedded;
mod external;
mod key_ring;
pub(crate) mod keys;
mod passwords;
pub(crate) mod register;
pub(crate) mod sign_in;
pub(crate) mod token;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use headers::authorization::Bearer;
use headers::{Authorization, HeaderMapExt};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header};
use serde_json::{Map, Value};
use sqlx::PgPool;

pub use clients::{Client, NoClient};
pub use embedded::EmbeddedSettings;
pub use external::{ExternalIssuer, REFETCH_PAUSE, http, is_safe};

use crate::identity::access::Caller;
use crate::identity::checked::CheckedTokens;
use crate::identity::embedded::{EmbeddedIssuer, TOKEN_TYPE};
use crate::identity::key_ring::{KeyRing, Source};
use crate::problem::{Kind, Problem};

/// How far two clocks may be apart, in seconds.
const LEEWAY_SECONDS: u64 = 30;

/// What is accepted at all; each key takes one of them.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

/// Longer than any token of an issuer that is well.
const TOKEN_BYTES_MAX: usize = 8 * 1_024;

/// Whose tokens the shop takes. Cheap to clone.
#[derive(Clone)]
pub struct Identity(Arc<Trusted>);

struct Trusted {
    issuer: String,
    token_type: String,
    roles_claim: String,
    customer_claim: String,
    validation: Validation,
    keys: KeyRing,
    checked: CheckedTokens,
}

/// Why a token does not count, in words for whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Its time is over.
    Expired,
    /// Its time has not come.
    TooEarly,
    /// It names no customer that the shop could know.
    Nobody,
    /// Anything else. Whoever forges a token is not told how far they got.
    NotAccepted,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("issuer", &self.0.issuer).finish_non_exhaustive()
    }
}

impl Identity {
    /// The shop's own issuer, which keeps what it needs in the shop's database.
    #[must_use]
    pub fn embedded(database: PgPool, settings: EmbeddedSettings) -> Self {
        Self(Arc::new(Trusted {
            issuer: settings.issuer.clone(),
            token_type: TOKEN_TYPE.to_owned(),
            roles_claim: "roles".to_owned(),
            customer_claim: "sub".to_owned(),
            validation: validation(&settings.issuer, &settings.audience),
            keys: KeyRing::of(Source::Embedded(EmbeddedIssuer::new(database, settings))),
            checked: CheckedTokens::default(),
        }))
    }

    /// An identity provider of somebody else's.
    #[must_use]
    pub fn external(issuer: ExternalIssuer) -> Self {
        Self(Arc::new(Trusted {
            issuer: issuer.issuer.clone(),
            token_type: issuer.token_type.clone(),
            roles_claim: issuer.roles_claim.clone(),
            customer_claim: issuer.customer_claim.clone(),
            validation: validation(&issuer.issuer, &issuer.audience),
            keys: KeyRing::of(Source::External(issuer)),
            checked: CheckedTokens::default(),
        }))
    }

    /// Whoever sent a request with these headers.
    ///
    /// **Errors.** 401 without a token that counts; 503 while its issuer's keys cannot be had.
    pub(crate) async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        if headers.get_all(header::AUTHORIZATION).iter().count() > 1 {
            return Err(Problem::bad_token(Refused::NotAccepted));
        }
        let Some(Authorization(token)) = headers.typed_get::<Authorization<Bearer>>() else {
            return Err(Problem::no_token());
        };
        self.bearer_of(token.token()).await
    }

    async fn bearer_of(&self, token: &str) -> Result<Caller, Problem> {
        let refused = Problem::bad_token;
        if token.len() > TOKEN_BYTES_MAX {
            return Err(refused(Refused::NotAccepted));
        }
        let Ok(head) = decode_header(token) else { return Err(refused(Refused::NotAccepted)) };
        if !self.could_be_ours(&head) {
            return Err(refused(Refused::NotAccepted));
        }
        let Some(key) = self.0.keys.find(head.kid.as_deref(), head.alg).await? else {
            return Err(refused(Refused::NotAccepted));
        };
        if let Some(caller) = self.0.checked.caller(token, &key).await {
            return Ok(caller);
        }
        let mut validation = self.0.validation.clone();
        validation.algorithms = vec![key.algorithm()];
        let claims = decode::<Map<String, Value>>(token, key.decoding(), &validation)
            .map_err(|error| refused(Refused::of(error.kind())))?
            .claims;
        let claims = Value::Object(claims);
        let caller = self.caller_of(&claims).ok_or_else(|| refused(Refused::Nobody))?;
        self.0.checked.remember(token, key, &caller).await;
        Ok(caller)
    }

    /// Whether the head is that of a token that the shop could take: what decides is checked
    /// against the key afterwards.
    fn could_be_ours(&self, head: &Header) -> bool {
        let typ = head.typ.as_deref().unwrap_or_default().to_ascii_lowercase();
        // RFC 7515: "application/" may be left out.
        let typ = typ.strip_prefix("application/").unwrap_or(&typ);
        ALGORITHMS.contains(&head.alg)
            && typ == self.0.token_type.to_ascii_lowercase()
            // What must be understood and is not.
            && head.crit.is_none()
    }

    fn caller_of(&self, claims: &Value) -> Option<Caller> {
        let text = |claim| claim_of(claims, claim).and_then(Value::as_str);
        // The library takes a list for `iss` too; a token has one issuer.
        if text("iss") != Some(self.0.issuer.as_str()) {
            return None;
        }
        let roles = match claim_of(claims, &self.0.roles_claim) {
            Some(Value::Array(roles)) => roles.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(roles)) => roles.split(' ').collect(),
            Some(_) | None => Vec::new(),
        };
        // Roles of other programs are none of this one's business.
        let roles: Vec<_> = roles.into_iter().filter_map(|role| role.parse().ok()).collect();
        let customer = text(&self.0.customer_claim).unwrap_or_default();
        // RFC 7519 allows fractions of a second.
        let expires = claims.get("exp").and_then(Value::as_f64)?;
        let expires = Duration::try_from_secs_f64(expires).ok()?.as_secs();
        // Without it the roles say it all; one that cannot be read may have been meant to narrow
        // them.
        let scope = match claims.get("scope") {
            None => "",
            Some(scope) => scope.as_str()?,
        };
        Caller::of(&roles, text("sub")?, customer, scope, expires)
    }

    /// The shop's own issuer.
    ///
    /// **Errors.** 404 where tokens come from another.
    fn own_issuer(&self) -> Result<&EmbeddedIssuer, Problem> {
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

/// A claim by its name, or by its JSON pointer where it stands deeper.
fn claim_of<'a>(claims: &'a Value, claim: &str) -> Option<&'a Value> {
    if claim.starts_with('/') { claims.pointer(claim) } else { claims.get(claim) }
}

impl Refused {
    fn of(error: &ErrorKind) -> Self {
        // The list of errors is open; what is not about time is nobody's business.
        if matches!(error, ErrorKind::ExpiredSignature) {
            Self::Expired
        } else if matches!(error, ErrorKind::ImmatureSignature) {
            Self::TooEarly
        } else {
            Self::NotAccepted
        }
    }

    /// For whoever sent the token.
    pub(crate) const fn told(self) -> &'static str {
        match self {
            Self::Expired => "The token has expired",
            Self::TooEarly => "The token is not valid yet",
            Self::Nobody => "The token names nobody that this shop can know",
            Self::NotAccepted => "The token is not one that this shop accepts",
        }
    }
}
