//! `ordersaga differences`.

use anyhow::Result;
use clap::Subcommand;

use crate::api_client::{Api, ClientArgs};
use crate::order::show_items;
use crate::output::Column;

/// Where provider and shop do not say the same, by way of the API.
#[derive(Debug, clap::Args)]
pub(crate) struct DifferencesArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the differences that stand open, the oldest first, and what to do about each
    List {
        /// Where the page before this one ended
        #[arg(long)]
        cursor: Option<String>,
    },
}

pub(crate) const COLUMNS: [Column; 7] = [
    ("SINCE", "/since"),
    ("KIND", "/kind"),
    ("AT THE PROVIDER", "/subject"),
    ("ORDER", "/order_id"),
    ("THERE", "/at_provider"),
    ("HERE", "/in_shop"),
    ("DO", "/advice"),
];

pub(crate) async fn run(args: DifferencesArgs) -> Result<()> {
    let DifferencesArgs { client, command } = args;
    let format = client.output;
    let api = Api::new(client)?;
    match command {
        Command::List { cursor } => {
            let page = api.get(&["v1", "reconciliation"], &[("cursor", cursor)]).await?;
            show_items(&page, &COLUMNS, format)
        }
    }
}
