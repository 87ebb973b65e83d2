//! An external issuer that publishes its keys with `OpenID` Connect Discovery.

use std::time::Duration;

use reqwest::{Client, Response, Url};
use serde_json::Value;

use crate::identity::key::{FetchError, Key, usable};

/// The time limit of a request to an issuer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// The maximum size of an issuer's response, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1_024;

/// The minimum time between two requests for an issuer's keys.
pub const REFETCH_PAUSE: Duration = Duration::from_secs(10);

/// An identity provider that the shop trusts.
#[derive(Clone, Debug)]
pub struct ExternalIssuer {
    /// The issuer, as in the tokens' `iss` and in its discovery document.
    pub issuer: String,
    /// The URL of its keys (JWKS); if absent, it is taken from the discovery document.
    pub jwks_url: Option<Url>,
    /// The audience that its tokens must have in `aud`.
    pub audience: String,
    /// The required `typ` of its tokens. RFC 9068 defines `at+jwt`.
    pub token_type: String,
    /// The claim that lists roles: a name, or a JSON pointer such as `/realm_access/roles`.
    pub roles_claim: String,
    /// The claim with the customer's id: a name or a JSON pointer.
    pub customer_claim: String,
    /// The minimum time between two requests for its keys.
    pub refetch_pause: Duration,
    /// The HTTP client. It follows no redirects: a third party must not decide which keys are
    /// trusted.
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

/// Whether keys fetched from this URL cannot be replaced in transit.
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
