//! `ordersaga differences`.

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use crate::api_client::{Api, ClientArgs};
use crate::order::{show, show_items};
use crate::output::Column;

/// Differences between the payment provider and the shop.
#[derive(Debug, clap::Args)]
pub(crate) struct DifferencesArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List open differences, the oldest first, and what to do about each
    List(ListArgs),
    /// Settle a difference that was resolved outside provider and shop
    Settle(SettleArgs),
}

/// Arguments of `differences list`.
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// List those that were settled and still exist, instead of the open ones
    #[arg(long)]
    settled: bool,
    /// The cursor at which the previous page ended
    #[arg(long)]
    cursor: Option<String>,
}

/// Arguments of `differences settle`.
#[derive(Debug, clap::Args)]
struct SettleArgs {
    /// The difference's number, as `differences list` shows it
    difference_id: String,
    /// How it was settled; it goes on record, so it must not name a person
    #[arg(long)]
    why: String,
}

pub(crate) const COLUMNS: [Column; 10] = [
    ("DIFFERENCE", "/difference_id"),
    ("SINCE", "/since"),
    ("KIND", "/kind"),
    ("AT THE PROVIDER", "/subject"),
    ("ORDER", "/order_id"),
    ("THERE", "/at_provider"),
    ("HERE", "/in_shop"),
    ("SETTLED BY", "/settled_by"),
    ("BECAUSE", "/settled_why"),
    ("DO", "/advice"),
];

pub(crate) async fn run(args: DifferencesArgs) -> Result<()> {
    let DifferencesArgs { client, command } = args;
    let format = client.output;
    let api = Api::new(client)?;
    match command {
        Command::List(ListArgs { settled, cursor }) => {
            let settled = settled.then(|| "true".to_owned());
            let asked = [("settled", settled), ("cursor", cursor)];
            show_items(&api.get(&["v1", "reconciliation"], &asked).await?, &COLUMNS, format)
        }
        Command::Settle(SettleArgs { difference_id, why }) => {
            let path = ["v1", "reconciliation", &difference_id, "settle"];
            show(&api.post(&path, &[], &json!({ "why": why })).await?, format)
        }
    }
}
