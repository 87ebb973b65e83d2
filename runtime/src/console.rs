//! Terminal output: colours and line wrapping.

use std::env;
use std::fmt::Write as _;
use std::io::IsTerminal;

/// The line width, in columns: narrow enough for every terminal.
pub const COLUMNS: usize = 80;

/// The meaning of a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// All is well.
    Good,
    /// Something is wrong.
    Bad,
    /// A heading.
    Strong,
}

/// Whether this output shows colours: it is a terminal that supports them, and `NO_COLOR`
/// (<https://no-color.org>) is not set.
#[must_use]
pub fn is_coloured(output: &impl IsTerminal) -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    output.is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

/// The text in the colour of its tone. Text around it keeps its own colour.
#[must_use]
pub fn painted(text: &str, tone: Tone) -> String {
    let code = match tone {
        Tone::Good => 32,
        Tone::Bad => 31,
        Tone::Strong => 1,
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// Wraps a line between words to [`COLUMNS`]. Continuation lines are indented by `indent` spaces. A
/// word that is longer than a line gets a line of its own.
#[must_use]
pub fn wrapped(line: &str, indent: usize) -> String {
    if line.chars().count() <= COLUMNS {
        return line.to_owned();
    }
    let body = line.trim_start();
    let margin = line.chars().count().saturating_sub(body.chars().count());
    let mut text = " ".repeat(margin);
    let mut used = margin;
    let mut is_empty = true;
    for word in body.split(' ') {
        let length = word.chars().count();
        let with_space = used.saturating_add(length).saturating_add(usize::from(!is_empty));
        if !is_empty && with_space > COLUMNS {
            // Writing to a `String` cannot fail.
            let _written = write!(text, "\n{:indent$}{word}", "");
            used = indent.saturating_add(length);
        } else {
            let space = if is_empty { "" } else { " " };
            let _written = write!(text, "{space}{word}");
            used = with_space;
        }
        is_empty = false;
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_line_that_fits_stays_as_it_is() {
        assert_eq!(wrapped("  I1   a  b", 4), "  I1   a  b");
        let exactly = "x".repeat(COLUMNS);
        assert_eq!(wrapped(&exactly, 4), exactly);
    }

    #[test]
    fn a_longer_line_is_broken_between_words_and_indented() {
        let line = format!("  {} end", "word ".repeat(20).trim_end());
        let text = wrapped(&line, 6);
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("      w")), "{text}");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&text), words(&line), "no word is lost");
    }

    #[test]
    fn a_word_without_end_has_a_line_of_its_own() {
        let word = "x".repeat(100);
        assert_eq!(wrapped(&format!("a {word} b"), 2), format!("a\n  {word}\n  b"));
    }

    #[test]
    fn what_is_no_terminal_has_no_colours() {
        let file = File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
        assert!(!is_coloured(&file));
    }
}
