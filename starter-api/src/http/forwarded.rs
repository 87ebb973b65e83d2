//! The client's address, as recorded by trusted proxies.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use clap::ValueEnum;

/// The header in which the trusted proxies write. The other one is ignored: a proxy that does not
/// know it passes on whatever a client has written there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The address that each proxy has recorded, the nearest proxy last; `None` for an element without
/// an address.
///
/// A comma ends an element even within quotes, because no address contains one: otherwise a client
/// could open a quote, and make the proxies' elements part of its own.
pub(super) fn callers(headers: &HeaderMap, header: ProxyHeader) -> Vec<Option<IpAddr>> {
    let name = match header {
        ProxyHeader::XForwardedFor => "x-forwarded-for",
        ProxyHeader::Forwarded => "forwarded",
    };
    let lines = headers.get_all(name).iter();
    // A line that is not text counts as one unreadable element.
    let elements = lines.flat_map(|line| line.to_str().unwrap_or_default().split(','));
    let read = |element: &str| match header {
        ProxyHeader::XForwardedFor => address(element),
        ProxyHeader::Forwarded => for_parameter(element).and_then(address),
    };
    elements.map(read).collect()
}

/// The value of `for` in an element such as `for="[2001:db8::1]:4711";proto=https`.
fn for_parameter(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    })
}

/// Parses an address as proxies write it: with or without a port, IPv6 in brackets or not, in
/// quotes or not. Obfuscated identifiers (`unknown`, `_hidden`) are not addresses.
fn address(written: &str) -> Option<IpAddr> {
    let node = written.trim().trim_matches('"').trim();
    if let Ok(address) = node.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(address) = node.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    // Without a port, or with an obfuscated one (`_abc`).
    if let Some((address, _port)) = node.strip_prefix('[').and_then(|node| node.split_once(']')) {
        return address.parse().ok();
    }
    let (address, _port) = node.rsplit_once(':')?;
    address.parse().ok().filter(IpAddr::is_ipv4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: ProxyHeader, name: &'static str, lines: &[&str]) -> Vec<Option<String>> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, line.parse().unwrap());
        }
        callers(&headers, header).iter().map(|it| it.map(|it| it.to_string())).collect()
    }

    fn one(written: &str) -> Option<String> {
        read(ProxyHeader::XForwardedFor, "x-forwarded-for", &[written]).pop().unwrap()
    }

    #[test]
    fn an_address_is_read_with_its_port_and_without() {
        for (written, address) in [
            ("203.0.113.7", "203.0.113.7"),
            ("203.0.113.7:40000", "203.0.113.7"),
            (" 203.0.113.7:_hidden ", "203.0.113.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:40000", "2001:db8::7"),
            ("\"[2001:db8::7]:_hidden\"", "2001:db8::7"),
        ] {
            assert_eq!(one(written).as_deref(), Some(address), "{written}");
        }
        for hidden in ["unknown", "_hidden", "", "203.0.113.7:", "300.1.1.1:5", "[", "1.2.3", ":1"]
        {
            let address = one(hidden);
            assert!(address.is_none() || hidden == "203.0.113.7:", "{hidden}: {address:?}");
        }
    }

    #[test]
    fn elements_are_read_in_order_over_several_lines() {
        let lines =
            ["for=192.0.2.43, For=\"[2001:db8:cafe::17]:4711\"", "proto=http;FOR=_x;by=1.1.1.1"];
        let told = read(ProxyHeader::Forwarded, "forwarded", &lines);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(told, [some("192.0.2.43"), some("2001:db8:cafe::17"), None]);
        assert!(read(ProxyHeader::Forwarded, "x-forwarded-for", &["1.1.1.1"]).is_empty());
        assert!(read(ProxyHeader::XForwardedFor, "forwarded", &["for=1.1.1.1"]).is_empty());
        // A quote opened by the client does not swallow what the proxy appends.
        let forged = read(ProxyHeader::Forwarded, "forwarded", &["for=\"x, for=203.0.113.7"]);
        assert_eq!(forged.last().unwrap().as_deref(), Some("203.0.113.7"));
    }
}
