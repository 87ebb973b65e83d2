//! The starter's settings: flags, or the environment.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::http::HeaderValue;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use domain::{CaptureAt, ProviderName, Screening};
use reqwest::Url;
use runtime::database::PoolSettings;
use runtime::http::outside::InternalHosts;
use sqlx::PgPool;

use crate::app::webhooks::signature::{StripeMode, StripeWebhooks};
use crate::http::{
    BURST_PER_SECOND, Limits, ProxyHeader, RATE_PER_ADDRESS, RATE_PER_TOKEN,
    REGISTRATIONS_PER_ADDRESS,
};
use crate::identity::{
    Client, EmbeddedSettings, ExternalIssuer, Identity, REFETCH_PAUSE, http_client, is_safe,
};

/// The settings of `ordersaga api`, except for its database.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// The address of the API (HTTP).
    #[arg(long, env = "ORDERSAGA_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// The address of a second listener for `/health`, `/ready` and `/metrics`, which load on the
    /// API does not affect. The API's own address serves them, too.
    #[arg(long, env = "ORDERSAGA_OPS_LISTEN", default_value = "127.0.0.1:9466")]
    pub api_ops_listen: SocketAddr,

    /// The maximum number of database connections of the API.
    #[arg(long, env = "ORDERSAGA_DATABASE_CONNECTIONS", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub api_database_connections: u32,

    /// The maximum size of a request body, in bytes.
    #[arg(long, env = "ORDERSAGA_BODY_BYTES_MAX", default_value_t = 1_048_576)]
    pub body_bytes_max: usize,

    /// How many seconds a request may take before it is answered with 503.
    #[arg(long, env = "ORDERSAGA_REQUEST_TIMEOUT_SECONDS", default_value_t = 40,
          value_parser = clap::value_parser!(u64).range(1..=600))]
    pub request_timeout_seconds: u64,

    /// How many seconds a client may take to send the headers of its first request. While three
    /// quarters of all connections are in use, idle connections are closed after this time, too.
    #[arg(long, env = "ORDERSAGA_HEADERS_TIMEOUT_SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=600))]
    pub headers_timeout_seconds: u64,

    /// How many seconds a client may take to send a body before it is answered with 408.
    #[arg(long, env = "ORDERSAGA_BODY_TIMEOUT_SECONDS", default_value_t = 15,
          value_parser = clap::value_parser!(u64).range(1..=600))]
    pub body_timeout_seconds: u64,

    /// How many seconds a client may take to read the next part of a response (64 KiB, or an event)
    /// before its connection is closed.
    #[arg(long, env = "ORDERSAGA_SEND_TIMEOUT_SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=600))]
    pub send_timeout_seconds: u64,

    /// How many seconds an idle connection is kept open. Use more than the idle timeout of a load
    /// balancer in front of the starter.
    #[arg(long, env = "ORDERSAGA_IDLE_TIMEOUT_SECONDS", default_value_t = 75,
          value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub idle_timeout_seconds: u64,

    /// The maximum number of open connections; further ones wait.
    #[arg(long, env = "ORDERSAGA_CONNECTIONS_MAX", default_value_t = 4_096,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections_max: u32,

    /// The maximum number of connections from one address; further ones are closed at once. Does
    /// not apply where proxies are trusted.
    #[arg(long, env = "ORDERSAGA_CONNECTIONS_PER_ADDRESS", default_value_t = 1_024,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections_per_address: u32,

    /// The maximum number of concurrent requests; further ones are answered with 503.
    #[arg(long, env = "ORDERSAGA_REQUESTS_MAX", default_value_t = 1_024,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub requests_max: u32,

    /// The maximum number of those from one address, and with one token; further ones are answered
    /// with 503.
    #[arg(long, env = "ORDERSAGA_REQUESTS_PER_CALLER", default_value_t = 512,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub requests_per_caller: u32,

    /// The rate limit of one address, in requests per second; beyond it, requests are answered with
    /// 429.
    #[arg(long, env = "ORDERSAGA_RATE_PER_ADDRESS", default_value_t = RATE_PER_ADDRESS)]
    pub rate_per_address: NonZeroU32,

    /// The rate limit of one token, in requests per second; beyond it, requests are answered with
    /// 429.
    #[arg(long, env = "ORDERSAGA_RATE_PER_TOKEN", default_value_t = RATE_PER_TOKEN)]
    pub rate_per_token: NonZeroU32,

    /// How many customers one address may register per minute; beyond it, requests are answered
    /// with 429.
    #[arg(long, env = "ORDERSAGA_REGISTRATIONS_PER_ADDRESS",
          default_value_t = REGISTRATIONS_PER_ADDRESS)]
    pub registrations_per_address: NonZeroU32,

    /// The number of trusted proxies in front of the starter. With more than 0, the client's
    /// address is taken from the header that they write.
    #[arg(long, env = "ORDERSAGA_TRUSTED_PROXIES", default_value_t = 0,
          value_parser = clap::value_parser!(u8).range(0..=10))]
    pub trusted_proxies: u8,

    /// The header in which the trusted proxies write the client's address; the other one is
    /// ignored.
    #[arg(long, env = "ORDERSAGA_PROXY_HEADER", value_enum, default_value = "x-forwarded-for")]
    pub proxy_header: ProxyHeader,

    /// Origins from which browsers may call the API (CORS), separated by commas; none by default.
    #[arg(long, env = "ORDERSAGA_CORS_ORIGINS", value_delimiter = ',')]
    pub cors_origins: Vec<HeaderValue>,

    /// Hosts inside the shop's own network that webhooks may be sent to, separated by commas, with
    /// or without a port. Configure the relay alike.
    #[arg(long, env = "WEBHOOK_INTERNAL_HOSTS", default_value = "")]
    pub api_webhook_internal_hosts: InternalHosts,

    /// How many seconds the process keeps accepting requests after it was asked to stop, so that a
    /// load balancer sees `/ready` fail before connections are refused.
    #[arg(long, env = "ORDERSAGA_NOTICE_SECONDS", default_value_t = 2,
          value_parser = clap::value_parser!(u64).range(0..=120))]
    pub notice_seconds: u64,

    /// The maximum number of open event streams.
    #[arg(long, env = "ORDERSAGA_STREAMS_MAX", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub streams_max: u32,

    /// The maximum number of those from one address, and of one customer or program; further
    /// streams are answered with 503.
    #[arg(long, env = "ORDERSAGA_STREAMS_PER_CALLER", default_value_t = 128,
          value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub streams_per_caller: u32,

    /// The maximum number of requests that wait for their order (`Prefer: wait`); further ones are
    /// answered at once, with the order's current state.
    #[arg(long, env = "ORDERSAGA_WAITS_MAX", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub waits_max: u32,

    /// The maximum number of those from one address, and of one customer or program; further ones
    /// are answered at once, too.
    #[arg(long, env = "ORDERSAGA_WAITS_PER_CALLER", default_value_t = 128,
          value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub waits_per_caller: u32,

    /// The default cancel window in seconds: how long an order can be cancelled before it is
    /// packed. An order may set its own.
    #[arg(long, env = "ORDERSAGA_CANCEL_WINDOW_SECONDS", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=i64::from(crate::app::orders::CANCEL_WINDOW_SECONDS_MAX)))]
    pub cancel_window_seconds: u32,

    /// The default patience in seconds: how long a step waits for a party that does not answer
    /// before the order is unwound. An order may set its own; if left out, each step has its own
    /// limit.
    #[arg(long, env = "ORDERSAGA_PATIENCE_SECONDS",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(crate::app::orders::PATIENCE_SECONDS_MAX)))]
    pub patience_seconds: Option<u32>,

    /// When payments are captured; they are authorised as soon as the stock is reserved.
    /// `hand-over`: right before the parcel is handed over, so that a cancellation in time moves no
    /// money; or `placement`.
    #[arg(long, env = "ORDERSAGA_CAPTURE", default_value = "hand-over",
          value_parser = PossibleValuesParser::new(["hand-over", "placement"]).try_map(|at| at.parse::<CaptureAt>()))]
    pub capture: CaptureAt,

    /// The payment provider; configure the worker alike. A quote that this provider cannot charge
    /// is refused.
    #[arg(long, env = "PAYMENT_PROVIDER", default_value = "sandbox",
          value_parser = PossibleValuesParser::new(ProviderName::NAMES).try_map(|name| name.parse::<ProviderName>()))]
    pub api_payment_provider: ProviderName,

    /// How many seconds a customer may take to approve a payment, where their bank asks for it, or
    /// to transfer the money, before the order is rejected. If left out: a quarter of an hour, and
    /// a week for a transfer. The payment provider may grant less.
    #[arg(long, env = "ORDERSAGA_APPROVAL_SECONDS",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(crate::app::orders::APPROVAL_SECONDS_MAX)))]
    pub approval_seconds: Option<u32>,

    /// How many seconds a declined payment may be replaced, while the goods stay reserved; an order
    /// may set its own. 0 rejects the order at once.
    #[arg(long, env = "ORDERSAGA_PAYMENT_RETRY_SECONDS", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=i64::from(crate::app::orders::PAYMENT_RETRY_SECONDS_MAX)))]
    pub payment_retry_seconds: u32,

    /// Whether orders are screened for fraud before they are charged: `on` or `off`. Turn it on
    /// only when every worker runs a release that supports it.
    #[arg(long, env = "ORDERSAGA_SCREENING", default_value = "off",
          value_parser = PossibleValuesParser::new(["off", "on"]))]
    pub screening: String,

    /// How many seconds a review may take, where the screening rules ask for one, while the goods
    /// stay reserved. After that the rules' default decision applies.
    #[arg(long, env = "ORDERSAGA_REVIEW_SECONDS", default_value_t = 86_400,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(crate::app::orders::REVIEW_SECONDS_MAX)))]
    pub review_seconds: u32,

    /// The maximum number of orders that wait for their launch; further ones are answered with 503.
    #[arg(long, env = "ORDERSAGA_BACKLOG_MAX", default_value_t = 100_000,
          value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub backlog_max: u64,

    /// How many orders per second count as a burst. During a burst few orders are launched, so that
    /// the machine can accept more; for at most a minute at a stretch, and at most half of the
    /// time. Afterwards all are launched, oldest first.
    #[arg(long, env = "ORDERSAGA_BURST_PER_SECOND", default_value_t = BURST_PER_SECOND)]
    pub burst_per_second: NonZeroU32,

    #[command(flatten)]
    pub(crate) webhooks: Webhooks,

    #[command(flatten)]
    pub(crate) tokens: Tokens,
}

