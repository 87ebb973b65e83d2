//! The one place that writes to the terminal.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

/// Writes a line, or a text of several, and has it seen at once.
pub(crate) fn say(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Writes a heading that the eye finds.
pub(crate) fn heading(text: impl Display) -> io::Result<()> {
    say(format_args!("\n── {text} ──"))
}

/// Whether a person may be watching, so that a moving bar makes sense.
pub(crate) fn is_watched() -> bool {
    io::stdout().is_terminal() && io::stderr().is_terminal()
}
