//! A value that is never printed.

use std::env;
use std::fmt;

/// A password, or a URL that contains one.
///
/// Read from the environment only: a command line is visible to every process of the machine.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value of an environment variable, if it has one.
    #[must_use]
    pub fn from_env(name: &str) -> Option<Self> {
        env::var(name).ok().filter(|value| !value.is_empty()).map(Self)
    }

    /// The value, for the one call that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
