//! `ordersaga replay`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use worker::replay::{Outcome, ReplayError, histories, replay_file, replay_from};

use crate::output::{Visible, print};

/// Arguments of `replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArgs {
    /// Histories, or folders of them (*.json, *.jsonl), or `-` for one on standard input: in the
    /// SDK's format, or as `temporal workflow show --output json` prints them; gzipped or not
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

/// The usual name of standard input.
const STANDARD_INPUT: &str = "-";

pub(crate) fn run(args: &ReplayArgs) -> Result<ExitCode> {
    let (mut diverged, mut unreadable) = (false, false);
    for path in &args.paths {
        let files = histories(path).unwrap_or_else(|error| {
            tracing::error!("{}", Visible(error.to_string()));
            unreadable = true;
            Vec::new()
        });
        for file in files {
            match replayed(&file) {
                Ok(outcome) => {
                    diverged |= outcome.divergence.is_some();
                    print(format_args!("{outcome}  {}", file.display()))?;
                }
                Err(error) => {
                    unreadable = true;
                    print(format_args!("unreadable  {error}"))?;
                }
            }
        }
    }
    Ok(if unreadable {
        ExitCode::from(2)
    } else if diverged {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn replayed(path: &Path) -> Result<Outcome, ReplayError> {
    if path == Path::new(STANDARD_INPUT) {
        replay_from(path, io::stdin().lock())
    } else {
        replay_file(path)
    }
}
