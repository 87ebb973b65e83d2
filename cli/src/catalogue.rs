//! `ordersaga load-catalogue`.

use std::path::PathBuf;

use activities::catalogue::{Stocking, load, overwrite};
use anyhow::{Context as _, Result};
use rust_decimal::Decimal;
use sqlx::PgPool;
use worker::catalogue_file;

use crate::migrate::OwnerArgs;
use crate::output::print;

/// Arguments of `load-catalogue`.
#[derive(Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// CSV with the columns `sku`, `name` and `unit_price_gbp` (or another currency)
    file: PathBuf,
    /// Also replace names, prices and costs of articles that the catalogue already has; without it
    /// they stay as they are, because an operator may have changed them
    #[arg(long)]
    overwrite: bool,
    /// Pieces received of each new article
    #[arg(long, default_value_t = 10_000)]
    on_hand: u32,
    /// The shop's cost of a piece, as a percentage of its price
    #[arg(long, default_value = "60", value_parser = catalogue_file::percent)]
    cost_percent: Decimal,
    #[command(flatten)]
    database: OwnerArgs,
}

pub(crate) async fn run(args: LoadArgs) -> Result<()> {
    let articles = catalogue_file::read(&args.file)
        .with_context(|| format!("{} was not taken in", args.file.display()))?;
    let stocking = Stocking { cost_percent: args.cost_percent, pieces: args.on_hand };
    let database = PgPool::connect_with(args.database.options()?).await;
    let database = database.context("the database does not answer")?;
    let received = if args.overwrite {
        overwrite(&database, &articles, stocking).await?
    } else {
        load(&database, &articles, stocking).await?
    };
    let value = received.value.map_or_else(|| "nothing".to_owned(), |value| value.to_string());
    print(format_args!(
        "{} articles read; {} of them new, received at a cost of {value}",
        articles.len(),
        received.articles,
    ))?;
    Ok(())
}
