//! `ordersaga screening rules`.

use std::fs::File;
use std::io::{self, Read};

use anyhow::{Context as _, Result};
use clap::Subcommand;
use serde_json::{Value, json};

use crate::api_client::Api;
use crate::order::{show, show_items, show_table};
use crate::output::{Column, Format, print};

const PATH: [&str; 3] = ["v1", "screening", "rule-sets"];

/// Rule sets.
#[derive(Debug, clap::Args)]
pub(super) struct RulesArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the rule sets, the newest first, and whether each is active
    List(ListArgs),
    /// Show a rule set in full
    Show(WhichArgs),
    /// Add a rule set, to be tried out beside the active one
    Add(AddArgs),
    /// Compare what a rule set would have decided with what was decided
    Trial(WhichArgs),
    /// Activate a rule set, for orders that are screened from now on
    Activate(ActivateArgs),
}

/// Arguments of `screening rules list`.
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// The cursor at which the previous page ended
    #[arg(long)]
    cursor: Option<String>,
}

/// A rule set's version.
#[derive(Debug, clap::Args)]
struct WhichArgs {
    /// The version, as `screening rules list` shows it
    version: u32,
}

/// Arguments of `screening rules add`.
#[derive(Debug, clap::Args)]
struct AddArgs {
    /// A file with the rule set as JSON; `-` reads standard input
    file: String,
    /// The reason; it goes on record, so it must not name a person
    #[arg(long)]
    why: String,
}

/// Arguments of `screening rules activate`.
#[derive(Debug, clap::Args)]
struct ActivateArgs {
    /// The version, as `screening rules list` shows it
    version: u32,
    /// The reason; it goes on record, so it must not name a person
    #[arg(long)]
    why: String,
}

const COLUMNS: [Column; 8] = [
    ("VERSION", "/version"),
    ("STATE", "/state"),
    ("ADDED", "/added_at"),
    ("BY", "/added_by"),
    ("WHY", "/why"),
    ("ACTIVATED", "/activated_at"),
    ("BY", "/activated_by"),
    ("WHY", "/activated_why"),
];

const OUTCOMES: [Column; 4] = [
    ("DECIDED", "/decided"),
    ("WOULD", "/would"),
    ("SCREENINGS", "/screenings"),
    ("ORDERS", "/orders"),
];

const HELD: [Column; 2] = [("RULE", "/rule"), ("HELD", "/held")];

pub(super) async fn run(api: &Api, args: RulesArgs, format: Format) -> Result<()> {
    let [api_version, screening, sets] = PATH;
    match args.command {
        Command::List(ListArgs { cursor }) => {
            show_items(&api.get(&PATH, &[("cursor", cursor)]).await?, &COLUMNS, format)
        }
        Command::Show(WhichArgs { version }) => {
            let version = version.to_string();
            let path = [api_version, screening, sets, &version];
            show(&api.get(&path, &[]).await?, format)
        }
        Command::Add(AddArgs { file, why }) => {
            let rules = read(&file).with_context(|| format!("{file} is no set of rules"))?;
            show(&api.post(&PATH, &[], &json!({ "rules": rules, "why": why })).await?, format)
        }
        Command::Trial(WhichArgs { version }) => {
            let version = version.to_string();
            let path = [api_version, screening, sets, &version, "trial"];
            show_trial(&api.get(&path, &[]).await?, format)
        }
        Command::Activate(ActivateArgs { version, why }) => {
            let version = version.to_string();
            let path = [api_version, screening, sets, &version, "activate"];
            show(&api.post(&path, &[], &json!({ "why": why })).await?, format)
        }
    }
}

/// Reads a file as JSON. The API validates the rule set.
fn read(file: &str) -> Result<Value> {
    let mut text = String::new();
    if file == "-" {
        io::stdin().read_to_string(&mut text)?;
    } else {
        File::open(file)?.read_to_string(&mut text)?;
    }
    Ok(serde_json::from_str(&text)?)
}

fn show_trial(trial: &Value, format: Format) -> Result<()> {
    if format == Format::Json {
        print(trial)?;
        return Ok(());
    }
    for (part, columns) in [("outcomes", &OUTCOMES[..]), ("rules", &HELD[..])] {
        let items = trial.get(part).and_then(Value::as_array);
        show_table(items.map_or(&[][..], Vec::as_slice), columns)?;
        print("")?;
    }
    Ok(())
}
