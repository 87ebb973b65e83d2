//! Requests to URLs that somebody else has chosen: they must not reach the shop's own network
//! (server-side request forgery).
//!
//! Somebody who registers a receiver could name an internal host: a database, another program's
//! port, or a cloud's metadata service with the machine's credentials. So a receiver's URL is
//! checked, and its name is resolved by [`OutsideOnly`], which gives the client public addresses
//! only. The client connects to the very address that was checked, so changing the DNS record in
//! between (DNS rebinding) does not help. An operator can list internal hosts that are allowed.
//!
//! **Source.** The IANA registries of special-purpose addresses, for IPv4 and IPv6.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::http::client_builder;

/// The longest URL of a receiver.
pub const URL_BYTES_MAX: usize = 2_048;

/// The time limit for resolving a name while its URL is checked.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// Internal hosts that requests are allowed to go to.
///
/// **Shape.** Hosts separated by commas, with or without a port: `erp.internal,10.0.0.7:8080`. With
/// a port, only that port is allowed; without one, all ports are. A host may be listed several
/// times. Listed hosts may be called without TLS. Names are compared without regard to case or a
/// trailing dot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InternalHosts(Vec<(String, Option<u16>)>);

/// The text is not a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no host: name it as in a URL, with its port or without, such as erp.internal:8080"
)]
pub struct NotAHost(String);

/// Why a URL is not allowed as a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReceiver {
    /// It cannot be parsed, or is too long.
    #[error("a URL such as https://erp.example.org/events, of at most {max} bytes", max = URL_BYTES_MAX)]
    NoUrl,
    /// Without TLS, anybody on the network path could read the message.
    #[error("a URL that begins with https://")]
    NotHttps,
    /// User names and passwords in URLs end up in logs.
    #[error("a URL without a user's name and password")]
    WithUserInfo,
    /// A fragment is never sent, so its author expects something else.
    #[error("a URL without a fragment")]
    WithFragment,
    /// Its host is in a private or reserved network.
    #[error("a host on the internet: this one is inside a private network, or reserved")]
    NotPublic,
}

/// All addresses of a name are in private or reserved networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its name leads into a private network")]
pub struct LeadsInside;

/// A resolver that returns public addresses only, except for listed hosts.
///
/// The client does not call the resolver for a literal IP address, and does not tell it the port:
/// [`checked`] covers both.
#[derive(Clone, Debug, Default)]
pub struct OutsideOnly(InternalHosts);

impl FromStr for InternalHosts {
    type Err = NotAHost;

    fn from_str(text: &str) -> Result<Self, NotAHost> {
        let hosts = text.split(',').map(str::trim).filter(|host| !host.is_empty());
        hosts.map(|host| host_of(host).ok_or_else(|| NotAHost(host.to_owned()))).collect()
    }
}

impl FromIterator<(String, Option<u16>)> for InternalHosts {
    fn from_iter<I: IntoIterator<Item = (String, Option<u16>)>>(hosts: I) -> Self {
        Self(hosts.into_iter().collect())
    }
}

impl fmt::Display for InternalHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (host, port)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{host}")?;
            if let Some(port) = port {
                write!(f, ":{port}")?;
            }
        }
        Ok(())
    }
}

impl InternalHosts {
    /// How the list applies to the URL's host and port.
    fn listing_of(&self, url: &Url) -> Listing {
        let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default());
        if self.ports_of(host).any(|only| only.is_none() || only == port) {
            Listing::Listed
        } else if self.names(host) {
            Listing::AtOtherPorts
        } else {
            Listing::Unlisted
        }
    }

    /// Whether a host is listed for any port. [`checked`] checks the port.
    fn names(&self, host: &str) -> bool {
        self.ports_of(host).next().is_some()
    }

    /// The ports that a host is listed with; `None` stands for all ports.
    fn ports_of(&self, host: &str) -> impl Iterator<Item = Option<u16>> {
        let host = without_dot(host);
        let entries = self.0.iter().filter(move |(listed, _)| listed.eq_ignore_ascii_case(host));
        entries.map(|(_, port)| *port)
    }
}

