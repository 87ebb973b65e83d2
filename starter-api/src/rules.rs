//! Collects every broken rule of a request, so that a caller mends them all at once.

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use serde_json::Number;

use crate::problem::{Breach, Problem};

/// How many broken rules one answer names; a caller who broke more has one cause, not many.
const BREACHES_MAX: usize = 50;

/// The rules broken so far.
#[derive(Debug, Default)]
pub(crate) struct Rules(Vec<Breach>);

impl Rules {
    /// Takes the value, or notes why there is none.
    pub(crate) fn check<T, E: Display>(
        &mut self,
        pointer: impl Display,
        checked: Result<T, E>,
    ) -> Option<T> {
        checked.map_err(|why| self.broken(pointer, why)).ok()
    }

    /// Like [`Rules::check`], for what may be left out.
    pub(crate) fn check_given<T, E: Display>(
        &mut self,
        pointer: impl Display,
        checked: Option<Result<T, E>>,
    ) -> Option<T> {
        checked.and_then(|checked| self.check(pointer, checked))
    }

    /// Notes a broken rule.
    pub(crate) fn broken(&mut self, pointer: impl Display, why: impl Display) {
        if self.0.len() < BREACHES_MAX {
            self.0.push(Breach { pointer: pointer.to_string(), detail: why.to_string() });
        }
    }

    /// The parts, if no rule was broken. A part is missing only where a rule was.
    pub(crate) fn kept<T>(self, parts: Option<T>) -> Result<T, Problem> {
        match parts {
            Some(parts) if self.0.is_empty() => Ok(parts),
            Some(_) | None => Err(Problem::invalid(self.0)),
        }
    }
}

/// A line of text that people wrote: trimmed, not empty, not long, no control characters.
pub(crate) fn line_of_text(text: &str, length_max: usize) -> Result<String, String> {
    let text = text.trim();
    let length = text.chars().count();
    if (1..=length_max).contains(&length) && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(format!("a text of 1 to {length_max} characters on one line"))
    }
}

/// What a listing looks for: a line of text.
#[derive(Debug, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Wanted(String);

impl Wanted {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Wanted {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        line_of_text(&text, 100).map(Self)
    }
}

/// A whole number of seconds within limits.
pub(crate) fn seconds(number: &Number, min: u32, max: u32) -> Result<u32, String> {
    number
        .as_u64()
        .and_then(|seconds| u32::try_from(seconds).ok())
        .filter(|seconds| (min..=max).contains(seconds))
        .ok_or_else(|| format!("a whole number of seconds from {min} to {max}"))
}
