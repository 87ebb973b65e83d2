//! `ordersaga attention`.

use anyhow::Result;
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use crate::api_client::{Api, ClientArgs};
use crate::order::{ResolveArgs, resolve, show, show_items};
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
    List(ListArgs),
    /// Decide what becomes of one of them
    Resolve(ResolveArgs),
    /// Decide about all that wait at the same step for the same cause, a thousand at a time
    ResolveAll(ResolveAllArgs),
}

/// Which of them.
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Where to go on: the cursor that the list before ended with
    #[arg(long)]
    cursor: Option<String>,
}

/// Which of them, and what is decided.
#[derive(Debug, clap::Args)]
struct ResolveAllArgs {
    /// `retry`: the cause is repaired; `skip`: go on without the step; `accept-as-done`: what was to
    /// be undone has happened for good, such as a parcel that has left
    #[arg(value_parser = PossibleValuesParser::new(["retry", "skip", "accept-as-done"]))]
    decision: String,
    /// The step that is decided about, as `attention list` names it
    #[arg(long)]
    step: String,
    /// What the column WHY begins with in `attention list`
    #[arg(long)]
    cause: String,
    /// Why; it is kept on record, so it must name no person
    #[arg(long)]
    why: String,
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
