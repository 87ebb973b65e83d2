//! Rate limits per address and per token, and limits on concurrent requests. Excess requests are
//! refused before any work is done, so that no queue builds up.

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, MatchedPath, Request, State as Shared};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

use crate::app::turn::Turn;
use crate::error::Problem;
use crate::http::forwarded::{self, ProxyHeader};
use crate::http::receive::Reception;
use crate::http::{Limits, observe};
use crate::shares::{Full, Place, Places, Who};

/// The header fields of draft-ietf-httpapi-ratelimit-headers.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The window of the rate limits; a caller may use the quota of a whole window in one burst.
const WINDOW_SECONDS: u32 = 2;

/// The window for registrations: a minute.
const REGISTRATIONS_WINDOW_SECONDS: u32 = 60;

/// The maximum number of passwords and secrets of one address that are being checked or wait for
/// it. Each takes a core about 20 ms, so other callers do not wait long behind them.
pub(super) const SECRETS_PER_ADDRESS: usize = 32;

/// Admits requests or refuses them. Shared by the whole process.
#[derive(Clone)]
pub(crate) struct Gate {
    addresses: Arc<Rate<IpAddr>>,
    tokens: Arc<Rate<u64>>,
    /// Registering reveals whether an e-mail address is known, so it has a stricter limit.
    registrations: Arc<Rate<IpAddr>>,
    /// Hashes tokens, so that they are not stored.
    hasher: RandomState,
    places: Places,
    /// Slots for requests that check a password or a secret.
    secrets: Places,
    /// Slots for gRPC streams without a server-side time limit.
    endless: Places,
    reception: Reception,
    proxies: usize,
    proxy_header: ProxyHeader,
    request_timeout: Duration,
}

/// A rate limit with a quota for each key.
struct Rate<K: Hash + Eq + Clone> {
    name: &'static str,
    quota: NonZeroU32,
    window_seconds: u32,
    /// The `RateLimit-Policy` header, prebuilt.
    policy: HeaderValue,
    limiter: RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock, StateInformationMiddleware>,
}

/// What a caller has left of the quota, or how long it has to wait.
struct QuotaState {
    left: u32,
    wait: Option<Duration>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("proxies", &self.proxies).finish_non_exhaustive()
    }
}

impl Gate {
    pub(crate) fn of(limits: &Limits) -> Self {
        Self {
            addresses: Arc::new(Rate::per_second("address", limits.rate_per_address)),
            tokens: Arc::new(Rate::per_second("token", limits.rate_per_token)),
            registrations: Arc::new(Rate::of(
                "registration",
                limits.registrations_per_address,
                REGISTRATIONS_WINDOW_SECONDS,
            )),
            hasher: RandomState::new(),
            places: Places::of(limits.requests_max, limits.requests_per_caller),
            secrets: Places::of(limits.requests_max, SECRETS_PER_ADDRESS),
            endless: Places::of(limits.streams_max, limits.streams_per_caller),
            reception: Reception::of(limits.body_bytes_max, limits.body_timeout),
            proxies: limits.trusted_proxies,
            proxy_header: limits.proxy_header,
            request_timeout: limits.request_timeout,
        }
    }

    /// Drops the state of idle callers, so that memory stays bounded.
    pub(crate) fn forget_idle(&self) {
        self.addresses.limiter.retain_recent();
        self.tokens.limiter.retain_recent();
        self.registrations.limiter.retain_recent();
    }

    /// The client's address: that of the connection, or the one recorded by the nearest trusted
    /// proxy.
    fn address(&self, request: &Request) -> Option<IpAddr> {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
        let Some(nearest) = self.proxies.checked_sub(1) else { return peer };
        let seen = forwarded::callers(request.headers(), self.proxy_header);
        seen.into_iter().rev().nth(nearest).flatten().or(peer)
    }
}

impl<K: Hash + Eq + Clone> Rate<K> {
    fn per_second(name: &'static str, number: NonZeroU32) -> Self {
        let quota = number.saturating_mul(NonZeroU32::MIN.saturating_add(WINDOW_SECONDS - 1));
        Self::of(name, quota, WINDOW_SECONDS)
    }

