//! `ordersaga attention`.

use anyhow::Result;
use clap::Subcommand;

use crate::api_client::{Api, ClientArgs};
use crate::order::{ResolveArgs, resolve, show_items};
use crate::output::Column;

/// The orders that wait for a person, by way of the API.
#[derive(Debug, clap::Args)]
pub(crate) struct AttentionArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the orders that wait for a person, and why; the longest wait first
    List,
    /// Decide what becomes of one of them
    Resolve(ResolveArgs),
}

const COLUMNS: [Column; 8] = [
    ("ORDER", "/order_id"),
    ("SINCE", "/since"),
    ("CUSTOMER", "/customer_id"),
    ("STEP", "/step"),
    ("OCCURRENCE", "/occurrence"),
    ("UNTIL", "/until"),
    ("DECISIONS", "/decisions"),
    ("WHY", "/why"),
];

pub(crate) async fn run(args: AttentionArgs) -> Result<()> {
    let AttentionArgs { client, command } = args;
    let format = client.output;
    let api = Api::new(client)?;
    match command {
        Command::List => show_items(&api.get(&["v1", "attention"], &[]).await?, &COLUMNS, format),
        Command::Resolve(decision) => resolve(&api, &decision, format).await,
    }
}