/// How Stripe's webhooks are verified.
#[derive(Clone, Debug, Args)]
pub(crate) struct Webhooks {
    /// The signing secrets of Stripe's webhook endpoint, separated by commas; any of them is
    /// accepted, so that they can be rotated. Without one, webhooks are refused.
    #[arg(long, env = "STRIPE_WEBHOOK_SECRETS", hide_env_values = true)]
    stripe_webhook_secrets: Option<Secrets>,

    /// The mode of the Stripe account; events of the other mode are refused.
    #[arg(long, env = "STRIPE_WEBHOOK_MODE",
          value_parser = PossibleValuesParser::new(StripeMode::NAMES).try_map(|mode| mode.parse::<StripeMode>()))]
    stripe_webhook_mode: Option<StripeMode>,
}

/// Secrets, which are never printed.
#[derive(Clone)]
struct Secrets(String);

impl From<String> for Secrets {
    fn from(secrets: String) -> Self {
        Self(secrets)
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

/// The issuer of accepted tokens: the starter itself, or an identity provider.
#[derive(Clone, Debug, Args)]
pub(crate) struct Tokens {
    /// The audience that tokens must have in their `aud`.
    #[arg(long, env = "ORDERSAGA_AUDIENCE", default_value = "ordersaga")]
    audience: String,

    /// The starter's public URL, which is the issuer of its own tokens; if left out, http:// and
    /// the address it listens on.
    #[arg(long, env = "ORDERSAGA_PUBLIC_URL")]
    public_url: Option<Url>,

    /// The lifetime of the starter's own tokens, in seconds.
    #[arg(long, env = "ORDERSAGA_TOKEN_SECONDS", default_value_t = 900,
          value_parser = clap::value_parser!(u64).range(60..=86_400))]
    token_seconds: u64,

