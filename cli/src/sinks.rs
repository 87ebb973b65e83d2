//! `ordersaga relay`, and what operators do about the sinks that it delivers to.

use anyhow::{Context as _, Result};
use clap::Subcommand;
use relay::rebase::rebase;
use relay::run::RelayProgramArgs;
use runtime::logging::{EVENTS_OF_NOTE, ONLY_ERRORS};
use serde_json::json;

use crate::api_client::{Api, ClientArgs};
use crate::migrate::OwnerArgs;
use crate::order::{show, show_items};
use crate::output::{Column, print};
use crate::{OWN_WARNINGS, serve};

/// The relay, which runs where no command is named; and operators' commands, by way of the API.
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
    /// List the sinks that messages go to, and how each stands
    List(ListArgs),
    /// List the messages of a sink that others of their orders wait behind
    Parked(ParkedArgs),
    /// Pause a sink: nothing is delivered to it
    Pause(SinkArgs),
    /// Let a paused sink go on, from where it was
    Resume(SinkArgs),
    /// Deliver again what a sink's receiver has refused, and what waits behind it
    Replay(ReplayArgs),
    /// Give up the message of an order that was refused, and deliver what waits behind it
    Skip(SkipArgs),
    /// Forget a sink that no process reads for, and keep no messages for it
    Remove(SinkArgs),
    /// Have all that is kept delivered again, in a database that was restored from a dump
    Rebase(RebaseArgs),
}

/// All sinks.
#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    client: ClientArgs,
}

/// Which messages.
#[derive(Debug, clap::Args)]
struct ParkedArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The sink, as `relay list` shows it
    sink: String,
    /// How many to a page
    #[arg(long)]
    limit: Option<u16>,
    /// Where the page before this one ended
    #[arg(long)]
    cursor: Option<String>,
}

/// Which sink, and why.
#[derive(Debug, clap::Args)]
struct SinkArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The sink, as `relay list` shows it
    sink: String,
    /// Why; it is kept on record, so it must name no person
    #[arg(long)]
    why: String,
}

/// Which messages are delivered again, and why.
#[derive(Debug, clap::Args)]
struct ReplayArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The sink, as `relay list` shows it
    sink: String,
    /// The order; without it, every order of which a message was refused
    #[arg(long)]
    order: Option<String>,
    /// Why; it is kept on record, so it must name no person
    #[arg(long)]
    why: String,
}

/// Which message is given up, and why.
#[derive(Debug, clap::Args)]
struct SkipArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The sink, as `relay list` shows it
    sink: String,
    /// The order
    #[arg(long)]
    order: String,
    /// Why; it is kept on record, so it must name no person
    #[arg(long)]
    why: String,
}

/// Which database.
#[derive(Debug, clap::Args)]
struct RebaseArgs {
    #[command(flatten)]
    owner: OwnerArgs,
    /// Have every sink go on where it was: only for a cluster that has kept its transaction ids, as
    /// `pg_upgrade` does
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
    /// How much is logged.
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
            if sinks.get("is_restored").and_then(serde_json::Value::as_bool) == Some(true) {
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
        Some(Command::Replay(ReplayArgs { client, sink, order, why })) => {
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
    let format = client.output;
    let path = ["v1", "relay", "sinks", &sink, action];
    show(&Api::new(client)?.post(&path, &[], &json!({ "why": why })).await?, format)
}

async fn decide(
    decision: &str,
    client: ClientArgs,
    sink: &str,
    order: Option<String>,
    why: &str,
) -> Result<()> {
    let format = client.output;
    let path = ["v1", "relay", "sinks", sink, decision];
    let body = match order {
        Some(order) => json!({ "order_id": order, "why": why }),
        None => json!({ "why": why }),
    };
    show(&Api::new(client)?.post(&path, &[], &body).await?, format)
}
