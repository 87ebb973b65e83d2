//! `ordersaga prove`.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use runtime::temporal::Temporal;
use worker::database::{self, DatabaseArgs};
use worker::prove::{prove, table};

use crate::output::print;

/// What to look at.
#[derive(Debug, clap::Args)]
pub(crate) struct ProveArgs {
    /// Look at the database alone; what only Temporal can show is not checked
    #[arg(long)]
    without_temporal: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

pub(crate) async fn run(args: ProveArgs) -> Result<ExitCode> {
    let client = if args.without_temporal {
        None
    } else {
        let client = Temporal::from_env("ordersaga-prove")?.connect().await;
        Some(client.context("use --without-temporal to look at the database alone")?)
    };
    let pool = args.database.unlimited_pool().context("DATABASE_URL")?;
    database::reach(&pool, &database::schema_gate()).await?;
    let findings = prove(&pool, client.as_ref()).await?;
    print(table(&findings))?;
    let broken = findings.iter().filter(|finding| finding.is_broken()).count();
    if broken > 0 {
        print(format_args!("\n{broken} of {} promises are broken", findings.len()))?;
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
