//! The names of sinks.

use std::fmt;
use std::str::FromStr;

/// The name under which a sink's progress is stored: such as `kafka`, or `webhook:` and the
/// endpoint's id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SinkName(String);

/// A text that is not a valid name of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sink is called by a word of small letters, digits and hyphens, and a colon and a UUID")]
pub struct NotASinkName;

impl SinkName {
    /// The name as stored in the database and shown to operators.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SinkName {
    type Err = NotASinkName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, instance) =
            text.split_once(':').map_or((text, None), |(kind, instance)| (kind, Some(instance)));
        let is_of_kind =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_of_id = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-');
        let is_kind = kind.starts_with(|letter: char| letter.is_ascii_lowercase())
            && kind.len() <= 32
            && kind.bytes().all(is_of_kind);
        let is_instance = instance.is_none_or(|id| id.len() == 36 && id.bytes().all(is_of_id));
        if is_kind && is_instance { Ok(Self(text.to_owned())) } else { Err(NotASinkName) }
    }
}

impl fmt::Display for SinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_the_database_takes() {
        let id = "0198f7a2-7a10-7bd2-9c8e-3f2a1b0c9d8e";
        let endpoint = format!("webhook:{id}");
        for name in ["kafka", "a", "mail-2", &endpoint] {
            assert_eq!(name.parse::<SinkName>().map(|name| name.to_string()), Ok(name.to_owned()));
        }
        let upper = format!("webhook:{}", id.to_uppercase());
        let long = "a".repeat(33);
        for wrong in ["", ":", "Kafka", "-a", "1a", "a b", "webhook:", "webhook:1", &upper, &long] {
            assert_eq!(wrong.parse::<SinkName>(), Err(NotASinkName), "{wrong}");
        }
    }
}
