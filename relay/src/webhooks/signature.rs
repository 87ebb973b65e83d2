//! Signs messages, so that a receiver can verify that they come from the shop.
//!
//! **Source.** The Standard Webhooks specification, version 1.0.0: HMAC-SHA256 over id, timestamp
//! and body, joined by full stops, in Base64 after `v1,`. During a key rotation there is one
//! signature per key, separated by spaces. An event's id contains no full stop. That of a text
//! message does, but what could be parsed as its timestamp is a number of a few digits, which every
//! receiver rejects as too old.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac::{Context, HMAC_SHA256, Key};

/// The header `webhook-signature` for a body: one signature per key.
pub(crate) fn header(keys: &[Vec<u8>], id: &str, timestamp: i64, body: &[u8]) -> String {
    let signatures: Vec<_> = keys.iter().map(|key| signature(key, id, timestamp, body)).collect();
    signatures.join(" ")
}

fn signature(key: &[u8], id: &str, timestamp: i64, body: &[u8]) -> String {
    let mut context = Context::with_key(&Key::new(HMAC_SHA256, key));
    for part in [id.as_bytes(), b".", timestamp.to_string().as_bytes(), b".", body] {
        context.update(part);
    }
    format!("v1,{}", STANDARD.encode(context.sign()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(key: &[u8], id: &str, timestamp: i64, body: &str) -> String {
        header(&[key.to_vec()], id, timestamp, body.as_bytes())
    }

    /// **Source.** The test vector of the specification's reference libraries.
    #[test]
    fn a_signature_is_the_specifications() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", r#"{"test": 2432232314}"#);
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signed(&key, id, 1_614_265_330, body), expected);
        for (id, timestamp, body) in [
            ("msg_p5jXN8AQM9LWM0D4loKWxJeK", 1_614_265_330, body),
            (id, 1_614_265_331, body),
            (id, 1_614_265_330, r#"{"test": 2432232315}"#),
        ] {
            assert_ne!(signed(&key, id, timestamp, body), expected);
        }
    }

    #[test]
    fn each_secret_signs_and_the_newest_comes_first() {
        let (new, old) = (vec![1; 32], vec![2; 32]);
        let alone = [&new, &old].map(|key| signed(key, "a:1", 7, "{}"));
        assert_ne!(alone[0], alone[1]);
        assert_eq!(header(&[new, old], "a:1", 7, b"{}"), alone.join(" "));
    }
}
