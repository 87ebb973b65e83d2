//! Unchecked input values.

use std::str::FromStr;

use chrono::{DateTime, Datelike as _, SecondsFormat, Utc};
use domain::NotALine;
pub(crate) use domain::{line_as_written, line_of_text};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// An unchecked number. `None` stands for a value that is not a whole number, such as 1.5, so that
/// it is reported together with the other broken rules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WholeNumber(pub(crate) Option<i64>);

impl From<u32> for WholeNumber {
    fn from(number: u32) -> Self {
        Self(Some(number.into()))
    }
}

impl WholeNumber {
    /// The number as seconds within limits.
    pub(crate) fn seconds(self, min: u32, max: u32) -> Result<u32, String> {
        self.0
            .and_then(|seconds| u32::try_from(seconds).ok())
            .filter(|seconds| (min..=max).contains(seconds))
            .ok_or_else(|| format!("a whole number of seconds from {min} to {max}"))
    }
}

/// Parses a whole number: digits with an optional `-`. Rust's own parser would also accept `+5`.
pub(crate) fn number_as_written<N: FromStr>(text: &str) -> Option<N> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_number| is_plain)
}

/// Deserialises a number in a query string.
pub(crate) fn number<'de, N, D>(deserializer: D) -> Result<Option<N>, D::Error>
where
    N: FromStr,
    D: Deserializer<'de>,
{
    let number = number_as_written(&String::deserialize(deserializer)?);
    number.map(Some).ok_or_else(|| D::Error::custom("a whole number, such as 10"))
}

/// The search text of a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct SearchText(String);

impl SearchText {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SearchText {
    type Error = NotALine;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        line_of_text(&text, 100).map(Self)
    }
}

/// A timestamp given by a caller.
///
/// **Shape.** RFC 3339, such as `2026-01-01T00:00:00Z`, with a year of four digits, which every
/// timestamp column can hold.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Moment(pub(crate) DateTime<Utc>);

impl TryFrom<String> for Moment {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let moment = DateTime::parse_from_rfc3339(&text);
        // The library also accepts a space instead of the `T`.
        let moment = moment.ok().filter(|_moment| !text.contains(' '));
        // A local time late in the year 9999 may be in the year 10000 in UTC.
        let moment =
            moment.map(|moment| moment.to_utc()).filter(|it| (0..=9_999).contains(&it.year()));
        moment.map(Self).ok_or("a moment as RFC 3339 writes it, such as 2026-01-01T00:00:00Z")
    }
}

impl From<Moment> for String {
    fn from(Moment(moment): Moment) -> Self {
        moment.to_rfc3339_opts(SecondsFormat::AutoSi, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_digits_and_is_read_as_what_it_is_for() {
        for (text, number) in [("0", 0), ("20", 20), ("007", 7), ("-3", -3)] {
            assert_eq!(number_as_written(text), Some(number), "{text}");
        }
        for loose in ["+5", "5_0", " 5", "5 ", "", "-", "--5", "1e3", "5.0", "0x5", "\u{665}"] {
            assert_eq!(number_as_written::<i64>(loose), None, "{loose}");
        }
        assert_eq!(number_as_written::<u32>("-1"), None);
        assert_eq!(number_as_written::<i32>("2147483648"), None);
    }

    #[test]
    fn a_moment_is_one_that_every_column_holds() {
        let read = |text: &str| Moment::try_from(text.to_owned()).map(String::from).ok();
        let same = |text: &str| assert_eq!(read(text).as_deref(), Some(text));
        same("2026-01-01T00:00:00Z");
        same("0000-01-01T00:00:00.000001Z");
        same("9999-12-31T23:59:59Z");
        assert_eq!(read("2026-01-01T01:00:00+01:00").as_deref(), Some("2026-01-01T00:00:00Z"));
        for wrong in [
            "-5000-01-01T00:00:00Z",
            "+294277-01-01T00:00:00Z",
            "12026-01-01T00:00:00Z",
            "9999-12-31T23:59:59-01:00",
            "0000-01-01T00:00:00+01:00",
            "2026-01-01 00:00:00Z",
            "2026-1-1T0:0:0Z",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-13-01T00:00:00Z",
            "yesterday",
            "",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
