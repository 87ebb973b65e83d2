//! `ordersaga reconcile`.

use std::process::ExitCode;

use activities::reconcile::{Report, reconcile, rehearse};
use anyhow::{Context as _, Result};
use runtime::temporal::Temporal;
use serde_json::Value;
use worker::database::{self, DatabaseArgs};
use worker::parties::Breakers;
use worker::payment::PaymentArgs;
use worker::reconcile::{Day, asked, tell};

use crate::differences::COLUMNS;
use crate::output::{Format, print, table};

/// Arguments of `reconcile`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReconcileArgs {
    /// The first day to compare, in UTC, such as 2026-11-01
    #[arg(long)]
    from: Option<Day>,
    /// The day after the last one to compare; without it, up to a quarter of an hour ago
    #[arg(long)]
    to: Option<Day>,
    /// How many days to compare, if `--from` is not given
    #[arg(long, env = "RECONCILE_DAYS", default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(1..=365))]
    days: u32,
    /// Show what would be found, booked and repaired, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The output format
    #[arg(long, value_enum, default_value = "table")]
    output: Format,
    #[command(flatten)]
    payment: PaymentArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// How open differences get closed.
const CLOSES: &str = "The next comparison closes what is gone, `ordersaga differences settle` \
                      what was settled in another way.\n";

/// Exits with 1 if a difference is open.
pub(crate) async fn run(args: ReconcileArgs) -> Result<ExitCode> {
    let asked = asked(args.from, args.to, args.days)?;
    let pool = args.database.unlimited_pool().context("DATABASE_URL")?;
    let breaker = Breakers::default().provider;
    let provider = args.payment.provider(|| args.database.sandbox_database(), breaker)?;
    database::reach(&pool, &database::schema_gate()).await?;
    let report = if args.dry_run {
        rehearse(&pool, provider.as_ref(), &asked).await?
    } else {
        reconcile(&pool, provider.as_ref(), &asked).await?
    };
    match args.output {
        Format::Json => print(serde_json::to_value(&report)?)?,
        Format::Table => show(&report, args.dry_run)?,
    }
    if !args.dry_run && !report.hints.is_empty() {
        // The waiting workflows find the result on record even if this notification fails.
        let client = Temporal::from_env("ordersaga-reconcile")?.connect().await?;
        tell(&client, &report.hints).await?;
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(report: &Report, is_rehearsal: bool) -> Result<()> {
    let Report { from, to, payments, refunds, payouts, opened, closed, found, voided, .. } = report;
    if let Value::Array(differences) = serde_json::to_value(&report.differences)?
        && !differences.is_empty()
    {
        print(format_args!("{}\n", table(&differences, &COLUMNS)))?;
        print(CLOSES)?;
    }
    print(format_args!(
        "{from} to {to}: {payments} payments, {refunds} refunds, {payouts} payouts"
    ))?;
    let hints = report.hints.len();
    let would = if is_rehearsal { " (nothing was done: dry run)" } else { "" };
    print(format_args!(
        "{found} differences are open, of which {opened} are new; {closed} no longer exist; {voided} \
         abandoned payments voided, {hints} orders and refunds told to ask again{would}"
    ))?;
    Ok(())
}
