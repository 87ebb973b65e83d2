//! `ordersaga review`.

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use crate::api_client::{Api, ClientArgs};
use crate::order::{show, show_items};
use crate::output::Column;

/// The orders that screening has stopped for review.
#[derive(Debug, clap::Args)]
pub(crate) struct ReviewArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the orders that wait for a review, and why; the earliest deadline first
    List(ListArgs),
    /// Approve an order
    Approve(DecisionArgs),
    /// Decline an order
    Decline(DecisionArgs),
}

/// Arguments of `review list`.
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// The cursor at which the previous page ended
    #[arg(long)]
    cursor: Option<String>,
}

/// Arguments of `review approve` and `review decline`.
#[derive(Debug, clap::Args)]
struct DecisionArgs {
    /// The order's id
    order_id: String,
    /// The reason; it goes on record, so it must not name a person
    #[arg(long)]
    note: String,
}

const COLUMNS: [Column; 8] = [
    ("ORDER", "/order_id"),
    ("UNTIL", "/until"),
    ("OTHERWISE", "/otherwise"),
    ("CUSTOMER", "/customer_id"),
    ("TOTAL", "/total"),
    ("COUNTRY", "/country"),
    ("STAGE", "/stage"),
    ("REASONS", "/reasons"),
];

pub(crate) async fn run(args: ReviewArgs) -> Result<()> {
    let ReviewArgs { client, command } = args;
    let format = client.output;
    let api = Api::new(client)?;
    let (decision, what) = match command {
        Command::List(ListArgs { cursor }) => {
            let page = api.get(&["v1", "reviews"], &[("cursor", cursor)]).await?;
            return show_items(&page, &COLUMNS, format);
        }
        Command::Approve(what) => ("approve", what),
        Command::Decline(what) => ("decline", what),
    };
    let path = ["v1", "orders", &what.order_id, "review"];
    let body = json!({ "decision": decision, "note": what.note });
    show(&api.post(&path, &[], &body).await?, format)
}
