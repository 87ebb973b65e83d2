//! Collects every broken rule of a request, so that the caller can fix them all at once.

use std::fmt::Display;

use crate::error::{Breach, Problem};

/// The maximum number of broken rules in a response; more than that have a common cause.
const BREACHES_MAX: usize = 50;

/// The rules broken so far.
#[derive(Debug, Default)]
pub(crate) struct Rules(Vec<Breach>);

impl Rules {
    /// Returns the value if it is valid; otherwise records the error.
    pub(crate) fn check<T, E: Display>(
        &mut self,
        pointer: impl Display,
        checked: Result<T, E>,
    ) -> Option<T> {
        checked.map_err(|why| self.broken(pointer, why)).ok()
    }

    /// Like [`Rules::check`], for an optional value.
    pub(crate) fn check_given<T, E: Display>(
        &mut self,
        pointer: impl Display,
        checked: Option<Result<T, E>>,
    ) -> Option<T> {
        checked.and_then(|checked| self.check(pointer, checked))
    }

    /// Records a broken rule.
    pub(crate) fn broken(&mut self, pointer: impl Display, why: impl Display) {
        if self.0.len() < BREACHES_MAX {
            self.0.push(Breach { pointer: pointer.to_string(), detail: why.to_string() });
        }
    }

    /// The checked value, if no rule was broken. `value` is `None` only if a rule was broken.
    pub(crate) fn kept<T>(self, value: Option<T>) -> Result<T, Problem> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            Some(_) | None => Err(Problem::invalid(self.0)),
        }
    }
}
