//! `worker`: serves the queues, and shows that what was served holds together.
//!
//! Exit codes: 0 when it is done and all is well; 1 when a history diverges or an invariant is
//! broken; 2 when it could not be done at all.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use activities::catalogue::{self, Stocking};
use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;
use rust_decimal::Decimal;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use worker::catalogue_file;
use worker::database::{self, DatabaseArgs};
use worker::migrate::migrate;
use worker::prove::{prove, table};
use worker::replay::{histories, replay_file};
use worker::run::{self, RunArgs};
use worker::telemetry::{EVENTS_OF_NOTE, LogFormat, ONLY_ERRORS, start_logging};
use worker::temporal::Temporal;
use worker::waiting::chain;

/// A step is many short-lived pieces of memory, which the system's allocator is slow with.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Carries the shop's orders through, and shows that what it did holds together.
///
/// Temporal is found by the SDK's own settings: `TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`,
/// `TEMPORAL_TLS_…`, `TEMPORAL_API_KEY`.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    /// How log lines look
    #[arg(long, env = "LOG_FORMAT", global = true, value_enum, default_value = "pretty")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the task queues until told to stop
    Run(Box<RunArgs>),
    /// Bring the database up to date
    Migrate(OwnerArgs),
    /// Take a supplier's list into the catalogue, the warehouse and the books
    LoadCatalogue(LoadArgs),
    /// Replay recorded histories against today's workflows
    Replay(ReplayArgs),
    /// Show that the invariants hold
    Prove(ProveArgs),
}

/// Where the database is for those who may do more than the worker.
#[derive(Debug, clap::Args)]
struct OwnerArgs {
    /// The database, as its owner; without it, `DATABASE_URL` counts
    #[arg(long, env = "MIGRATE_DATABASE_URL", hide_env_values = true)]
    migrate_database_url: Option<String>,
    /// The database
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
}

impl OwnerArgs {
    fn options(self) -> Result<PgConnectOptions> {
        let url = self
            .migrate_database_url
            .or(self.database_url)
            .context("neither MIGRATE_DATABASE_URL nor DATABASE_URL says where the database is")?;
        Ok(url.parse()?)
    }
}

#[derive(Debug, clap::Args)]
struct LoadArgs {
    /// CSV with the columns `sku`, `name` and `unit_price_gbp` (or another currency)
    file: PathBuf,
    /// Pieces that come in of each article that the warehouse has not had before
    #[arg(long, default_value_t = 10_000)]
    on_hand: u32,
    /// What a piece costs the shop, in per cent of its price
    #[arg(long, default_value = "60")]
    cost_percent: Decimal,
    #[command(flatten)]
    database: OwnerArgs,
}

#[derive(Debug, clap::Args)]
struct ReplayArgs {
    /// Histories, or folders of them (*.json): as the SDK writes them, or as
    /// `temporal workflow show --output json` prints them
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct ProveArgs {
    /// Look at the database alone; what only Temporal can show is not checked
    #[arg(long)]
    without_temporal: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { log_format, command } = Cli::parse();
    let filter = match &command {
        // What they find, they print; what the libraries warn of on the way would only repeat it.
        Command::Replay(_) | Command::Prove(_) => ONLY_ERRORS,
        Command::Run(_) | Command::Migrate(_) | Command::LoadCatalogue(_) => EVENTS_OF_NOTE,
    };
    start_logging(log_format, filter);
    let done = match command {
        Command::Run(args) => run::run(*args).await.map(|()| ExitCode::SUCCESS).map_err(Into::into),
        Command::Migrate(args) => bring_up_to_date(args).await,
        Command::LoadCatalogue(args) => load_catalogue(args).await,
        Command::Replay(args) => replay(&args),
        Command::Prove(args) => prove_all(args).await,
    };
    done.unwrap_or_else(|error| {
        tracing::error!("{}", chain(error.as_ref()));
        ExitCode::from(2)
    })
}

async fn bring_up_to_date(args: OwnerArgs) -> Result<ExitCode> {
    let applied =
        migrate(&args.options()?).await.context("the database was not brought up to date")?;
    for migration in &applied {
        say(format_args!("applied {:04} {}", migration.version, migration.description))?;
    }
    if applied.is_empty() {
        say("the database is up to date")?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn load_catalogue(args: LoadArgs) -> Result<ExitCode> {
    let articles = catalogue_file::read(&args.file)
        .with_context(|| format!("{} was not taken in", args.file.display()))?;
    let stocking = Stocking { cost_percent: args.cost_percent, pieces: args.on_hand };
    let database = PgPool::connect_with(args.database.options()?).await;
    let database = database.context("the database does not answer")?;
    let received = catalogue::load(&database, &articles, stocking).await?;
    let value = received.value.map_or_else(|| "nothing".to_owned(), |value| value.to_string());
    say(format_args!(
        "{} articles listed; {} of them new, received at a cost of {value}",
        articles.len(),
        received.articles,
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn replay(args: &ReplayArgs) -> Result<ExitCode> {
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
                    say(format_args!("{outcome}  {}", file.display()))?;
                }
                Err(error) => {
                    unreadable = true;
                    say(format_args!("unreadable  {error}"))?;
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

async fn prove_all(args: ProveArgs) -> Result<ExitCode> {
    let client = if args.without_temporal {
        None
    } else {
        let temporal = Temporal::from_env()?;
        let client = temporal.connect().await;
        Some(client.context("use --without-temporal to look at the database alone")?)
    };
    let pool = args.database.pool()?;
    database::reach(&pool).await?;
    let findings = prove(&pool, client.as_ref()).await?;
    say(table(&findings))?;
    let broken = findings.iter().filter(|finding| finding.is_broken()).count();
    if broken > 0 {
        say(format_args!("\n{broken} of {} promises are broken", findings.len()))?;
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// The one place that prints: what a command was asked for goes to standard output.
fn say(line: impl Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}
