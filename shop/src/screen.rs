//! The one place that writes to the terminal.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use runtime::console::{COLUMNS, Tone, is_coloured, painted, wrapped};

/// The indentation of continuation lines.
const INDENT: usize = 4;

/// Writes one or several lines, and flushes them.
pub(crate) fn say(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let coloured = is_coloured(&out);
    for line in text.to_string().split('\n') {
        let line = fitted(line);
        writeln!(out, "{}", if coloured { marked(&line) } else { line })?;
    }
    out.flush()
}

/// Writes a result with its details: on one line if both fit, otherwise with the details below.
pub(crate) fn say_with(found: impl Display, details: impl Display) -> io::Result<()> {
    let (found, details) = (found.to_string(), details.to_string());
    let trimmed = found.trim_end();
    let together = format!("{found} {details}");
    if details.is_empty() || together.chars().count() <= COLUMNS {
        return say(together.trim_end());
    }
    say(trimmed)?;
    say(format_args!("{:INDENT$}{details}", ""))
}

/// Writes a heading.
pub(crate) fn heading(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let line = wrapped(&format!("── {text} ──"), INDENT);
    let line = if is_coloured(&out) { painted(&line, Tone::Strong) } else { line };
    writeln!(out, "\n{line}")?;
    out.flush()
}

/// Whether output goes to a terminal, so that a progress bar makes sense.
pub(crate) fn is_watched() -> bool {
    io::stdout().is_terminal() && io::stderr().is_terminal()
}

/// Wraps a sentence; leaves the row of a table alone.
fn fitted(line: &str) -> String {
    let body = line.trim_start();
    if body.contains("  ") {
        return line.to_owned();
    }
    let margin = line.len().saturating_sub(body.len());
    wrapped(line, margin.max(INDENT))
}

/// The line with its verdicts in colour.
fn marked(line: &str) -> String {
    line.replace('✔', &painted("✔", Tone::Good)).replace('✘', &painted("✘", Tone::Bad))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_broken_and_rows_are_not() {
        let sentence = "word ".repeat(30);
        assert!(fitted(sentence.trim_end()).lines().all(|line| line.chars().count() <= COLUMNS));
        let row = format!("{:<50}  {:<50}", "one", "two");
        assert_eq!(fitted(&row), row);
    }

    #[test]
    fn only_the_verdicts_are_coloured() {
        assert_eq!(marked("✔ paid"), "\u{1b}[32m✔\u{1b}[0m paid");
        assert_eq!(marked("✘ lost"), "\u{1b}[31m✘\u{1b}[0m lost");
        assert_eq!(marked("nothing"), "nothing");
    }
}
