//! `ordersaga screening`.

mod rules;

use anyhow::Result;
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use crate::api_client::{Api, ClientArgs};
use crate::order::{show, show_items};
use crate::output::Column;

/// Screening's block and allow lists, and its rules.
#[derive(Debug, clap::Args)]
pub(crate) struct ScreeningArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the block and allow lists, the newest entries first
    List(ListArgs),
    /// Block or allow somebody
    Add(AddArgs),
    /// Remove an entry from its list
    Remove(RemoveArgs),
    /// Manage rule sets: try one out, and activate it
    Rules(rules::RulesArgs),
}

/// Arguments of `screening list`.
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// The cursor at which the previous page ended
    #[arg(long)]
    cursor: Option<String>,
}

/// Arguments of `screening add`.
#[derive(Debug, clap::Args)]
struct AddArgs {
    /// Which list
    #[arg(value_parser = PossibleValuesParser::new(["block", "allow"]))]
    list: String,
    /// The kind of the entry
    #[arg(value_parser = PossibleValuesParser::new(
        ["customer", "payment-method", "address", "network"]
    ))]
    kind: String,
    /// The customer's id, the provider's token, or an IP address or network
    #[arg(required_unless_present = "order")]
    value: Option<String>,
    /// An order whose customer, payment method, address or network is to be listed
    #[arg(long, conflicts_with = "value")]
    order: Option<String>,
    /// The reason; it is kept with the entry, so it must not name a person
    #[arg(long)]
    why: String,
}

/// Arguments of `screening remove`.
#[derive(Debug, clap::Args)]
struct RemoveArgs {
    /// The entry's id, as `screening list` shows it
    entry_id: String,
}

const COLUMNS: [Column; 7] = [
    ("ENTRY", "/entry_id"),
    ("LIST", "/list"),
    ("KIND", "/kind"),
    ("VALUE", "/value"),
    ("BY", "/listed_by"),
    ("AT", "/listed_at"),
    ("WHY", "/why"),
];

pub(crate) async fn run(args: ScreeningArgs) -> Result<()> {
    const PATH: [&str; 3] = ["v1", "screening", "entries"];
    let ScreeningArgs { client, command } = args;
    let format = client.output;
    let api = Api::new(client)?;
    match command {
        Command::List(ListArgs { cursor }) => {
            show_items(&api.get(&PATH, &[("cursor", cursor)]).await?, &COLUMNS, format)
        }
        Command::Add(AddArgs { list, kind, value, order, why }) => {
            let mut body = json!({ "list": list, "kind": kind, "why": why });
            for (name, given) in [("value", value), ("order_id", order)] {
                if let (Some(given), Some(fields)) = (given, body.as_object_mut()) {
                    fields.insert(name.to_owned(), json!(given));
                }
            }
            show(&api.post(&PATH, &[], &body).await?, format)
        }
        Command::Remove(RemoveArgs { entry_id }) => {
            let [version, screening, entries] = PATH;
            show(&api.delete(&[version, screening, entries, &entry_id]).await?, format)
        }
        Command::Rules(args) => rules::run(&api, args, format).await,
    }
}
