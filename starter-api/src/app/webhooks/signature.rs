//! Verifies Stripe's webhook signatures, in the header `Stripe-Signature`.
//!
//! **Source.** Stripe's documentation of webhook signatures: `t=…,v1=…`, where `t` is a Unix
//! timestamp and each `v1` is an HMAC-SHA256 in hexadecimal, keyed with the endpoint's secret, over
//! the timestamp, a full stop and the raw body. During a rotation there is a `v1` for each secret.
//! Other schemes are ignored.

use std::fmt;
use std::str::FromStr;

use ring::hmac::{Context, HMAC_SHA256, Key, Tag};
use strum::{EnumString, IntoStaticStr};
use subtle::ConstantTimeEq as _;

/// How far the signed timestamp may differ from now, in seconds, in either direction.
pub(crate) const TOLERANCE_SECONDS: u64 = 300;

/// The maximum number of signatures in a header. Each costs a comparison, and Stripe sends one for
/// each secret.
const SIGNATURES_MAX: usize = 16;

/// The maximum number of secrets. Each costs a pass over the body.
const SECRETS_MAX: usize = 8;

/// The prefix of Stripe's signing secrets.
const PREFIX: &str = "whsec_";

/// The minimum length of a secret.
const SECRET_MIN: usize = 16;

/// The length of a signature, in bytes.
const SIGNATURE_BYTES: usize = 32;

/// The mode of a Stripe account: whether its events are about real money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum StripeMode {
    /// Real money.
    Live,
    /// Test money.
    Test,
}

/// The secrets and the mode by which webhooks are verified. The secrets are never printed.
#[derive(Clone)]
pub struct StripeWebhooks {
    keys: Vec<Key>,
    mode: StripeMode,
}

/// Why the webhook settings are invalid. No secret is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWebhooks {
    /// It does not look like a Stripe secret.
    #[error("secret {0} is none: Stripe's begin with whsec_, and have 16 characters or more")]
    NoSecret(usize),
    /// More secrets than are ever in use.
    #[error("there are more than {max} secrets", max = SECRETS_MAX)]
    TooMany,
}

/// Why a webhook is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsigned {
    /// The header cannot be parsed.
    Unreadable,
    /// No secret matches the signature.
    Forged,
    /// The timestamp is too far in the past or in the future.
    Untimely,
}

