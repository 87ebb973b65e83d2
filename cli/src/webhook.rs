//! `ordersaga webhook`.

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use crate::api_client::{Api, ClientArgs};
use crate::order::{show, show_items};
use crate::output::Column;

/// Events that the payment provider has sent.
#[derive(Debug, clap::Args)]
pub(crate) struct WebhookArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the payment provider's events, the oldest first
    List(ListArgs),
    /// Retry an open event at once
    Retry(RetryArgs),
    /// Dismiss an open event, without applying it
    Dismiss(DismissArgs),
}

/// Arguments of `webhook list`.
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// The state: open, applied or ignored
    #[arg(long, default_value = "open")]
    status: String,
    /// Entries per page
    #[arg(long)]
    limit: Option<u16>,
    /// The cursor at which the previous page ended
    #[arg(long)]
    cursor: Option<String>,
}

/// Arguments of `webhook retry`.
#[derive(Debug, clap::Args)]
struct RetryArgs {
    /// The event's id at the provider
    event_id: String,
}

/// Arguments of `webhook dismiss`.
#[derive(Debug, clap::Args)]
struct DismissArgs {
    /// The event's id at the provider
    event_id: String,
    /// The reason; it goes on record, so it must not name a person
    #[arg(long)]
    why: String,
}

const COLUMNS: [Column; 10] = [
    ("EVENT", "/event_id"),
    ("TYPE", "/type"),
    ("OBJECT", "/object_id"),
    ("STATUS", "/status"),
    ("RECEIVED", "/received_at"),
    ("ATTEMPTS", "/attempts"),
    ("NEXT", "/next_try_at"),
    ("DISMISSED BY", "/dismissed_by"),
    ("BECAUSE", "/dismissed_why"),
    ("WHY", "/last_error"),
];

pub(crate) async fn run(args: WebhookArgs) -> Result<()> {
    let WebhookArgs { client, command } = args;
    let format = client.output;
    let api = Api::new(client)?;
    match command {
        Command::List(ListArgs { status, limit, cursor }) => {
            let limit = limit.map(|limit| limit.to_string());
            let asked = [("status", Some(status)), ("limit", limit), ("cursor", cursor)];
            let page = api.get(&["v1", "webhooks", "events"], &asked).await?;
            show_items(&page, &COLUMNS, format)
        }
        Command::Retry(RetryArgs { event_id }) => {
            let path = ["v1", "webhooks", "events", &event_id, "retry"];
            show(&api.post(&path, &[], &json!({})).await?, format)
        }
        Command::Dismiss(DismissArgs { event_id, why }) => {
            let path = ["v1", "webhooks", "events", &event_id, "dismiss"];
            show(&api.post(&path, &[], &json!({ "why": why })).await?, format)
        }
    }
}
