//! `ordersaga dispute`.

use anyhow::Result;
use clap::Subcommand;

use crate::api_client::{Api, ClientArgs};
use crate::order::show_items;
use crate::output::Column;

/// Disputes of customers' banks (chargebacks).
#[derive(Debug, clap::Args)]
pub(crate) struct DisputeArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List disputes, newest first, and until when each can be answered
    List(ListArgs),
}

/// Arguments of `dispute list`.
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only undecided ones
    #[arg(long)]
    open: bool,
    /// How many to list
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
    limit: u16,
    /// The cursor at which the previous page ended
    #[arg(long)]
    cursor: Option<String>,
}

const COLUMNS: [Column; 8] = [
    ("DISPUTE", "/dispute_id"),
    ("ORDER", "/order_id"),
    ("OPENED", "/opened_at"),
    ("AMOUNT", "/amount"),
    ("STATUS", "/status"),
    ("REASON", "/reason"),
    ("ANSWER BY", "/evidence_due"),
    ("DEALT WITH BY", "/released_by"),
];

pub(crate) async fn run(args: DisputeArgs) -> Result<()> {
    let DisputeArgs { client, command: Command::List(which) } = args;
    let format = client.output;
    let api = Api::new(client)?;
    let parameters = [
        ("open", which.open.then(|| "true".to_owned())),
        ("limit", Some(which.limit.to_string())),
        ("cursor", which.cursor),
    ];
    show_items(&api.get(&["v1", "disputes"], &parameters).await?, &COLUMNS, format)
}