    fn of(name: &'static str, quota: NonZeroU32, window_seconds: u32) -> Self {
        let period = Duration::from_secs(window_seconds.into()).checked_div(quota.get());
        // A period below a nanosecond is treated as no limit.
        let rate = period.and_then(Quota::with_period);
        let rate = rate.unwrap_or(Quota::per_second(NonZeroU32::MAX));
        let limiter = RateLimiter::keyed(rate.allow_burst(quota)).with_middleware();
        let policy = format!("\"{name}\";q={quota};w={window_seconds}");
        // A name and two numbers are always a valid header value.
        let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static(""));
        Self { name, quota, window_seconds, policy, limiter }
    }

    fn ask(&self, key: &K) -> QuotaState {
        match self.limiter.check_key(key) {
            Ok(state) => QuotaState { left: state.remaining_burst_capacity(), wait: None },
            Err(until) => {
                let wait = until.wait_time_from(self.limiter.clock().now());
                QuotaState { left: 0, wait: Some(wait) }
            }
        }
    }

    /// Counts a request, and writes the remaining quota to the headers.
    ///
    /// **Errors.** 429 if the quota is exceeded.
    fn count(&self, key: &K, told: &mut HeaderMap) -> Result<(), Problem> {
        let state = self.ask(key);
        self.write(&state, told);
        state.wait.map_or(Ok(()), |wait| Err(Problem::too_many_requests(wait)))
    }

    /// Writes the policy and the remaining quota to the headers.
    fn write(&self, state: &QuotaState, headers: &mut HeaderMap) {
        let (name, left) = (self.name, state.left);
        // The whole quota is available again after one window, at the latest.
        let reset = if left < self.quota.get() { self.window_seconds } else { 0 };
        headers.append(RATE_LIMIT_POLICY, self.policy.clone());
        if let Ok(limit) = HeaderValue::try_from(format!("\"{name}\";r={left};t={reset}")) {
            headers.append(RATE_LIMIT, limit);
        }
    }
}

/// Admits a request, or refuses it with the time of a retry.
///
/// Every request counts against its address, so that trying many tokens is slowed down; one with a
/// token also counts against the token, whatever its address. A concurrency slot is taken once the
/// whole request has been received, and released when it is answered, or when it only waits.
pub(crate) async fn admit(Shared(gate): Shared<Gate>, request: Request, next: Next) -> Response {
    if is_probe(&request) {
        return observe::in_time(gate.request_timeout, next.run(request)).await;
    }
    let address = gate.address(&request).map(block_of);
    let token = request.headers().get(header::AUTHORIZATION);
    let token = token.map(|token| gate.hasher.hash_one(token));
    let mut quota_headers = HeaderMap::new();
    let mut response = match gate.count(&request, address, token, &mut quota_headers) {
        Ok(()) => match gate.work_on(request, address, token, next).await {
            Ok(response) => response,
            Err(problem) => problem.into_response(),
        },
        Err(problem) => problem.into_response(),
    };
    response.headers_mut().extend(quota_headers);
    response
}

impl Gate {
    /// Counts the request against the rate limits.
    ///
    /// **Errors.** 429 if a quota is exceeded.
    fn count(
        &self,
        request: &Request,
        address: Option<IpAddr>,
        token: Option<u64>,
        told: &mut HeaderMap,
    ) -> Result<(), Problem> {
        if let Some(address) = address {
            self.addresses.count(&address, told)?;
            if is_registration(request) {
                self.registrations.count(&address, told)?;
            }
        }
        token.map_or(Ok(()), |token| self.tokens.count(&token, told))
    }

    /// Takes further slots that the request needs because they are scarce.
    ///
    /// **Errors.** 503 if this caller's share is exhausted.
    fn take_besides(&self, request: &Request, address: Option<IpAddr>) -> Result<Besides, Problem> {
        let callers = || [address.map(Who::Address), None];
        let secret = checks_a_secret(request).then(|| self.secrets.take(callers())).transpose();
        let secret = secret.map_err(|_full| {
            Problem::overloaded("Too many passwords of this address are being checked.")
        })?;
        let endless = is_endless(request).then(|| self.endless.take(callers())).transpose();
        let endless = endless
            .map_err(|_full| Problem::overloaded("Too many streams of this kind are open."))?;
        Ok(Besides { _secret: secret, endless })
    }

