//! `ordersaga rebuild`.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use domain::{OrderId, line_of_text};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;
use worker::database;
use worker::rebuild::{Comparison, repair};

use crate::migrate::OwnerArgs;
use crate::output::print;

/// Arguments of `rebuild`.
#[derive(Debug, clap::Args)]
pub(crate) struct RebuildArgs {
    /// Compare every order's row with its events, while orders come in; changes nothing
    #[arg(long, required_unless_present = "order", conflicts_with = "order")]
    check: bool,
    /// Rebuild this order's row from its events
    #[arg(long, requires = "why")]
    order: Option<Uuid>,
    /// Why the row is repaired; it goes on record
    #[arg(long, requires = "order")]
    why: Option<String>,
    /// Who requests it; it goes on record
    #[arg(long, env = "USER", default_value = "operator")]
    by: String,
    #[command(flatten)]
    owner: OwnerArgs,
}

/// The maximum length of a reason.
const WHY_MAX: usize = 500;

/// Exits with 1 if a row differs from its events, or cannot be derived from them.
pub(crate) async fn run(args: RebuildArgs) -> Result<ExitCode> {
    let RebuildArgs { check, order, why, by, owner } = args;
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(owner.options()?);
    database::reach(&pool, &database::schema_gate()).await?;
    if check {
        return compare(&pool).await;
    }
    let order = order.context("either --check or --order")?;
    put_right(&pool, OrderId::of(order), &by, &why.unwrap_or_default()).await
}

async fn compare(pool: &PgPool) -> Result<ExitCode> {
    let is_shown = io::stderr().is_terminal();
    let (mut comparison, mut found) = (Comparison::default(), 0_usize);
    while let Some(differences) = comparison.next(pool).await? {
        clear(is_shown);
        for difference in &differences {
            print(difference)?;
        }
        found = found.saturating_add(differences.len());
        if is_shown {
            write!(io::stderr().lock(), "{} orders", comparison.looked_at()).ok();
        }
    }
    clear(is_shown);
    let looked_at = comparison.looked_at();
    if found == 0 {
        print(format_args!("{looked_at} orders: every row matches its events"))?;
        return Ok(ExitCode::SUCCESS);
    }
    print(format_args!("{looked_at} orders: {found} values differ from the events"))?;
    Ok(ExitCode::FAILURE)
}

/// Clears the progress line, so that the next output begins on an empty line.
fn clear(is_shown: bool) {
    if is_shown {
        write!(io::stderr().lock(), "\r\x1b[K").ok();
    }
}

async fn put_right(pool: &PgPool, order: OrderId, by: &str, why: &str) -> Result<ExitCode> {
    let why = line_of_text(why, WHY_MAX).context("--why is no line of text")?;
    match repair(pool, order, by, &why).await.context("the row was not repaired")? {
        Some(columns) if columns.is_empty() => print("the row matches its events")?,
        Some(columns) => print(format_args!("repaired: {}", columns.join(", ")))?,
        None => {
            print("the row, or the event of its placing, is missing: it cannot be derived")?;
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}