    /// Programs and staff that can get tokens here, as name:role:secret, separated by commas; a
    /// role is service, operator or finance. The list replaces all earlier clients; if left out,
    /// earlier ones stay.
    #[arg(long, env = "ORDERSAGA_CLIENTS", hide_env_values = true)]
    clients: Option<String>,

    /// The issuer URL of an identity provider, exactly as in the `iss` of its tokens. With it, the
    /// starter issues no tokens of its own.
    #[arg(long, env = "ORDERSAGA_OIDC_ISSUER")]
    oidc_issuer: Option<String>,

    /// The URL of the identity provider's keys (JWKS); if left out, it is taken from the discovery
    /// document.
    #[arg(long, env = "ORDERSAGA_OIDC_JWKS_URL")]
    oidc_jwks_url: Option<Url>,

    /// The `typ` of the identity provider's access tokens. Some use JWT.
    #[arg(long, env = "ORDERSAGA_OIDC_TOKEN_TYPE", default_value = "at+jwt")]
    oidc_token_type: String,

    /// The claim that lists roles: a name, or a JSON pointer such as `/realm_access/roles`.
    #[arg(long, env = "ORDERSAGA_OIDC_ROLES_CLAIM", default_value = "roles")]
    oidc_roles_claim: String,

    /// The claim with the customer's id: a name, or a JSON pointer.
    #[arg(long, env = "ORDERSAGA_OIDC_CUSTOMER_CLAIM", default_value = "sub")]
    oidc_customer_claim: String,
}

