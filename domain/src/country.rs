//! Where a parcel goes, as ISO 3166-1 alpha-2.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A country the parcel is sent to; it decides the tax and the shipping fee.
///
/// **Shape.** Two capital letters of ISO 3166-1, for example `"GB"`.
/// **Errors.** [`UnknownCountry`] names what was given when ISO knows no such country.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, example = "GB"))]
pub struct CountryCode([u8; 2]);

/// ISO 3166-1 has no such country.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an ISO 3166-1 alpha-2 country code, such as GB or DE")]
pub struct UnknownCountry(pub String);

impl CountryCode {
    /// Reads a code such as `GB`; case matters, as in the standard.
    pub fn parse(code: &str) -> Result<Self, UnknownCountry> {
        let known = rust_iso3166::from_alpha2(code).filter(|country| country.alpha2 == code);
        match (known, code.as_bytes()) {
            (Some(_), &[first, second]) => Ok(Self([first, second])),
            _ => Err(UnknownCountry(code.chars().take(64).collect())),
        }
    }
}

impl fmt::Display for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.0;
        write!(f, "{}{}", char::from(first), char::from(second))
    }
}

impl TryFrom<String> for CountryCode {
    type Error = UnknownCountry;

    fn try_from(code: String) -> Result<Self, Self::Error> {
        Self::parse(&code)
    }
}

impl From<CountryCode> for String {
    fn from(code: CountryCode) -> Self {
        code.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_iso_codes_in_capitals_are_countries() {
        assert_eq!(CountryCode::parse("GB").unwrap().to_string(), "GB");
        for wrong in ["gb", "UK", "GBR", "", "XX", "Großbritannien"] {
            assert!(CountryCode::parse(wrong).is_err(), "{wrong} was taken for a country");
        }
    }
}
