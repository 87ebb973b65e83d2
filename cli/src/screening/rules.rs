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

/// The sets of rules.
#[derive(Debug, clap::Args)]
pub(super) struct RulesArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the sets of rules, the newest first, and whether each counts
    List(ListArgs),
    /// Show all of a set
    Show(WhichArgs),
    /// Bring a set in, to be tried out beside the one that counts
    Add(AddArgs),
    /// Show what a set would have decided, beside what was decided
    Trial(WhichArgs),
    /// Have a set decide about orders that are screened from now on
    Activate(ActivateArgs),
}

/// Which of them.
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// The cursor at which the previous page ended
    #[arg(long)]
    cursor: Option<String>,
}

/// Which set.
#[derive(Debug, clap::Args)]
struct WhichArgs {
    /// Its version, as `screening rules list` shows it
    version: u32,
}

/// What is brought in.
#[derive(Debug, clap::Args)]
struct AddArgs {
    /// A file with the set as JSON; `-` reads standard input
    file: String,
    /// The reason; it goes on record, so it must not name a person
    #[arg(long)]
    why: String,
}

/// What is to count.
#[derive(Debug, clap::Args)]
struct ActivateArgs {
    /// Its version, as `screening rules list` shows it
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

/// Whether it is a set is the API's to say.
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
