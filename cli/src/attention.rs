//! `ordersaga attention`.

use anyhow::Result;
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use crate::api_client::{Api, ClientArgs};
use crate::order::{ResolveArgs, resolve, show, show_items};
use crate::output::Column;

/// What waits for a person's decision: orders, receivers of messages, and mails.
#[derive(Debug, clap::Args)]
pub(crate) struct AttentionArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List what waits for a person, why, and what to do about it; the longest wait first
    List(ListArgs),
    /// Decide about an order that waits
    Resolve(ResolveArgs),
    /// Decide about all orders that wait at the same step for the same cause, a thousand at a time
    ResolveAll(ResolveAllArgs),
}

/// Arguments of `attention list`.
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// The cursor at which the previous page ended
    #[arg(long)]
    cursor: Option<String>,
}

/// Arguments of `attention resolve-all`.
#[derive(Debug, clap::Args)]
struct ResolveAllArgs {
    /// `retry`: the cause is repaired; `skip`: go on without the step; `accept-as-done`: the effect
    /// to be undone is final, such as a parcel that has left
    #[arg(value_parser = PossibleValuesParser::new(["retry", "skip", "accept-as-done"]))]
    decision: String,
    /// The step to decide about, as `attention list` names it
    #[arg(long)]
    step: String,
    /// What the column WHY begins with in `attention list`
    #[arg(long)]
    cause: String,
    /// The reason; it goes on record, so it must not name a person
    #[arg(long)]
    why: String,
}

const COLUMNS: [Column; 15] = [
    ("KIND", "/kind"),
    ("SINCE", "/since"),
    ("ORDER", "/order_id"),
    ("ENDPOINT", "/endpoint_id"),
    ("HOST", "/host"),
    ("SINK", "/sink"),
    ("MAIL", "/notification_id"),
    ("TEMPLATE", "/template"),
    ("CUSTOMER", "/customer_id"),
    ("STEP", "/step"),
    ("OCCURRENCE", "/occurrence"),
    ("UNTIL", "/until"),
    ("DECISIONS", "/decisions"),
    ("WHY", "/why"),
    ("DO", "/advice"),
];

pub(crate) async fn run(args: AttentionArgs) -> Result<()> {
    let AttentionArgs { client, command } = args;
    let format = client.output;
    let api = Api::new(client)?;
    match command {
        Command::List(ListArgs { cursor }) => {
            let page = api.get(&["v1", "attention"], &[("cursor", cursor)]).await?;
            show_items(&page, &COLUMNS, format)
        }
        Command::Resolve(decision) => resolve(&api, &decision, format).await,
        Command::ResolveAll(ResolveAllArgs { decision, step, cause, why }) => {
            let body = json!({ "step": step, "cause": cause, "decision": decision, "why": why });
            show(&api.post(&["v1", "attention", "resolve"], &[], &body).await?, format)
        }
    }
}