/// How a list of internal hosts applies to a URL.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listing {
    /// Its host is listed for its port.
    Listed,
    /// Its host is listed, but only for other ports.
    AtOtherPorts,
    /// Its host is not listed.
    Unlisted,
}

/// A name without the trailing dot, which means the same host.
fn without_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// Parses a host in URL form, and its port if there is one.
fn host_of(text: &str) -> Option<(String, Option<u16>)> {
    let read = |scheme: &str| Url::parse(&format!("{scheme}://{text}")).ok();
    let (url, other) = (read("http")?, read("https")?);
    let is_bare = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && !text.ends_with('/');
    // A scheme's default port is dropped from the URL, so two schemes are tried.
    let port = url.port().or_else(|| other.port());
    let host = url.host_str().map(without_dot).filter(|host| is_bare && !host.is_empty())?;
    Some((host.to_owned(), port))
}

/// Checks a receiver's URL, except for what needs name resolution.
///
/// Call it before each request: the client does not resolve a literal IP address, and its resolver
/// does not know the port.
///
/// **Errors.** [`BadReceiver`].
pub fn checked(url: &str, internal: &InternalHosts) -> Result<Url, BadReceiver> {
    // Normalisation can make the URL longer, so the result is measured too.
    let url =
        Some(url).filter(|url| url.len() <= URL_BYTES_MAX).and_then(|url| Url::parse(url).ok());
    let url = url.filter(|url| url.as_str().len() <= URL_BYTES_MAX).ok_or(BadReceiver::NoUrl)?;
    let listing = internal.listing_of(&url);
    match (url.scheme(), listing) {
        // The resolver does not know the port, so it would return the address.
        ("https" | "http", Listing::AtOtherPorts) => return Err(BadReceiver::NotPublic),
        ("https", Listing::Listed | Listing::Unlisted) | ("http", Listing::Listed) => {}
        ("http", Listing::Unlisted) => return Err(BadReceiver::NotHttps),
        _ => return Err(BadReceiver::NoUrl),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BadReceiver::WithUserInfo);
    }
    if url.fragment().is_some() {
        return Err(BadReceiver::WithFragment);
    }
    let is_inside = address_of(&url).is_some_and(|address| !is_public(address));
    let is_refused = is_inside && listing != Listing::Listed;
    if is_refused { Err(BadReceiver::NotPublic) } else { Ok(url) }
}

/// The same as [`checked`], and resolves the name: one with only internal addresses is refused at
/// once. A name that does not resolve is accepted, because it may resolve later; it is resolved
/// again for each connection.
///
/// **Errors.** As [`checked`].
pub async fn looked_up(url: &str, internal: &InternalHosts) -> Result<Url, BadReceiver> {
    let url = checked(url, internal)?;
    if internal.listing_of(&url) == Listing::Listed || address_of(&url).is_some() {
        return Ok(url);
    }
    let host = url.host_str().unwrap_or_default().to_owned();
    let Ok(Ok(found)) = timeout(LOOK_UP_TIMEOUT, lookup_host((host.as_str(), 443))).await else {
        return Ok(url);
    };
    let mut found = found.peekable();
    let leads_inside = found.peek().is_some() && found.all(|address| !is_public(address.ip()));
    if leads_inside { Err(BadReceiver::NotPublic) } else { Ok(url) }
}