    /// Receives the body, waits for a slot, and processes the request.
    async fn work_on(
        &self,
        request: Request,
        address: Option<IpAddr>,
        token: Option<u64>,
        next: Next,
    ) -> Result<Response, Problem> {
        let (mut request, memory) = self.reception.receive(request, address).await?;
        let callers = [address.map(Who::Address), token.map(Who::Token)];
        let place = self.places.take(callers).map_err(|full| {
            Problem::overloaded(match full {
                Full::Caller => {
                    "This caller has reached the limit of concurrent requests. Wait for responses \
                     before sending more."
                }
                Full::All => "This process has reached its limit of concurrent requests.",
            })
        })?;
        let besides = self.take_besides(&request, address)?;
        let turn = Turn::taking(place, address);
        request.extensions_mut().insert(turn.clone());
        let mut response = observe::in_time(self.request_timeout, next.run(request)).await;
        turn.give_up();
        drop(memory);
        if let Some(stream) = besides.endless {
            response.extensions_mut().insert(Turn::taking(stream, address));
        }
        Ok(response)
    }
}

/// The further slots of a request.
struct Besides {
    _secret: Option<Place>,
    endless: Option<Place>,
}

/// Probes are always admitted: monitoring must work under full load.
fn is_probe(request: &Request) -> bool {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    matches!(route, Some("/health" | "/ready" | "/metrics"))
}

/// Whether the request checks or hashes a password or a secret, which is deliberately slow.
fn checks_a_secret(request: &Request) -> bool {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let is_write = matches!(*request.method(), Method::POST | Method::PUT);
    let has_secret = matches!(
        route,
        Some(
            "/v1/sessions"
                | "/v1/customers"
                | "/v1/customers/{customer_id}/password"
                | "/oauth/token"
        )
    );
    is_write && has_secret
}

/// Whether the response is a stream whose end the client decides.
fn is_endless(request: &Request) -> bool {
    let path = request.uri().path();
    path.starts_with("/grpc.reflection.")
        || (path.starts_with("/grpc.health.") && path.ends_with("/Watch"))
}

fn is_registration(request: &Request) -> bool {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    request.method() == Method::POST && route == Some("/v1/customers")
}

/// The /64 block of an IPv6 address: a household or company is assigned a whole block, and counts
/// as one caller.
pub(crate) fn block_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn address_behind(proxies: usize, forwarded: &[&str]) -> Option<String> {
        let limits = Limits { trusted_proxies: proxies, ..Limits::default() };
        let peer: SocketAddr = "10.0.0.1:5000".parse().unwrap();
        let mut request = Request::get("/").extension(ConnectInfo(peer));
        for header in forwarded {
            request = request.header("x-forwarded-for", *header);
        }
        let request = request.body(Body::empty()).unwrap();
        Gate::of(&limits).address(&request).map(|address| address.to_string())
    }

    #[test]
    fn a_callers_address_is_believed_only_from_the_proxies_that_are_trusted() {
        let forged = ["1.1.1.1, 2.2.2.2", "3.3.3.3"];
        assert_eq!(address_behind(0, &forged).unwrap(), "10.0.0.1");
        assert_eq!(address_behind(1, &forged).unwrap(), "3.3.3.3");
        assert_eq!(address_behind(2, &forged).unwrap(), "2.2.2.2");
        assert_eq!(address_behind(9, &forged).unwrap(), "10.0.0.1");
        assert_eq!(address_behind(1, &["not an address"]).unwrap(), "10.0.0.1");
        assert_eq!(address_behind(1, &["1.1.1.1", "3.3.3.3:40000"]).unwrap(), "3.3.3.3");
        assert_eq!(address_behind(1, &["[2001:db8::1]:40000"]).unwrap(), "2001:db8::1");
    }

    #[test]
    fn a_block_of_addresses_is_one_caller() {
        let block = |address: &str| block_of(address.parse().unwrap()).to_string();
        assert_eq!(block("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(block("::ffff:192.0.2.7"), "192.0.2.7");
    }

    #[test]
    fn a_token_that_has_used_up_its_quota_waits_and_another_does_not() {
        let rate = Rate::per_second("token", NonZeroU32::MIN);
        let asked: Vec<_> = (0..4).map(|_| rate.ask(&1).left).collect();
        assert_eq!(asked, [1, 0, 0, 0]);
        assert!(rate.ask(&1).wait.is_some());
        assert!(rate.ask(&2).wait.is_none());
    }
}
