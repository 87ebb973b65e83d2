//! `ordersaga prove`.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use runtime::database::parse_url;
use runtime::temporal::Temporal;
use sqlx::postgres::PgPoolOptions;
use worker::database::{self, DatabaseArgs};
use worker::prove::{
    Finding, checked, look_at_inboxes, look_at_logs, prove, prove_recent, put_in_place, secrets_of,
    table,
};

use crate::output::{print, print_verdicts};

/// Arguments of `prove`.
#[derive(Debug, clap::Args)]
pub(crate) struct ProveArgs {
    /// Check the database only, without what only Temporal can show
    #[arg(long)]
    without_temporal: bool,
    /// Check only orders that have changed in the last N hours or have not ended, and bookings
    /// since the last closing of the books. Sums over the whole history are not checked
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=8760))]
    hours: Option<u16>,
    /// Logs to search for personal data and secrets: files, gzipped or not, and folders
    #[arg(long, env = "ORDERSAGA_LOGS", value_delimiter = ',', num_args = 1..)]
    logs: Vec<PathBuf>,
    /// Files of event ids that a consumer has processed: a file for each consumer, an id
    /// (`order_id:sequence`) on each line
    #[arg(long, value_delimiter = ',', num_args = 1..)]
    inbox: Vec<PathBuf>,
    /// For `--logs`: the database, as the owner of its schemas, who can see all customers
    #[arg(long, env = "MIGRATE_DATABASE_URL", hide_env_values = true)]
    migrate_database_url: Option<String>,
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
    let mut findings = match args.hours {
        None => prove(&pool, client.as_ref()).await?,
        Some(hours) => {
            let recent = prove_recent(&pool, client.as_ref(), hours).await?;
            print(format_args!("{}\n", checked(recent.orders, hours)))?;
            recent.findings
        }
    };
    if !args.inbox.is_empty() {
        put_in_place(&mut findings, look_at_inboxes(&pool, &args.inbox).await?);
    }
    if !args.logs.is_empty() {
        put_in_place(&mut findings, logs(&args).await?);
    }
    print_verdicts(table(&findings))?;
    let broken = findings.iter().filter(|finding| finding.is_broken()).count();
    if broken > 0 {
        print(format_args!("\n{broken} of {} promises are broken", findings.len()))?;
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

async fn logs(args: &ProveArgs) -> Result<Finding> {
    let url = args.migrate_database_url.as_ref().unwrap_or(&args.database.database_url);
    let options = parse_url(url).context("MIGRATE_DATABASE_URL")?;
    let owner = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
    // A variable that is not valid UTF-8 cannot be one of our secrets.
    let variables = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let secrets = secrets_of(variables);
    let looked = look_at_logs(&owner, &secrets, &args.logs).await;
    looked.context("the logs cannot be judged: only the owner's role can read all customers")
}