/// The host, if it is an IP address. URL parsing turns every notation of an IPv4 address (`0x7f.1`)
/// into dotted decimal.
fn address_of(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// An HTTP client for receivers that somebody else has chosen. It follows no redirects, which could
/// lead anywhere, and uses no proxy, which would resolve names itself.
///
/// **Errors.** TLS is not available.
pub fn outside_client(
    internal: &InternalHosts,
    connect_timeout: Duration,
    answer_timeout: Duration,
) -> reqwest::Result<Client> {
    client_builder()
        .dns_resolver(OutsideOnly::but(internal))
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(connect_timeout)
        .timeout(answer_timeout)
        .user_agent(concat!("ordersaga/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Whether a request failed because its host resolves to an internal address.
#[must_use]
pub fn led_inside(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        if error.is::<LeadsInside>() {
            return true;
        }
        cause = error.source();
    }
    false
}

impl OutsideOnly {
    /// The same, with these internal hosts allowed.
    #[must_use]
    pub fn but(internal: &InternalHosts) -> Self {
        Self(internal.clone())
    }
}

impl Resolve for OutsideOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let may_be_inside = self.0.names(name.as_str());
        Box::pin(async move {
            let found = lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> =
                found.filter(|found| may_be_inside || is_public(found.ip())).collect();
            if allowed.is_empty() {
                return Err(LeadsInside.into());
            }
            let allowed: Addrs = Box::new(allowed.into_iter());
            Ok(allowed)
        })
    }
}

/// Whether an address is globally routable.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, fourth] = address.octets();
    !matches!(
        (first, second, third, fourth),
        // "This host", private, loopback, multicast, reserved and broadcast.
        (0 | 10 | 127 | 224..=255, ..)
            // Carrier-grade NAT, where one cloud also has its metadata service.
            | (100, 64..=127, ..)
            // Link-local, where most clouds have their metadata service.
            | (169, 254, ..)
            | (172, 16..=31, ..)
            | (192, 168, ..)
            // IETF protocol assignments, and documentation.
            | (192, 0, 0 | 2, _)
            // 6to4 relay anycast.
            | (192, 88, 99, _)
            // Benchmarking.
            | (198, 18 | 19, ..)
            | (198, 51, 100, _)
            | (203, 0, 113, _)
            // One cloud's metadata service, which has a public address.
            | (168, 63, 129, 16)
    )
}

