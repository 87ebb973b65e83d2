//! Values that callers write, on their way to being checked.

use serde::{Deserialize, Serialize};

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
/// characters.
pub(crate) fn line_of_text(text: &str, length_max: usize) -> Result<String, String> {
    let text = text.trim();
    let length = text.chars().count();
    if (1..=length_max).contains(&length) && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(format!("a text of 1 to {length_max} characters on one line"))
    }
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
