//! `ordersaga migrate`.

use anyhow::{Context as _, Result};
use runtime::database::parse_url;
use sqlx::postgres::PgConnectOptions;

use crate::output::print;

/// The database, for commands that need more rights than a program's role has.
#[derive(Debug, clap::Args)]
pub(crate) struct OwnerArgs {
    /// The database, as the owner of its schemas: postgres://user:password@host:port/name
    #[arg(
        long,
        env = "MIGRATE_DATABASE_URL",
        hide_env_values = true,
        required_unless_present = "database_url"
    )]
    migrate_database_url: Option<String>,
    /// Used if `MIGRATE_DATABASE_URL` is not set
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
}

impl OwnerArgs {
    pub(crate) fn options(self) -> Result<PgConnectOptions> {
        let url = self
            .migrate_database_url
            .or(self.database_url)
            .context("MIGRATE_DATABASE_URL is not set")?;
        Ok(parse_url(&url).context("the owner's database URL")?.application_name("ordersaga"))
    }
}

pub(crate) async fn run(args: OwnerArgs) -> Result<()> {
    let migrated = runtime::schema::migrate(&args.options()?)
        .await
        .context("the database was not brought up to date")?;
    for migration in &migrated.applied {
        print(format_args!("applied {:04} {}", migration.version, migration.description))?;
    }
    for version in &migrated.unknown {
        print(format_args!("kept    {version:04}, which a newer release has applied"))?;
    }
    if migrated.applied.is_empty() {
        print("the database is up to date")?;
    }
    Ok(())
}
