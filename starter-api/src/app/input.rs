//! Values that callers write, on their way to being checked.

use chrono::{DateTime, Datelike as _, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

/// A number as a caller wrote it. `None` stands for one that is not a whole number, such as 1.5,
/// so that it is refused together with the other broken rules.
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

/// Text that people write on one line: trimmed, not empty, not too long, without control
/// characters; in one form of Unicode (NFC), so that the same text is the same from every keyboard.
pub(crate) fn line_of_text(text: &str, length_max: usize) -> Result<String, String> {
    let text = text.trim();
    // Composed, four characters become one at most: what is longer than that is too long, and is
    // not looked at.
    if text.chars().nth(length_max.saturating_mul(4)).is_some() {
        return Err(not_a_line(length_max));
    }
    line_as_written(&text.nfc().collect::<String>(), length_max)
}

/// The same, for text that is to be compared with what a program has written.
pub(crate) fn line_as_written(text: &str, length_max: usize) -> Result<String, String> {
    let text = text.trim();
    let length = text.chars().count();
    if (1..=length_max).contains(&length) && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(not_a_line(length_max))
    }
}

fn not_a_line(length_max: usize) -> String {
    format!("a text of 1 to {length_max} characters on one line")
}

/// The text that a listing searches for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct SearchText(String);

impl SearchText {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SearchText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        line_of_text(&text, 100).map(Self)
    }
}

/// A moment that a caller names.
///
/// **Shape.** RFC 3339, such as `2026-01-01T00:00:00Z`: a year of four digits, which every column
/// of the database holds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Moment(pub(crate) DateTime<Utc>);

impl TryFrom<String> for Moment {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let moment = DateTime::parse_from_rfc3339(&text);
        // The library takes a space for the `T`, too.
        let moment = moment.ok().filter(|_moment| !text.contains(' '));
        // An hour that is still in the year 9999 where it was written may be after it in UTC.
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
    fn a_text_is_the_same_in_each_form_of_unicode() {
        assert_eq!(line_of_text(" cafe\u{301} ", 4).unwrap(), "caf\u{e9}");
        assert!(line_of_text("cafes", 4).is_err());
        assert!(line_of_text(&"x".repeat(1_000_000), 200).is_err());
        assert!(line_of_text("a\u{0}b", 4).is_err());
    }

    #[test]
    fn a_text_is_taken_whole_or_not_at_all() {
        for gap in [15, 16, 17, 1_000] {
            let text = format!("a{}b", " ".repeat(gap));
            assert!(line_of_text(&text, 4).is_err(), "{gap} spaces");
        }
        assert_eq!(line_of_text("a  b", 4).unwrap(), "a  b");
        // Four characters that are one.
        let longest = "\u{3b1}\u{313}\u{300}\u{345}";
        assert_eq!(line_of_text(longest, 1).unwrap(), "\u{1f82}");
        assert!(line_of_text(&format!("{longest}x"), 1).is_err());
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
