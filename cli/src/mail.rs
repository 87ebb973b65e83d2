//! `ordersaga mail`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Subcommand;
use domain::MailTemplate;
use relay::mail::LetterArgs;
use runtime::database::PoolSettings;
use serde_json::json;
use uuid::Uuid;

use crate::api_client::{Api, ClientArgs};
use crate::order::{show, show_items};
use crate::output::{Column, print};

/// Mails and text messages to customers, and their templates.
#[derive(Debug, clap::Args)]
pub(crate) struct MailArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a mail for a sample or for an order; nothing is sent
    Preview(Box<PreviewArgs>),
    /// List mails and text messages, the oldest first; without `--state`, those that wait for a
    /// person
    List(ListArgs),
    /// Send a parked mail again
    Retry(RetryArgs),
    /// Give up a mail that is parked or still to be sent
    Skip(SkipArgs),
}

/// Arguments of `mail preview`.
#[derive(Debug, clap::Args)]
struct PreviewArgs {
    /// The template, such as `confirmed`; the folder of templates has a file for each
    #[arg(value_parser = template)]
    template: MailTemplate,
    /// The locale
    #[arg(long)]
    locale: Option<String>,
    /// Print the HTML instead of subject and text
    #[arg(long)]
    html: bool,
    /// The order to write about, instead of the sample
    #[arg(long, requires = "relay_database_url")]
    order: Option<Uuid>,
    /// The shop's database, as the relay's role, to read the order from
    #[arg(long, env = "RELAY_DATABASE_URL", hide_env_values = true)]
    relay_database_url: Option<String>,
    #[command(flatten)]
    letter: LetterArgs,
}

/// Arguments of `mail list`.
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// The state: queued, sending, sent, parked or skipped
    #[arg(long, default_value = "parked")]
    state: String,
    /// Only mails about this order
    #[arg(long)]
    order: Option<Uuid>,
    /// The cursor at which the previous page ended
    #[arg(long)]
    cursor: Option<String>,
}

/// Arguments of `mail retry`.
#[derive(Debug, clap::Args)]
struct RetryArgs {
    /// Its number, as `mail list` shows it
    notification_id: String,
}

/// Arguments of `mail skip`.
#[derive(Debug, clap::Args)]
struct SkipArgs {
    /// Its number, as `mail list` shows it
    notification_id: String,
    /// The reason; it goes on record, so it must not name a person
    #[arg(long)]
    why: String,
}

const COLUMNS: [Column; 9] = [
    ("MAIL", "/notification_id"),
    ("MADE", "/created_at"),
    ("TEMPLATE", "/template"),
    ("BY", "/channel"),
    ("ORDER", "/order_id"),
    ("STATE", "/state"),
    ("POLICY", "/policy"),
    ("NEXT", "/next_try_at"),
    ("WHY", "/why"),
];

pub(crate) async fn run(args: MailArgs) -> Result<ExitCode> {
    let MailArgs { client, command } = args;
    let format = client.output;
    match command {
        Command::Preview(preview) => return self::preview(*preview).await,
        Command::List(ListArgs { state, order, cursor }) => {
            let order = order.map(|order| order.to_string());
            let asked = [("state", Some(state)), ("order_id", order), ("cursor", cursor)];
            let page = Api::new(client)?.get(&["v1", "mail"], &asked).await?;
            show_items(&page, &COLUMNS, format)?;
        }
        Command::Retry(RetryArgs { notification_id }) => {
            let path = ["v1", "mail", &notification_id, "retry"];
            show(&Api::new(client)?.post(&path, &[], &json!({})).await?, format)?;
        }
        Command::Skip(SkipArgs { notification_id, why }) => {
            let path = ["v1", "mail", &notification_id, "skip"];
            show(&Api::new(client)?.post(&path, &[], &json!({ "why": why })).await?, format)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the mail; exit code 1 if this mail does not apply to the order.
async fn preview(args: PreviewArgs) -> Result<ExitCode> {
    let PreviewArgs { template, locale, html, order, relay_database_url, letter } = args;
    let db = match &relay_database_url {
        Some(url) if order.is_some() => Some(READING.lazy(url).context("RELAY_DATABASE_URL")?),
        Some(_) | None => None,
    };
    let order = db.as_ref().zip(order);
    let written = relay::mail::preview(&letter, template, locale.as_deref(), order).await;
    let written = match written {
        Err(nothing @ relay::mail::MailError::NothingToTell(_)) => {
            print(nothing)?;
            return Ok(ExitCode::FAILURE);
        }
        written => written?,
    };
    if html {
        print(written.html.trim_end())?;
    } else {
        print(format_args!("{}\n\n{}", written.subject, written.text.trim_end()))?;
    }
    Ok(ExitCode::SUCCESS)
}

const READING: PoolSettings = PoolSettings {
    program: "ordersaga-mail",
    connections: 1,
    acquire_timeout: Duration::from_secs(5),
    statement_timeout: Some(Duration::from_secs(10)),
    lock_timeout: Some(Duration::from_secs(1)),
    test_before_acquire: true,
};

fn template(name: &str) -> Result<MailTemplate, String> {
    name.parse().map_err(|_error| format!("no mail is called {name}"))
}