impl fmt::Debug for StripeWebhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StripeWebhooks").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl StripeMode {
    /// The names, as used in the settings.
    pub const NAMES: [&'static str; 2] = ["live", "test"];

    /// The name, for logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl StripeWebhooks {
    /// Parses the endpoint's signing secrets, separated by commas; any of them is accepted.
    ///
    /// **Errors.** One of them is invalid, identified by its position.
    pub fn new(secrets: &str, mode: StripeMode) -> Result<Self, InvalidWebhooks> {
        let secrets = secrets.split(',').map(str::trim).filter(|secret| !secret.is_empty());
        let keys = secrets.zip(1..).map(|(secret, place)| {
            let is_secret = secret.starts_with(PREFIX)
                && secret.len() >= SECRET_MIN
                && secret.bytes().all(|byte| byte.is_ascii_graphic());
            let key = is_secret.then(|| Key::new(HMAC_SHA256, secret.as_bytes()));
            key.ok_or(InvalidWebhooks::NoSecret(place))
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        match keys.len() {
            0 => Err(InvalidWebhooks::NoSecret(1)),
            1..=SECRETS_MAX => Ok(Self { keys, mode }),
            _ => Err(InvalidWebhooks::TooMany),
        }
    }

    /// The mode that events must have.
    pub(crate) const fn mode(&self) -> StripeMode {
        self.mode
    }

    /// The header that Stripe sends with a body, signed with the first secret.
    #[cfg(fuzzing)]
    pub(crate) fn signed(&self, body: &[u8], now: u64) -> Option<String> {
        let moment = now.to_string();
        let tag = tag(self.keys.first()?, &moment, body);
        let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Some(format!("t={moment},v1={digits}"))
    }

    /// Verifies that one of the secrets has signed the raw body, and not long ago; `now` is a Unix
    /// timestamp.
    pub(crate) fn verify(&self, header: &[u8], body: &[u8], now: u64) -> Result<(), Unsigned> {
        let Signed { moment, signatures } = Signed::read(header).ok_or(Unsigned::Unreadable)?;
        let tags: Vec<_> = self.keys.iter().map(|key| tag(key, moment, body)).collect();
        // Constant time: every signature is compared with every tag, even after a match.
        let is_signed = signatures.iter().fold(false, |is_signed, signature| {
            tags.iter().fold(is_signed, |is_signed, tag| {
                is_signed | bool::from(tag.as_ref().ct_eq(signature.as_slice()))
            })
        });
        if !is_signed {
            return Err(Unsigned::Forged);
        }
        // The timestamp is checked last, so that only holders of a secret learn that it is the
        // problem.
        let is_timely = u64::from_str(moment).is_ok_and(|at| at.abs_diff(now) <= TOLERANCE_SECONDS);
        if is_timely { Ok(()) } else { Err(Unsigned::Untimely) }
    }
}

fn tag(key: &Key, moment: &str, body: &[u8]) -> Tag {
    let mut context = Context::with_key(key);
    context.update(moment.as_bytes());
    context.update(b".");
    context.update(body);
    context.sign()
}

/// The parsed header.
#[derive(Debug, PartialEq, Eq)]
struct Signed<'a> {
    /// The raw text, because the signature covers it.
    moment: &'a str,
    signatures: Vec<[u8; SIGNATURE_BYTES]>,
}

impl<'a> Signed<'a> {
    /// `None` if the header cannot be parsed.
    fn read(header: &'a [u8]) -> Option<Self> {
        let header = std::str::from_utf8(header).ok()?;
        let (mut moment, mut signatures) = (None, Vec::new());
        for element in header.split(',') {
            match element.trim().split_once('=')? {
                ("t", digits) => {
                    let is_first = moment.replace(digits).is_none();
                    let is_number = (1..=20).contains(&digits.len())
                        && digits.bytes().all(|byte| byte.is_ascii_digit());
                    if !is_first || !is_number {
                        return None;
                    }
                }
                ("v1", digits) => {
                    signatures.push(of_hex(digits)?);
                    if signatures.len() > SIGNATURES_MAX {
                        return None;
                    }
                }
                (_scheme_of_nobody, _) => {}
            }
        }
        let moment = moment.filter(|_moment| !signatures.is_empty())?;
        Some(Self { moment, signatures })
    }
}

fn of_hex(digits: &str) -> Option<[u8; SIGNATURE_BYTES]> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|pair| {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
        let [high, low] = pair.map(digit);
        Some((high? << 4) | low?)
    });
    let bytes = bytes.collect::<Option<Vec<_>>>()?;
    bytes.try_into().ok().filter(|_bytes| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;
    const FIRST: &str = "whsec_the_first_one";
    const SECOND: &str = "whsec_the_second_one";

    fn webhooks(secrets: &str) -> StripeWebhooks {
        StripeWebhooks::new(secrets, StripeMode::Test).unwrap()
    }

    fn hex(secret: &str, moment: &str, body: &[u8]) -> String {
        let tag = tag(&Key::new(HMAC_SHA256, secret.as_bytes()), moment, body);
        let digits = tag.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
    }

    fn header(secret: &str, at: u64, body: &[u8]) -> String {
        format!("t={at},v1={}", hex(secret, &at.to_string(), body))
    }

    fn verify(secrets: &str, header: &str, body: &[u8]) -> Result<(), Unsigned> {
        webhooks(secrets).verify(header.as_bytes(), body, NOW)
    }

    #[test]
    fn a_signature_is_the_one_that_others_make_of_the_same() {
        // Computed by `printf '1700000000.{}' | openssl dgst -sha256 -hmac whsec_first`.
        assert_eq!(
            hex("whsec_first", "1700000000", b"{}"),
            "455a4acf33c4b98b4cd175b4b19e08f9357ca269474116e3c55f48cfcd4e8337"
        );
    }

    #[test]
    fn whoever_has_a_secret_has_signed_and_nobody_else() {
        let body = br#"{"id": "evt_1a"}"#;
        let signed = header(FIRST, NOW, body);
        assert_eq!(verify(FIRST, &signed, body), Ok(()));
        assert_eq!(verify(&format!("{SECOND}, {FIRST},"), &signed, body), Ok(()));
        assert_eq!(verify(SECOND, &signed, body), Err(Unsigned::Forged));
        // Re-serialised, truncated, and extended.
        let (_last, truncated) = body.split_last().unwrap();
        for other in [&br#"{"id":"evt_1a"}"#[..], truncated, b"", b"{}"] {
            assert_eq!(verify(FIRST, &signed, other), Err(Unsigned::Forged));
        }
        // Signed for another timestamp.
        let moved = signed.replace("t=1700000000", "t=1700000001");
        assert_eq!(verify(FIRST, &moved, body), Err(Unsigned::Forged));
    }

    #[test]
    fn every_signature_counts_wherever_it_stands() {
        let body = b"{}";
        let (at, nobody) = (NOW.to_string(), "0".repeat(64));
        let (first, second) = (hex(FIRST, &at, body), hex(SECOND, &at, body));
        for signed in [
            format!("t={at},v1={first},v1={second}"),
            format!("t={at},v1={second},v1={first}"),
            format!("t={at},v1={nobody},v1={nobody},v1={first},v0={nobody}"),
            format!("v1={first}, t={at} ,v0=anything"),
            format!("t={at},v1={}", first.to_uppercase()),
        ] {
            assert_eq!(verify(FIRST, &signed, body), Ok(()), "{signed}");
        }
        // The tag of another scheme is ignored.
        let v0 = format!("t={at},v1={nobody},v0={first}");
        assert_eq!(verify(FIRST, &v0, body), Err(Unsigned::Forged));
    }

    #[test]
    fn a_moment_counts_for_five_minutes_either_way() {
        for (at, expected) in [
            (NOW - 300, Ok(())),
            (NOW + 300, Ok(())),
            (NOW - 301, Err(Unsigned::Untimely)),
            (NOW + 301, Err(Unsigned::Untimely)),
            (0, Err(Unsigned::Untimely)),
            (u64::MAX, Err(Unsigned::Untimely)),
        ] {
            assert_eq!(verify(FIRST, &header(FIRST, at, b"{}"), b"{}"), expected, "{at}");
        }
        // A correctly signed timestamp that does not fit the number type.
        let beyond = "9".repeat(20);
        let signed = format!("t={beyond},v1={}", hex(FIRST, &beyond, b"{}"));
        assert_eq!(verify(FIRST, &signed, b"{}"), Err(Unsigned::Untimely));
    }

    #[test]
    fn what_is_not_of_the_form_is_not_read() {
        let one = "0".repeat(64);
        let many = format!(",v1={one}").repeat(SIGNATURES_MAX + 1);
        for header in [
            String::new(),
            "t=1700000000".to_owned(),
            format!("v1={one}"),
            format!("t=1700000000,v1={}", &one[1..]),
            format!("t=1700000000,v1={one}0"),
            format!("t=1700000000,v1={}g", &one[1..]),
            format!("t=,v1={one}"),
            format!("t=+1,v1={one}"),
            format!("t=1,t=1,v1={one}"),
            format!("t=1 700,v1={one}"),
            format!("t={},v1={one}", "1".repeat(21)),
            format!("t=1700000000,v1={one},"),
            format!("t=1700000000{many}"),
            format!("t=1700000000,v1={one}\u{e9}"),
        ] {
            assert_eq!(verify(FIRST, &header, b"{}"), Err(Unsigned::Unreadable), "{header}");
        }
        assert_eq!(webhooks(FIRST).verify(&[0xff], b"{}", NOW), Err(Unsigned::Unreadable));
    }

    #[test]
    fn settings_that_are_no_secrets_are_refused_and_not_repeated() {
        let new = |secrets: &str| StripeWebhooks::new(secrets, StripeMode::Live);
        for (secrets, place) in [
            ("", 1),
            (" , ", 1),
            ("sk_live_0123456789", 1),
            ("whsec_short", 1),
            ("whsec_the_first_one,whsec_with a blank", 2),
        ] {
            assert_eq!(new(secrets).unwrap_err(), InvalidWebhooks::NoSecret(place), "{secrets}");
        }
        let many = [FIRST; SECRETS_MAX + 1].join(",");
        assert_eq!(new(&many).unwrap_err(), InvalidWebhooks::TooMany);
        let shown = format!("{:?}", new(FIRST).unwrap());
        assert!(!shown.contains("whsec"), "{shown}");
    }
}
