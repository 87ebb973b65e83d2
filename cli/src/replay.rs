//! `ordersaga replay`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use worker::replay::{histories, replay_file};

use crate::output::print;

/// What to replay.
#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArgs {
    /// Histories, or folders of them (*.json): as the SDK writes them, or as
    /// `temporal workflow show --output json` prints them
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

pub(crate) fn run(args: &ReplayArgs) -> Result<ExitCode> {
    let (mut diverged, mut unreadable) = (false, false);
    for path in &args.paths {
        let files = histories(path).unwrap_or_else(|error| {
            tracing::error!("{error}");
            unreadable = true;
            Vec::new()
        });
        for file in files {
            match replay_file(&file) {
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
