//! `ordersaga relay`, and the operators' commands for its sinks.

use anyhow::{Context as _, Result};
use clap::Subcommand;
use relay::rebase::rebase;
use relay::run::RelayProgramArgs;
use runtime::logging::{EVENTS_OF_NOTE, ONLY_ERRORS};
use serde_json::{Value, json};

use crate::api_client::{Api, ClientArgs};
use crate::migrate::OwnerArgs;
use crate::order::{show, show_items};
use crate::output::{Column, print};
use crate::{OWN_WARNINGS, serve};

/// Runs the relay if no subcommand is given; the subcommands use the API.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct RelayCommand {
    #[command(flatten)]
    program: RelayProgramArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the sinks and their state
    List(ListArgs),
    /// List a sink's messages that were refused, or that keep others waiting
    Parked(ParkedArgs),
    /// Pause a sink: nothing is delivered to it
    Pause(SinkArgs),
    /// Resume a paused sink, from where it was
    Resume(SinkArgs),
    /// Deliver refused messages again, with those that wait behind them; or everything
    Replay(ReplayArgs),
    /// Drop an order's refused message, and deliver what waits behind it
    Skip(SkipArgs),
    /// Remove a sink that no process serves, and keep no messages for it
    Remove(SinkArgs),
    /// After a restore from a dump: deliver all kept messages again
    Rebase(RebaseArgs),
}

/// Arguments of `relay list`.
#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    client: ClientArgs,
}

/// Arguments of `relay parked`.
#[derive(Debug, clap::Args)]
struct ParkedArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The sink, as `relay list` shows it
    sink: String,
    /// Entries per page
    #[arg(long)]
    limit: Option<u16>,
    /// The cursor at which the previous page ended
    #[arg(long)]
    cursor: Option<String>,
}

/// Arguments of `relay pause`, `relay resume` and `relay remove`.
#[derive(Debug, clap::Args)]
struct SinkArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The sink, as `relay list` shows it
    sink: String,
    /// The reason; it goes on record, so it must not name a person
    #[arg(long)]
    why: String,
}

/// Arguments of `relay replay`.
#[derive(Debug, clap::Args)]
struct ReplayArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The sink, as `relay list` shows it
    sink: String,
    /// Only this order; without it, every order with a refused message
    #[arg(long)]
    order: Option<String>,
    /// Everything that the outbox still keeps, for a receiver that has lost its data
    #[arg(long, conflicts_with = "order")]
    all: bool,
    /// The reason; it goes on record, so it must not name a person
    #[arg(long)]
    why: String,
}

/// Arguments of `relay skip`.
#[derive(Debug, clap::Args)]
struct SkipArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The sink, as `relay list` shows it
    sink: String,
    /// The order
    #[arg(long)]
    order: String,
    /// The reason; it goes on record, so it must not name a person
    #[arg(long)]
    why: String,
}

/// Arguments of `relay rebase`.
#[derive(Debug, clap::Args)]
struct RebaseArgs {
    #[command(flatten)]
    owner: OwnerArgs,
    /// Let every sink continue at its position: only for a cluster that has kept its transaction
    /// ids, as `pg_upgrade` does
    #[arg(long)]
    keep_places: bool,
}

const SINKS: [Column; 12] = [
    ("SINK", "/sink"),
    ("STATE", "/state"),
    ("WAITING", "/waiting"),
    ("OLDEST", "/oldest_at"),
    ("DELIVERED", "/delivered"),
    ("REFUSED", "/refused"),
    ("TRIED AGAIN", "/retried"),
    ("BEHIND", "/behind"),
    ("FAILING SINCE", "/failing_since"),
    ("FAILURE", "/failure"),
    ("PAUSED BY", "/paused/paused_by"),
    ("BECAUSE", "/paused/why"),
];

const PARKED: [Column; 9] = [
    ("ORDER", "/order_id"),
    ("MESSAGE", "/sequence"),
    ("SINCE", "/parked_at"),
    ("REFUSED", "/refused"),
    ("FAILURE", "/failure"),
    ("NEXT", "/retry_at"),
    ("BEHIND", "/behind"),
    ("DECISION", "/decision"),
    ("BY", "/decided_by"),
];

impl RelayCommand {
    /// The log filter of the command.
    pub(crate) const fn log_filter(&self) -> &'static str {
        match &self.command {
            None => EVENTS_OF_NOTE,
            Some(Command::Rebase(_)) => ONLY_ERRORS,
            Some(
                Command::List(_)
                | Command::Parked(_)
                | Command::Pause(_)
                | Command::Resume(_)
                | Command::Replay(_)
                | Command::Skip(_)
                | Command::Remove(_),
            ) => OWN_WARNINGS,
        }
    }
}

pub(crate) async fn run(args: RelayCommand) -> Result<()> {
    match args.command {
        None => serve::relay(args.program).await,
        Some(Command::List(ListArgs { client })) => {
            let format = client.output;
            let sinks = Api::new(client)?.get(&["v1", "relay", "sinks"], &[]).await?;
            if sinks.get("is_restored").and_then(Value::as_bool) == Some(true) {
                tracing::warn!(
                    "the database was restored from a dump: nothing is delivered until `ordersaga \
                     relay rebase` was run"
                );
            }
            show_items(&sinks, &SINKS, format)
        }
        Some(Command::Parked(ParkedArgs { client, sink, limit, cursor })) => {
            let format = client.output;
            let asked = [("limit", limit.map(|limit| limit.to_string())), ("cursor", cursor)];
            let path = ["v1", "relay", "sinks", &sink, "parked"];
            show_items(&Api::new(client)?.get(&path, &asked).await?, &PARKED, format)
        }
        Some(Command::Pause(args)) => act("pause", args).await,
        Some(Command::Resume(args)) => act("resume", args).await,
        Some(Command::Remove(args)) => act("remove", args).await,
        Some(Command::Replay(ReplayArgs { client, sink, all: true, why, .. })) => {
            let body = json!({ "all": true, "why": why });
            post("replay", client, &sink, &body).await
        }
        Some(Command::Replay(ReplayArgs { client, sink, order, why, .. })) => {
            decide("replay", client, &sink, order, &why).await
        }
        Some(Command::Skip(SkipArgs { client, sink, order, why })) => {
            decide("skip", client, &sink, Some(order), &why).await
        }
        Some(Command::Rebase(RebaseArgs { owner, keep_places })) => {
            let kept = rebase(&owner.options()?, keep_places).await;
            let kept = kept.context("the outbox was not rebased")?;
            print(format_args!("{kept} messages are delivered again to every sink"))?;
            Ok(())
        }
    }
}

async fn act(action: &str, SinkArgs { client, sink, why }: SinkArgs) -> Result<()> {
    post(action, client, &sink, &json!({ "why": why })).await
}

async fn decide(
    decision: &str,
    client: ClientArgs,
    sink: &str,
    order: Option<String>,
    why: &str,
) -> Result<()> {
    let body = match order {
        Some(order) => json!({ "order_id": order, "why": why }),
        None => json!({ "why": why }),
    };
    post(decision, client, sink, &body).await
}

async fn post(action: &str, client: ClientArgs, sink: &str, body: &Value) -> Result<()> {
    let format = client.output;
    let path = ["v1", "relay", "sinks", sink, action];
    show(&Api::new(client)?.post(&path, &[], body).await?, format)
}
