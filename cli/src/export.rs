//! `ordersaga export`.

use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use worker::database::{self, DatabaseArgs};
use worker::export::{Exported, Format, export, export_into};

use crate::output::print;

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// The format of the books
    #[arg(long, value_enum)]
    format: Format,
    /// A file to write, replaced only once the export is complete; without it the books go to
    /// standard output
    #[arg(long)]
    output: Option<PathBuf>,
    #[command(flatten)]
    database: DatabaseArgs,
}

pub(crate) async fn run(args: ExportArgs) -> Result<()> {
    let pool = args.database.unlimited_pool().context("DATABASE_URL")?;
    database::reach(&pool, &database::schema_gate()).await?;
    // Progress would mix with the books if both went to the same terminal.
    let is_shown =
        io::stderr().is_terminal() && (args.output.is_some() || !io::stdout().is_terminal());
    let exported = if let Some(path) = &args.output {
        export_into(&pool, args.format, path, progress(is_shown)).await
    } else {
        let mut out = BufWriter::new(io::stdout());
        export(&pool, args.format, &mut out, progress(is_shown)).await
    };
    if is_shown {
        // Clears the progress line, so that the next output, such as an error, starts on an empty
        // line.
        write!(io::stderr().lock(), "\r\x1b[K").ok();
    }
    let Exported { transactions, entries, balances } = exported?;
    if let Some(path) = &args.output {
        print(format_args!(
            "{transactions} transactions with {entries} entries, and {balances} balances, are in {}",
            path.display()
        ))?;
    }
    Ok(())
}

/// Shows the progress of a long export on one line that it overwrites.
fn progress(is_shown: bool) -> impl FnMut(usize) {
    move |transactions| {
        if is_shown && transactions.is_multiple_of(1_000) {
            write!(io::stderr().lock(), "\r{transactions} transactions").ok();
        }
    }
}
