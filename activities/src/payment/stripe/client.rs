//! Stripe's API over HTTPS: sends a request and returns the raw answer, without retries.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use reqwest::{Client, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use tracing::{debug, error};

use super::objects::{Problem, Refusal};
use crate::party::answer::{Answer, BODY_MAX, PAGE_MAX, Said, retry_after_of};
use crate::payment::port::ProviderError;

/// The version of Stripe's API that this module was written for. Without it, a setting in Stripe's
/// Dashboard would decide the format of answers.
const VERSION: &str = "2026-02-25.clover";

/// Below the thirty seconds of a patient attempt, so that a cancelled attempt leaves no call
/// behind. A bank may need most of it.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Below the five seconds of a quick attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

const STRIPE_VERSION: HeaderName = HeaderName::from_static("stripe-version");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// A secret or restricted key of a Stripe account. Never printed.
#[derive(Clone)]
pub struct ApiKey(String);

/// Whether a key moves real money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It does.
    Live,
    /// It moves none.
    Test,
}

/// How to reach Stripe.
#[derive(Clone, Debug)]
pub struct StripeSettings {
    /// The account's key.
    pub api_key: ApiKey,
    /// The URL of Stripe's API.
    pub api_url: Url,
    /// Where customers return to from their bank. Without it, banks are told that the customer is
    /// not present to approve anything.
    pub return_url: Option<Url>,
}

/// Why these settings cannot be used. The message does not contain the key.
#[derive(Debug, thiserror::Error)]
pub enum UnusableSettings {
    /// A publishable key.
    #[error(
        "the API key is a publishable key, which may not take money; a secret key begins with sk_, \
         a restricted one with rk_"
    )]
    PublishableKey,
    /// Not a key of Stripe's.
    #[error("the API key is invalid; Stripe's begin with sk_live_, rk_live_, sk_test_ or rk_test_")]
    NoKey,
    /// A URL over which the key could be read in transit, or the customer redirected.
    #[error("{0} is neither https nor on this machine")]
    NotSafe(Url),
    /// The HTTP client cannot be created.
    #[error("the HTTP client cannot be made")]
    Client(#[from] reqwest::Error),
}

impl FromStr for ApiKey {
    type Err = Infallible;

    /// Accepts any text, so that no error has to contain it; [`ApiKey::mode`] validates it.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.trim().to_owned()))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey")
    }
}

impl ApiKey {
    /// Whether the key moves real money.
    ///
    /// **Errors.** It is not a key that can take payments.
    pub fn mode(&self) -> Result<Mode, UnusableSettings> {
        let begins = |with: [&str; 2]| with.iter().any(|prefix| self.0.starts_with(prefix));
        if self.0.starts_with("pk_") {
            Err(UnusableSettings::PublishableKey)
        } else if !self.0.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            Err(UnusableSettings::NoKey)
        } else if begins(["sk_live_", "rk_live_"]) {
            Ok(Mode::Live)
        } else if begins(["sk_test_", "rk_test_"]) {
            Ok(Mode::Test)
        } else {
            Err(UnusableSettings::NoKey)
        }
    }
}

impl Mode {
    /// The name, for logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }
}

/// Whether nobody in transit can read or change what is sent there.
pub(super) fn is_safe(url: &Url) -> bool {
    let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    url.scheme() == "https" || (url.scheme() == "http" && is_here)
}

