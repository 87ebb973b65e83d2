//! Identifiers of bank transfers: account numbers (IBAN, ISO 13616) and payment references (ISO
//! 11649). Both have two check digits, which detect typing errors.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// Text that is not an IBAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an IBAN has 15 to 34 letters and digits, and its check digits are right")]
pub struct NotAnIban;

/// An account number (IBAN).
///
/// **Shape.** Upper case, without spaces, with correct check digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Iban(String);

impl Iban {
    /// Parses an IBAN as people write it: with or without spaces, in either case.
    pub fn parse(text: &str) -> Result<Self, NotAnIban> {
        let plain: String = text
            .chars()
            .filter(|letter| !letter.is_whitespace())
            .map(|letter| letter.to_ascii_uppercase())
            .take(Self::LENGTH_MAX.saturating_add(1))
            .collect();
        let begins = |place: usize, fits: fn(&u8) -> bool| {
            plain.as_bytes().iter().skip(place).take(2).all(fits)
        };
        let has_shape = (15..=Self::LENGTH_MAX).contains(&plain.len())
            && begins(0, u8::is_ascii_uppercase)
            && begins(2, u8::is_ascii_digit);
        if has_shape && is_checked(&plain) { Ok(Self(plain)) } else { Err(NotAnIban) }
    }

    const LENGTH_MAX: usize = 34;

    /// The IBAN without spaces.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Iban {
    type Err = NotAnIban;

    fn from_str(text: &str) -> Result<Self, NotAnIban> {
        Self::parse(text)
    }
}

impl fmt::Display for Iban {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A structured reference that a customer writes on a transfer, by which the payment is identified.
///
/// **Shape.** `RF`, two check digits and eighteen digits.
/// **Repeats.** Derived from the payment's key: the same payment has the same reference, on any
/// machine and after any restore.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CreditorReference(String);

impl CreditorReference {
    const LENGTH: usize = 22;

    /// The reference of the payment with this key.
    #[must_use]
    pub fn of(key: &str) -> Self {
        let digest = Sha256::digest(key);
        let drawn =
            digest.iter().take(8).fold(0_u64, |drawn, byte| (drawn << 8) | u64::from(*byte));
        let number = format!("{:018}", drawn % 1_000_000_000_000_000_000);
        let rest = rest_of(number.chars().chain("RF00".chars())).unwrap_or_default();
        Self(format!("RF{:02}{number}", 98_u32.saturating_sub(rest)))
    }

    /// Parses a reference without spaces.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("RF")?;
        let is_one = text.len() == Self::LENGTH
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && is_checked(text);
        is_one.then(|| Self(text.to_owned()))
    }

    /// The references found anywhere in a text, each once. Customers add spaces, hyphens and words
    /// around them, and banks break lines within them.
    #[must_use]
    pub fn found_in(text: &str) -> Vec<Self> {
        let plain: String = text
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|letter| letter.to_ascii_uppercase())
            .collect();
        let begin = plain.match_indices("RF").map(|(place, _)| place);
        let pieces = begin.filter_map(|at| plain.get(at..at.checked_add(Self::LENGTH)?));
        let mut found: Vec<_> = pieces.filter_map(Self::parse).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The reference without spaces.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CreditorReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the two digits after the first two letters are valid check digits of the rest.
fn is_checked(text: &str) -> bool {
    let (head, tail) = text.split_at_checked(4).unwrap_or_default();
    rest_of(tail.chars().chain(head.chars())) == Some(1)
}

/// The remainder modulo 97 (ISO 7064), with letters counted as the numbers 10 to 35. `None` if
/// there is anything but letters and digits.
fn rest_of(mut letters: impl Iterator<Item = char>) -> Option<u32> {
    letters.try_fold(0_u32, |rest, letter| {
        let value = letter.to_digit(36)?;
        let shift = if value < 10 { 10 } else { 100 };
        Some(rest.saturating_mul(shift).saturating_add(value) % 97)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_iban_is_read_as_people_write_it_and_not_with_a_slip() {
        for (text, plain) in [
            ("GB82 WEST 1234 5698 7654 32", "GB82WEST12345698765432"),
            ("de89370400440532013000", "DE89370400440532013000"),
            ("NO9386011117947", "NO9386011117947"),
        ] {
            assert_eq!(Iban::parse(text).unwrap().as_str(), plain);
        }
        for wrong in [
            "",
            "GB82",
            "GB82WEST12345698765423",
            "GB83WEST12345698765432",
            "8282WEST12345698765432",
            "GB82-WEST-1234-5698-7654-32",
            "GB82WEST1234569876543２",
            &"GB82WEST".repeat(100),
        ] {
            assert_eq!(Iban::parse(wrong), Err(NotAnIban), "{wrong}");
        }
    }

    #[test]
    fn the_standards_own_example_has_the_check_digits_that_it_says() {
        assert!(is_checked("RF18539007547034"));
        assert!(!is_checked("RF18539007547043"), "two digits have changed places");
        assert!(!is_checked("RF1"));
    }

    #[test]
    fn a_reference_is_found_however_it_was_written() {
        let (one, other) = (CreditorReference::of("one"), CreditorReference::of("other"));
        assert_ne!(one, other);
        let text = one.as_str();
        let (head, tail) = text.split_at(11);
        for written in [
            text.to_owned(),
            text.to_lowercase(),
            format!("Order {head} {tail}, thank you"),
            format!("ref:{head}-\n{tail}/"),
            format!("{text}RF{text}"),
        ] {
            assert_eq!(CreditorReference::found_in(&written), vec![one.clone()], "{written}");
        }
        let mut both = vec![one.clone(), other.clone()];
        both.sort();
        assert_eq!(CreditorReference::found_in(&format!("{other} {one} {one}")), both);
        for wrong in ["", "RF", "invoice 17", &text[1..], &text[..21], &text.replace("RF", "FR")] {
            assert!(CreditorReference::found_in(wrong).is_empty(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_reference_is_read_back_and_one_wrong_digit_is_noticed(
            key in ".{0,40}", place in 2_usize..22, by in 1_u32..10,
        ) {
            let reference = CreditorReference::of(&key);
            prop_assert_eq!(CreditorReference::parse(reference.as_str()), Some(reference.clone()));
            let wrong: String = reference
                .as_str()
                .chars()
                .enumerate()
                .map(|(at, letter)| match letter.to_digit(10) {
                    Some(digit) if at == place => char::from_digit(digit.wrapping_add(by) % 10, 10).unwrap(),
                    _ => letter,
                })
                .collect();
            prop_assert_eq!(CreditorReference::parse(&wrong), None);
        }
    }
}
