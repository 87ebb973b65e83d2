//! `ordersaga recover`.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use runtime::temporal::Temporal;
use worker::database::{self, DatabaseArgs};
use worker::recover::{Recovered, recover};

use crate::output::print;

/// Arguments of `recover`.
#[derive(Debug, clap::Args)]
pub(crate) struct RecoverArgs {
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Exits with 1 if something could not be settled, or could not be examined.
pub(crate) async fn run(args: RecoverArgs) -> Result<ExitCode> {
    let client = Temporal::from_env("ordersaga-recover")?.connect().await?;
    let pool = args.database.unlimited_pool().context("DATABASE_URL")?;
    database::reach(&pool, &database::schema_gate()).await?;
    let found = recover(&pool, &client).await?;
    for one in &found {
        print(one)?;
    }
    let is_settled = |one: &&Recovered| match one {
        Recovered::Relaunched(_) | Recovered::SetBack { .. } | Recovered::RefundRelaunched(_) => {
            true
        }
        Recovered::NotOnRecord(_) | Recovered::Unknown { .. } => false,
    };
    let settled = found.iter().filter(is_settled).count();
    let left = found.len().saturating_sub(settled);
    print(format_args!(
        "{settled} orders and refunds wait to be launched again by the API's launcher; {left} are left as they are"
    ))?;
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
