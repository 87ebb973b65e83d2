//! `ordersaga replay`.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use worker::replay::{Outcome, ReplayError, histories, replay_file, replay_json};

use crate::output::print;

/// What to replay.
#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArgs {
    /// Histories, or folders of them (*.json), or `-` for one on standard input: as the SDK writes
    /// them, or as `temporal workflow show --output json` prints them
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

/// What stands for standard input, as in most programs.
const STANDARD_INPUT: &str = "-";

pub(crate) fn run(args: &ReplayArgs) -> Result<ExitCode> {
    let (mut diverged, mut unreadable) = (false, false);
    for path in &args.paths {
        let files = histories(path).unwrap_or_else(|error| {
            tracing::error!("{error}");
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
    if path != Path::new(STANDARD_INPUT) {
        return replay_file(path);
    }
    let mut json = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut json);
    read.map_err(|source| ReplayError::File { path: path.to_owned(), source })?;
    replay_json(path, &json)
}
