//! An external issuer: any that publishes its keys as `OpenID` Connect Discovery describes.

use std::time::Duration;

use reqwest::{Client, Response, Url};
use serde_json::Value;

use crate::identity::key::{FetchError, Key, usable};

/// How long an issuer may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// How much of an issuer's answer is read.
const ANSWER_BYTES_MAX: usize = 256 * 1_024;

/// The shortest time between two requests for an issuer's keys.
pub const REFETCH_PAUSE: Duration = Duration::from_secs(10);

/// An identity provider that the shop trusts.
#[derive(Clone, Debug)]
pub struct ExternalIssuer {
    /// Its name, as tokens have it in `iss`, and as its discovery document has it.
    pub issuer: String,
    /// Where its keys are; without it, its discovery document says.
    pub jwks_url: Option<Url>,
    /// For whom its tokens must be: one of those in `aud`.
    pub audience: String,
    /// The kind that its tokens must be of: their `typ`. `at+jwt` is RFC 9068's.
    pub token_type: String,
    /// The claim that lists roles: a name, or a JSON pointer such as `/realm_access/roles`.
    pub roles_claim: String,
    /// The claim that names the customer: a name or a JSON pointer.
    pub customer_claim: String,
    /// The shortest time between two requests for its keys.
    pub refetch_pause: Duration,
    /// The HTTP client. Follows no redirect: a third party must not decide whose keys are trusted.
    pub http: Client,
}

#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("the discovery document is that of {0}")]
    OfAnother(String),
    #[error("the discovery document names no jwks_uri")]
    NoKeysNamed,
    #[error("{0} is neither https nor on this machine")]
    NotSafe(Url),
    #[error("the answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    #[error("it has no key that this shop takes")]
    NoUsableKey,
}

/// The HTTP client for issuers.
pub fn http_client() -> reqwest::Result<Client> {
    runtime::http::client_builder()
        .timeout(ANSWER_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
}

/// Whether keys fetched from there cannot be replaced on the way.
#[must_use]
pub fn is_safe(url: &Url) -> bool {
    let here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    url.scheme() == "https" || (url.scheme() == "http" && here)
}

impl ExternalIssuer {
    pub(super) async fn keys(&self) -> Result<Vec<Key>, FetchError> {
        let url = match &self.jwks_url {
            Some(url) => url.clone(),
            None => self.discovered().await?,
        };
        let keys = usable(&self.document(url).await?);
        if keys.is_empty() { Err(Unusable::NoUsableKey.into()) } else { Ok(keys) }
    }

    async fn discovered(&self) -> Result<Url, FetchError> {
        let place =
            format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let discovery = self.document(Url::parse(&place)?).await?;
        let named = discovery.get("issuer").and_then(Value::as_str).unwrap_or_default();
        if named != self.issuer {
            return Err(Unusable::OfAnother(named.chars().take(200).collect()).into());
        }
        let keys =
            discovery.get("jwks_uri").and_then(Value::as_str).ok_or(Unusable::NoKeysNamed)?;
        Ok(Url::parse(keys)?)
    }

    async fn document(&self, url: Url) -> Result<Value, FetchError> {
        if !is_safe(&url) {
            return Err(Unusable::NotSafe(url).into());
        }
        let answer = self.http.get(url).send().await?.error_for_status()?;
        Ok(serde_json::from_slice(&limited(answer).await?)?)
    }
}

async fn limited(mut answer: Response) -> Result<Vec<u8>, FetchError> {
    let mut read = Vec::new();
    while let Some(part) = answer.chunk().await? {
        read.extend_from_slice(&part);
        if read.len() > ANSWER_BYTES_MAX {
            return Err(Unusable::TooLong.into());
        }
    }
    Ok(read)
}
