//! `ordersaga completions`.

use std::io::{self, Write as _};

use anyhow::Result;
use clap_complete::{Shell, generate};

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell; for bash, put the output into ~/.local/share/bash-completion/completions/ordersaga
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs, command: &mut clap::Command) -> Result<()> {
    let mut script = Vec::new();
    generate(args.shell, command, "ordersaga", &mut script);
    // Raw output: a shell parses it, including tabs.
    writeln!(io::stdout().lock(), "{}", String::from_utf8_lossy(&script).trim_end())?;
    Ok(())
}
