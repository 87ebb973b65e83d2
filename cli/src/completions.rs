//! `ordersaga completions`.

use anyhow::Result;
use clap_complete::{Shell, generate};

use crate::output;

/// Which shell's completions.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell; for bash, put the output into ~/.local/share/bash-completion/completions/ordersaga
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs, command: &mut clap::Command) -> Result<()> {
    let mut script = Vec::new();
    generate(args.shell, command, "ordersaga", &mut script);
    output::print(String::from_utf8_lossy(&script).trim_end())?;
    Ok(())
}
