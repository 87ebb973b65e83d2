//! Text that people write, in the one form in which it is compared.
//!
//! One keyboard writes `é` as one character and another as two. What is stored, searched for or
//! compared is in one form, Unicode's NFC, so that the same text is the same from everywhere.
//! Ids, SKUs and codes need none of this: they are ASCII.

use unicode_normalization::UnicodeNormalization as _;

/// A text is no line of its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a text of 1 to {length_max} characters on one line")]
pub struct NotALine {
    length_max: usize,
}

/// Text that people write on one line: trimmed, not empty, not too long, without control
/// characters; in NFC.
pub fn line_of_text(text: &str, length_max: usize) -> Result<String, NotALine> {
    let text = text.trim();
    // Composed, four characters become one at most: what is longer than that is too long, and is
    // not looked at.
    if text.chars().nth(length_max.saturating_mul(4)).is_some() {
        return Err(NotALine { length_max });
    }
    line_as_written(&composed(text), length_max)
}

/// The same, for text that is to be compared with what a program has written.
pub fn line_as_written(text: &str, length_max: usize) -> Result<String, NotALine> {
    let text = text.trim();
    let length = text.chars().count();
    if (1..=length_max).contains(&length) && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(NotALine { length_max })
    }
}

/// The same text in NFC.
#[must_use]
pub fn composed(text: &str) -> String {
    text.nfc().collect()
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
}