/// Only global unicast addresses are public. This excludes every form that embeds an IPv4 address:
/// mapped, compatible and NAT64 addresses, and, within global unicast, Teredo and 6to4.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let is_given_out = (0x2000..=0x3fff).contains(&first);
    let is_special = match first {
        // IETF protocol assignments (including Teredo), and documentation.
        0x2001 => second < 0x0200 || second == 0x0db8,
        // 6to4.
        0x2002 => true,
        // Documentation.
        0x3fff => second < 0x1000,
        _ => false,
    };
    is_given_out && !is_special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beside_a_network_is_the_internet() {
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.17",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.0.3.1",
            "192.88.98.1",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "203.0.114.0",
            "223.255.255.255",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700:4700::1111",
            "3fff:1000::1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn what_is_inside_a_network_is_not_the_internet() {
        for inside in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.0",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            // Embedded IPv4: mapped, compatible, NAT64, Teredo, 6to4.
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::10.0.0.1",
            "2001::1",
            "2002:7f00:1::1",
            "2001:db8::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
    }

    #[test]
    fn a_receivers_url_is_on_the_internet_and_says_nothing_secret() {
        let none = InternalHosts::default();
        for good in ["https://erp.example.org/events", "https://erp.example.org:8443/a?b=c"] {
            assert_eq!(checked(good, &none).unwrap().as_str(), good);
        }
        let long = format!("https://erp.example.org/{}", "a".repeat(URL_BYTES_MAX));
        for (bad, why) in [
            ("", BadReceiver::NoUrl),
            ("erp.example.org", BadReceiver::NoUrl),
            ("ftp://erp.example.org/", BadReceiver::NoUrl),
            ("file:///etc/passwd", BadReceiver::NoUrl),
            (&*long, BadReceiver::NoUrl),
            ("http://erp.example.org/", BadReceiver::NotHttps),
            ("https://eve@erp.example.org/", BadReceiver::WithUserInfo),
            ("https://:secret@erp.example.org/", BadReceiver::WithUserInfo),
            ("https://erp.example.org/#part", BadReceiver::WithFragment),
            ("https://127.0.0.1/", BadReceiver::NotPublic),
            // Other notations of the same address.
            ("https://2130706433/", BadReceiver::NotPublic),
            ("https://0x7f.1/", BadReceiver::NotPublic),
            ("https://0177.0.0.1/", BadReceiver::NotPublic),
            ("https://169.254.169.254/latest/meta-data/", BadReceiver::NotPublic),
            ("https://[::1]/", BadReceiver::NotPublic),
            ("https://[::ffff:10.0.0.1]/", BadReceiver::NotPublic),
        ] {
            assert_eq!(checked(bad, &none), Err(why), "{bad}");
        }
    }

    #[test]
    fn a_host_inside_is_asked_if_it_is_listed_and_at_its_port_alone() {
        let internal: InternalHosts = "erp.internal, 10.0.0.7:8080,[fd00::7]:80".parse().unwrap();
        assert_eq!(internal.to_string(), "erp.internal,10.0.0.7:8080,[fd00::7]:80");
        for good in [
            "http://erp.internal/events",
            "https://erp.internal:8443/events",
            "http://10.0.0.7:8080/",
            "http://[fd00::7]/",
        ] {
            assert!(checked(good, &internal).is_ok(), "{good}");
        }
        for bad in ["http://10.0.0.7/", "https://10.0.0.8:8080/", "http://other.internal/"] {
            assert!(checked(bad, &internal).is_err(), "{bad}");
        }
        let refused = checked("ftp://erp.internal/", &internal);
        assert_eq!(refused, Err(BadReceiver::NoUrl));
        assert_eq!("".parse(), Ok(InternalHosts::default()));
        for none in ["http://erp.internal", "erp.internal/", "erp.internal/a", "eve@erp.internal"] {
            assert_eq!(none.parse::<InternalHosts>(), Err(NotAHost(none.to_owned())), "{none}");
        }
    }

    #[tokio::test]
    async fn a_host_that_is_listed_with_ports_is_asked_at_no_other() {
        let listed = "ERP.internal.:8080,erp.internal:8443,10.0.0.7:8080,web.internal:80,\
                      tls.internal:443,any.internal,any.internal:8080";
        let internal: InternalHosts = listed.parse().unwrap();
        for good in [
            "https://erp.internal:8080/",
            "http://erp.internal:8443/",
            "https://ERP.INTERNAL.:8080/",
            "http://erp%2Einternal:8080/",
            "https://10.0.0.7:8080/",
            "http://10.0.0.7.:8080/",
            "http://web.internal/",
            "https://web.internal:80/",
            "https://tls.internal/",
            "http://tls.internal:443/",
            "https://any.internal:9200/",
            "http://Any.Internal.:9200/",
        ] {
            assert!(looked_up(good, &internal).await.is_ok(), "{good}");
        }
        for bad in [
            "https://erp.internal:9200/",
            "http://erp.internal:9200/",
            "https://erp.internal/",
            "http://erp.internal/",
            "https://ERP.INTERNAL:9200/",
            "https://erp.internal.:9200/",
            "https://erp%2Einternal:9200/",
            "https://10.0.0.7:9200/",
            "http://10.0.0.7:9200/",
            "https://10.0.0.7/",
            "https://0xa000007:9200/",
            "https://web.internal/",
            "http://tls.internal/",
        ] {
            assert_eq!(checked(bad, &internal), Err(BadReceiver::NotPublic), "{bad}");
            assert_eq!(looked_up(bad, &internal).await, Err(BadReceiver::NotPublic), "{bad}");
        }
        assert!(".".parse::<InternalHosts>().is_err());
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_resolved_for_listed_hosts_alone() {
        let name = || "localhost".parse::<Name>().unwrap();
        let refused = OutsideOnly::default().resolve(name()).await.err().unwrap();
        assert!(refused.is::<LeadsInside>(), "{refused}");
        let listed = OutsideOnly::but(&"LOCALHOST.".parse().unwrap());
        assert!(listed.resolve(name()).await.unwrap().all(|found| found.ip().is_loopback()));

        let none = InternalHosts::default();
        let inside = looked_up("https://localhost/", &none).await;
        assert_eq!(inside, Err(BadReceiver::NotPublic));
        let unknown = looked_up("https://nobody.invalid/", &none).await;
        assert!(unknown.is_ok(), "{unknown:?}");
    }

    #[tokio::test]
    async fn the_client_connects_to_nothing_inside_and_says_why() {
        let seconds = Duration::from_secs;
        let client = outside_client(&InternalHosts::default(), seconds(5), seconds(5)).unwrap();
        let refused = client.get("http://localhost:9/").send().await.unwrap_err();
        assert!(led_inside(&refused), "{refused:?}");
    }
}