/// A form parameter of a request.
pub(super) type Field = (&'static str, String);

/// Stripe's API, for one account.
pub(super) struct Api {
    http: Client,
    url: Url,
}

impl Api {
    pub(super) fn new(settings: &StripeSettings) -> Result<Self, UnusableSettings> {
        let StripeSettings { api_key, api_url, .. } = settings;
        api_key.mode()?;
        if !is_safe(api_url) {
            return Err(UnusableSettings::NotSafe(api_url.clone()));
        }
        let mut headers = HeaderMap::new();
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", api_key.0))
            .map_err(|_unprintable| UnusableSettings::NoKey)?;
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
        headers.insert(STRIPE_VERSION, HeaderValue::from_static(VERSION));
        let http = runtime::http::client_builder()
            .default_headers(headers)
            .timeout(CALL_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            // The key must not be sent anywhere else.
            .redirect(reqwest::redirect::Policy::none());
        // A proxy forwards encrypted traffic, but could read unencrypted traffic.
        let http = if api_url.scheme() == "https" { http } else { http.no_proxy() };
        Ok(Self { http: http.build()?, url: api_url.clone() })
    }

    /// Sends a GET request.
    ///
    /// **Errors.** No answer arrived.
    pub(super) async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Reply, ProviderError> {
        send(self.http.get(self.asking(path, query)), BODY_MAX).await
    }

    /// Requests a page of a list, which may be longer than other answers.
    ///
    /// **Errors.** No answer arrived.
    pub(super) async fn get_page(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Reply, ProviderError> {
        send(self.http.get(self.asking(path, query)), PAGE_MAX).await
    }

    /// Sends a POST request under an idempotency key.
    ///
    /// **Errors.** No answer arrived; the request may have been executed.
    pub(super) async fn post(
        &self,
        path: &[&str],
        key: &str,
        form: &[Field],
    ) -> Result<Reply, ProviderError> {
        let request = self.http.post(self.at(path)).header(IDEMPOTENCY_KEY, key).form(form);
        send(request, BODY_MAX).await
    }

    fn asking(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.at(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    fn at(&self, path: &[&str]) -> Url {
        let mut url = self.url.clone();
        // Every http URL has a path.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        url
    }
}

async fn send(request: RequestBuilder, bytes_max: usize) -> Result<Reply, ProviderError> {
    let mut response = request.send().await.map_err(no_answer)?;
    let header = |name: HeaderName| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.map(str::to_owned)
    };
    let (content_type, retry_after) = (header(CONTENT_TYPE), header(RETRY_AFTER));
    let request_id = header(REQUEST_ID).unwrap_or_else(|| "unnamed".to_owned());
    let is_replayed = header(IDEMPOTENT_REPLAYED).is_some_and(|value| value == "true");
    let status = response.status().as_u16();
    debug!(status, request_id, is_replayed, "Stripe answers");
    let body = bounded(&mut response, bytes_max).await?;
    let answer = Answer { status, content_type, retry_after, body };
    Ok(Reply { answer, bytes_max, request_id, is_replayed })
}

/// Reads the body, up to the limit.
async fn bounded(response: &mut Response, bytes_max: usize) -> Result<Vec<u8>, ProviderError> {
    let mut body = Vec::new();
    while body.len() <= bytes_max
        && let Some(part) = response.chunk().await.map_err(no_answer)?
    {
        body.extend_from_slice(&part);
    }
    Ok(body)
}

fn no_answer(error: reqwest::Error) -> ProviderError {
    ProviderError::Unavailable { retry_after: None, source: error.without_url().into() }
}

/// A raw answer of Stripe's.
pub(super) struct Reply {
    answer: Answer,
    /// The limit for the body.
    bytes_max: usize,
    /// Stripe's id of the request, for its support.
    request_id: String,
    /// Whether it is a replayed answer to an earlier request under the same key.
    pub(super) is_replayed: bool,
}

/// A refusal, in words for the log. It contains only single words of Stripe's text.
#[derive(Debug, thiserror::Error)]
#[error("Stripe refuses with {status}: {kind}, {code}, about {parameter} ({request_id}){advice}")]
struct Refused {
    status: u16,
    kind: String,
    code: String,
    parameter: String,
    request_id: String,
    /// What a person can do about it.
    advice: &'static str,
}

const BAD_KEY: &str = ". The API key is wrong or not in force any more: set STRIPE_API_KEY to one \
                       that is";
const NO_RIGHT: &str = ". The restricted key lacks a right: let it write PaymentIntents and Refunds, \
                        and read Charges, PaymentMethods, Disputes, Events, Payouts and Balance \
                        transactions";
const NO_BALANCE: &str = ". Stripe holds too little money for this refund: top up the balance";
const NO_ADVICE: &str = "";

impl Reply {
    /// Whether it is a failure that Stripe replays for as long as it keeps the key, whatever the
    /// request did.
    pub(super) fn is_kept_failure(&self) -> bool {
        self.is_replayed && self.answer.status >= 500
    }

    /// Decodes the answer.
    ///
    /// **Errors.** It is neither a value nor a refusal.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<Said<T, Refusal>, ProviderError> {
        Ok(self.answer.read_up_to(self.bytes_max, SystemTime::now())?)
    }

    /// The error for a refused payment request.
    pub(super) fn refused(&self, why: &Problem) -> ProviderError {
        match (self.answer.status, why.code()) {
            // Not the order's fault: it waits until a person has fixed that.
            (401, _) | (_, "api_key_expired") => self.unavailable(why, BAD_KEY),
            (403, _) => self.unavailable(why, NO_RIGHT),
            (_, "balance_insufficient") => self.unavailable(why, NO_BALANCE),
            // Another request for the same payment or key is in progress; or the customer's bank
            // has the payment, which a dispute reports.
            (409 | 424, _) | (_, "charge_disputed") => self.unavailable(why, NO_ADVICE),
            (
                _,
                "payment_intent_unexpected_state"
                | "charge_already_captured"
                | "charge_expired_for_capture",
            ) => ProviderError::MovedOn,
            (404, _) => ProviderError::NotFound,
            _ => ProviderError::InvalidAnswer(self.told(why, NO_ADVICE).into()),
        }
    }

    fn unavailable(&self, why: &Problem, advice: &'static str) -> ProviderError {
        let refused = self.told(why, advice);
        if !advice.is_empty() {
            error!("{refused}");
        }
        let retry_after = self.answer.retry_after.as_deref();
        let retry_after = retry_after.and_then(|header| retry_after_of(header, SystemTime::now()));
        ProviderError::Unavailable { retry_after, source: refused.into() }
    }

    fn told(&self, why: &Problem, advice: &'static str) -> Refused {
        Refused {
            status: self.answer.status,
            kind: why.kind().to_owned(),
            code: why.code().to_owned(),
            parameter: why.parameter().to_owned(),
            request_id: self.request_id.clone(),
            advice,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> ApiKey {
        text.parse().unwrap()
    }

    #[test]
    fn a_key_says_whether_it_moves_real_money() {
        for (text, mode) in [
            ("sk_live_a1", Mode::Live),
            ("rk_live_a1", Mode::Live),
            ("sk_test_a1", Mode::Test),
            (" rk_test_a1\n", Mode::Test),
        ] {
            assert_eq!(key(text).mode().unwrap(), mode, "{text}");
        }
        for none in ["", "a1", "live_sk_a1", "sk_liveliness", "sk_live_a 1", "sk_test_a\u{e9}"] {
            assert!(matches!(key(none).mode(), Err(UnusableSettings::NoKey)), "{none}");
        }
        let published = key("pk_live_a1").mode();
        assert!(matches!(published, Err(UnusableSettings::PublishableKey)));
    }

    #[test]
    fn a_key_is_shown_nowhere() {
        let settings = StripeSettings {
            api_key: key("sk_live_secret"),
            api_url: Url::parse("http://api.stripe.com").unwrap(),
            return_url: None,
        };
        let refused = Api::new(&settings).err().unwrap();
        assert!(matches!(refused, UnusableSettings::NotSafe(_)));
        let broken = StripeSettings { api_key: key("secret"), ..settings.clone() };
        let told = format!("{settings:?} {refused} {refused:?} {:?}", Api::new(&broken).err());
        assert!(!told.contains("secret"), "{told}");
    }

    #[test]
    fn only_this_machine_is_reached_without_https() {
        for (url, safe) in [
            ("https://api.stripe.com", true),
            ("http://127.0.0.1:18430", true),
            ("http://localhost/", true),
            ("http://[::1]:1/", true),
            ("http://api.stripe.com", false),
            ("http://localhost.example.com", false),
            ("ftp://localhost", false),
        ] {
            assert_eq!(is_safe(&Url::parse(url).unwrap()), safe, "{url}");
        }
    }
}
