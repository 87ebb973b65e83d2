//! Normalises text that people write, so that it can be compared.
//!
//! Unicode can write `é` as one character or as two. Text that is stored, searched for or compared
//! is in one form, NFC, so that equal text is equal wherever it comes from. Ids, SKUs and codes
//! need none of this: they are ASCII.

use unicode_normalization::UnicodeNormalization as _;

/// Text that is not a valid line of at most this length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a text of 1 to {length_max} characters on one line")]
pub struct NotALine {
    length_max: usize,
}

/// Validates a line that a person wrote, and returns it trimmed and in NFC: not empty, not too
/// long, no control characters.
pub fn line_of_text(text: &str, length_max: usize) -> Result<String, NotALine> {
    let text = text.trim();
    // NFC composes at most four characters into one, so anything longer than that is too long, and
    // is not normalised.
    if text.chars().nth(length_max.saturating_mul(4)).is_some() {
        return Err(NotALine { length_max });
    }
    line_as_written(&composed(text), length_max)
}

/// The same without NFC, for text that is compared with what a program has written.
pub fn line_as_written(text: &str, length_max: usize) -> Result<String, NotALine> {
    let text = text.trim();
    let length = text.chars().count();
    if (1..=length_max).contains(&length) && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(NotALine { length_max })
    }
}

/// Cleans outside text that can no longer be refused (a signal's, a party's answer), before it is
/// stored and shown: one line, in NFC, cut to this length. Unprintable characters become spaces.
/// May be empty.
#[must_use]
pub fn as_one_line(text: &str, length_max: usize) -> String {
    let plain = text.chars().map(|letter| if is_text(letter) { letter } else { ' ' });
    // Bounded as in `line_of_text`.
    let begun =
        plain.skip_while(|letter| letter.is_whitespace()).take(length_max.saturating_mul(4));
    let line: String = begun.nfc().take(length_max).collect();
    line.trim_end().to_owned()
}

/// Excludes control characters (no database stores U+0000), line and paragraph separators, and
/// characters that change the direction of the text after them.
fn is_text(letter: char) -> bool {
    !(letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}

/// Whether an id from outside can be stored, and sent back unchanged.
#[must_use]
pub fn is_foreign_id(id: &str) -> bool {
    /// Longer than any id in use.
    const LENGTH_MAX: usize = 255;
    line_as_written(id, LENGTH_MAX).is_ok_and(|line| line == id)
}

/// The text in NFC.
#[must_use]
pub fn composed(text: &str) -> String {
    text.nfc().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        // Four characters that NFC composes into one.
        let longest = "\u{3b1}\u{313}\u{300}\u{345}";
        assert_eq!(line_of_text(longest, 1).unwrap(), "\u{1f82}");
        assert!(line_of_text(&format!("{longest}x"), 1).is_err());
    }
    #[test]
    fn a_text_that_nobody_can_refuse_is_made_one_line() {
        for (text, line) in [
            ("a\u{0}b", "a b"),
            ("\u{0}", ""),
            (" \t\r\n ", ""),
            ("one\ntwo\r\nthree", "one two  three"),
            ("\u{1b}[31mred\u{7}\u{9b}2J", "[31mred  2J"),
            ("a\u{7f}b\u{85}c", "a b c"),
            ("one\u{2028}two\u{2029}three", "one two three"),
            ("invoice\u{202e}fdp.exe\u{2066}x\u{2069}", "invoice fdp.exe x"),
            // Text that is written from right to left, with its own combining marks.
            ("\u{5e9}\u{5dc}\u{5d5}\u{5dd}", "\u{5e9}\u{5dc}\u{5d5}\u{5dd}"),
            ("\u{1f469}\u{200d}\u{1f680}", "\u{1f469}\u{200d}\u{1f680}"),
            ("cafe\u{301}", "caf\u{e9}"),
        ] {
            assert_eq!(as_one_line(text, 40), line, "{text:?}");
        }
        assert_eq!(as_one_line("abcdef", 3), "abc");
        assert_eq!(as_one_line("ab cdef", 3), "ab");
        assert_eq!(as_one_line(&"x".repeat(1_000_000), 200), "x".repeat(200));
    }

    #[test]
    fn an_id_of_somebody_else_is_sent_back_as_it_is_or_not_taken() {
        for id in ["pi_3MtwBwLkdIwHu7ix28a3tqPa", "1", "a b", "caf\u{e9}", "cafe\u{301}"] {
            assert!(is_foreign_id(id), "{id}");
        }
        for id in ["", " ", "a ", " a", "a\u{0}", "a\nb", &"x".repeat(256)] {
            assert!(!is_foreign_id(id), "{id:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_made_one_line_is_a_line_and_stays_it(
            letters in proptest::collection::vec(any::<char>(), 0..200),
            max in 1_usize..50,
        ) {
            let line = as_one_line(&letters.into_iter().collect::<String>(), max);
            prop_assert_eq!(&as_one_line(&line, max), &line);
            prop_assert!(line.is_empty() || line_of_text(&line, max) == Ok(line.clone()));
        }
    }
}