impl ServeArgs {
    /// The defaults and limits for requests.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            body_bytes_max: self.body_bytes_max,
            request_timeout: Duration::from_secs(self.request_timeout_seconds),
            headers_timeout: Duration::from_secs(self.headers_timeout_seconds),
            body_timeout: Duration::from_secs(self.body_timeout_seconds),
            send_timeout: Duration::from_secs(self.send_timeout_seconds),
            idle_timeout: Duration::from_secs(self.idle_timeout_seconds),
            connections_max: many(self.connections_max),
            connections_per_address: many(self.connections_per_address),
            requests_max: many(self.requests_max),
            requests_per_caller: many(self.requests_per_caller),
            rate_per_address: self.rate_per_address,
            rate_per_token: self.rate_per_token,
            registrations_per_address: self.registrations_per_address,
            trusted_proxies: self.trusted_proxies.into(),
            proxy_header: self.proxy_header,
            notice: Duration::from_secs(self.notice_seconds),
            streams_max: many(self.streams_max),
            streams_per_caller: many(self.streams_per_caller),
            waits_max: many(self.waits_max),
            waits_per_caller: many(self.waits_per_caller),
            cancel_window_seconds: self.cancel_window_seconds,
            patience_seconds: self.patience_seconds,
            capture_at: self.capture,
            payment_provider: self.api_payment_provider,
            approval_seconds: self
                .approval_seconds
                .unwrap_or_else(|| self.api_payment_provider.approval_seconds()),
            payment_retry_seconds: self.payment_retry_seconds,
            screening: (self.screening == "on")
                .then_some(Screening { review_seconds: self.review_seconds }),
            backlog_max: self.backlog_max,
            burst_per_second: self.burst_per_second,
        }
    }

    /// The settings for verifying webhooks, if they are accepted.
    ///
    /// **Errors.** A secret is invalid, or the mode is missing. No secret is repeated.
    pub fn webhooks(&self) -> Result<Option<StripeWebhooks>> {
        let Webhooks { stripe_webhook_secrets, stripe_webhook_mode } = &self.webhooks;
        let secrets = stripe_webhook_secrets.as_ref().map(|Secrets(secrets)| secrets.as_str());
        let Some(secrets) = secrets.filter(|secrets| !secrets.trim().is_empty()) else {
            return Ok(None);
        };
        let mode = stripe_webhook_mode
            .context("STRIPE_WEBHOOK_SECRETS is set: set STRIPE_WEBHOOK_MODE to live or test")?;
        StripeWebhooks::new(secrets, mode).map(Some).context("STRIPE_WEBHOOK_SECRETS")
    }

    /// The issuer whose tokens are accepted.
    ///
    /// **Errors.** A client's entry is invalid, or a URL is not protected by TLS. Entries are not
    /// repeated, because they contain secrets.
    pub fn identity(&self, database: &PgPool) -> Result<Identity> {
        let tokens = self.tokens.clone();
        let Some(issuer) = &tokens.oidc_issuer else {
            let here = || format!("http://{}", self.listen);
            let public_url = tokens.public_url.as_ref();
            let issuer = public_url.map_or_else(here, |url| url.as_str().to_owned());
            return Ok(Identity::embedded(
                database.clone(),
                EmbeddedSettings {
                    issuer: issuer.trim_end_matches('/').to_owned(),
                    audience: tokens.audience,
                    token_lifetime: Duration::from_secs(tokens.token_seconds),
                    clients: tokens.clients.as_deref().map(clients).transpose()?,
                },
            ));
        };
        let place = Url::parse(issuer).context("ORDERSAGA_OIDC_ISSUER is no URL")?;
        for url in [Some(&place), tokens.oidc_jwks_url.as_ref()].into_iter().flatten() {
            ensure!(is_safe(url), "an identity provider is reached by https://, not by {url}");
        }
        Ok(Identity::external(ExternalIssuer {
            // Issuers are compared byte for byte, so the URL is not normalised.
            issuer: issuer.clone(),
            jwks_url: tokens.oidc_jwks_url,
            audience: tokens.audience,
            token_type: tokens.oidc_token_type,
            roles_claim: tokens.oidc_roles_claim,
            customer_claim: tokens.oidc_customer_claim,
            refetch_pause: REFETCH_PAUSE,
            http: http_client()?,
        }))
    }

    /// The connection pool, which connects on first use, so that the starter can start before its
    /// database.
    pub fn database(&self, url: &str) -> Result<PgPool> {
        let settings = PoolSettings {
            program: "ordersaga-starter",
            connections: self.api_database_connections,
            acquire_timeout: Duration::from_secs(2),
            // A statement that outlives its caller would only block others.
            statement_timeout: Some(Duration::from_secs(4)),
            lock_timeout: Some(Duration::from_secs(2)),
            // A broken connection costs one caller a 503; testing before each use would cost every
            // caller a round trip.
            test_before_acquire: false,
        };
        settings.lazy(url).context("the starter's database URL")
    }
}

/// Converts a setting to `usize`.
fn many(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// **Errors.** An entry is invalid; it is identified by its position, because it contains a secret.
fn clients(written: &str) -> Result<Vec<Client>> {
    let entries = written.split(',').filter(|entry| !entry.trim().is_empty()).enumerate();
    let client = |(index, entry): (usize, &str)| {
        let number = index.saturating_add(1);
        entry.parse().with_context(|| format!("ORDERSAGA_CLIENTS: entry {number}"))
    };
    entries.map(client).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        args: ServeArgs,
    }

    #[test]
    fn customers_have_the_time_that_their_way_of_paying_takes() {
        let seconds = |more: &[&str]| {
            let given = ["api", "--api-payment-provider"].iter().chain(more);
            Program::parse_from(given).args.limits().approval_seconds
        };
        assert_eq!(seconds(&["sandbox"]), 900);
        assert_eq!(seconds(&["stripe"]), 900);
        assert_eq!(seconds(&["bank-transfer"]), 604_800);
        assert_eq!(seconds(&["bank-transfer", "--approval-seconds", "2592000"]), 2_592_000);
        assert_eq!(seconds(&["stripe", "--approval-seconds", "60"]), 60);
    }
}
