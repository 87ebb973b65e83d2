//! `ordersaga bank`.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use activities::payment::bank_transfer::import::{
    Became, Found, Imported, Unassigned, Waiting, assign, import, pay_to, send_back, unassigned,
};
use activities::payment::bank_transfer::{BankAccount, FILE_MAX, list};
use anyhow::{Context as _, Result};
use clap::Subcommand;
use domain::bank::Iban;
use domain::{Money, OrderId};
use runtime::temporal::Temporal;
use sqlx::PgPool;
use uuid::Uuid;
use worker::bank::{AccountArgs, export, export_again, tell_news};
use worker::database::{self, DatabaseArgs};

use crate::output::print;

/// Bank transfers, incoming and outgoing.
#[derive(Debug, clap::Args)]
pub(crate) struct BankArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    account: AccountArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Import a file from the bank: a statement (camt.053) or a notification (camt.054)
    Import {
        /// The file, as downloaded from the bank
        file: PathBuf,
    },
    /// List transfers that match no order; shows names and accounts
    Unassigned,
    /// Assign a transfer to an order
    Assign {
        /// The transfer, as `unassigned` numbers it
        entry: i64,
        /// The order
        order: Uuid,
        #[command(flatten)]
        decided: Decided,
    },
    /// Send a transfer back to its payer
    Return {
        /// The transfer, as `unassigned` numbers it
        entry: i64,
        #[command(flatten)]
        decided: Decided,
    },
    /// Name the account to which a transfer is returned
    PayTo {
        /// The transfer, as `export` numbers it
        entry: i64,
        /// The account
        iban: Iban,
        /// The account holder
        holder: String,
        #[command(flatten)]
        decided: Decided,
    },
    /// Write the payments to customers as a payment list for the bank (pain.001)
    Export {
        /// A new file
        #[arg(long)]
        to: PathBuf,
        /// Write an earlier list again, unchanged, by its number (`MsgId`)
        #[arg(long)]
        again: Option<String>,
    },
}

/// The person who decides.
#[derive(Debug, clap::Args)]
struct Decided {
    /// Who decides this; it goes on record
    #[arg(long, env = "USER", default_value = "operator")]
    by: String,
}

/// Exits with 1 if something is left for a person to do.
pub(crate) async fn run(args: BankArgs) -> Result<ExitCode> {
    let BankArgs { database, account, command } = args;
    let pool = database.unlimited_pool().context("DATABASE_URL")?;
    database::reach(&pool, &database::schema_gate()).await?;
    match command {
        Command::Import { file } => take_in(&pool, &account.account()?, &file).await,
        Command::Unassigned => show_unassigned(&pool).await,
        Command::Assign { entry, order, decided } => {
            let order = OrderId::of(order);
            let became = assign(&pool, &account.account()?, entry, order, &decided.by).await?;
            print(told(entry, None, became))?;
            tell_orders(&pool).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Return { entry, decided } => {
            let amount = send_back(&pool, entry, &decided.by).await?;
            print(format_args!("{amount} of transfer {entry} go back with the next payment list"))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::PayTo { entry, iban, holder, decided } => {
            pay_to(&pool, entry, &BankAccount { iban, holder }, &decided.by).await?;
            print(format_args!("the money of transfer {entry} goes back to that account"))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Export { to, again } => write_list(&pool, &account, &to, again.as_deref()).await,
    }
}

async fn take_in(pool: &PgPool, account: &BankAccount, path: &Path) -> Result<ExitCode> {
    let file = read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let imported = import(pool, account, &file).await;
    let imported = imported.with_context(|| path.display().to_string())?;
    let Imported { is_known, found, known, left } = imported;
    for Found { entry, amount, became } in &found {
        print(told(*entry, Some(*amount), *became))?;
    }
    if is_known {
        print("this file was imported before; nothing was done")?;
    } else {
        print(format_args!(
            "{} transfers imported; {known} entries were known; {left} are left for the statement",
            found.len(),
        ))?;
    }
    tell_orders(pool).await?;
    let waits = found.iter().any(|found| matches!(found.became, Became::Unassigned(_)));
    Ok(if waits { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Reads at most one byte more than the importer's limit, so that a file over the limit is
/// detected.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let limit = u64::try_from(FILE_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn told(entry: i64, amount: Option<Money>, became: Became) -> String {
    let amount = amount.map(|amount| format!(" {amount}")).unwrap_or_default();
    let became = match became {
        Became::Paid { order, surplus: None } => format!("order {order} is paid"),
        Became::Paid { order, surplus: Some(surplus) } => {
            format!("order {order} is paid; {surplus} are too much and go back")
        }
        Became::Part { order, missing } => {
            format!("a part of order {order}, which waits for {missing} more")
        }
        Became::GoesBack { order } => {
            format!("goes back: the payment of order {order} is not expected any more")
        }
        Became::Unassigned(why) => format!("unassigned: {}", meaning(why)),
    };
    format!("transfer {entry}{amount}  {became}")
}

const fn meaning(why: Unassigned) -> &'static str {
    match why {
        Unassigned::NoReference => "there is no reference in it",
        Unassigned::UnknownReference => "there is no payment with its reference",
        Unassigned::SeveralReferences => "it has references of several payments",
        Unassigned::OtherCurrency => "the payment is in another currency",
        Unassigned::Returned => "it returns another transfer",
        Unassigned::UnclearSum => "the parts of the amount do not add up to it",
    }
}

/// Notifies the orders. Their money is on record whether or not this succeeds.
async fn tell_orders(pool: &PgPool) -> Result<()> {
    const LATER: &str = "the transfers are recorded, but their orders were not notified; run the \
                         same command again once Temporal answers";
    let client = Temporal::from_env("ordersaga-bank")?.connect().await.context(LATER)?;
    let told = tell_news(pool, &client).await.context(LATER)?;
    if told > 0 {
        print(format_args!("{told} orders were notified that their money has arrived"))?;
    }
    Ok(())
}

async fn show_unassigned(pool: &PgPool) -> Result<ExitCode> {
    let waiting = unassigned(pool).await?;
    for one in &waiting {
        let Waiting { entry, amount, booked_on, payer_name, payer_iban, remittance, why } = one;
        let why = match why.parse::<Unassigned>() {
            Ok(known) => meaning(known),
            Err(_unknown) => why,
        };
        let [day, name, iban] =
            [booked_on, payer_name, payer_iban].map(|text| text.as_deref().unwrap_or("unknown"));
        print(format_args!(
            "transfer {entry}  {amount}  {day}  {name}  {iban}  \"{remittance}\"  {why}"
        ))?;
    }
    print(format_args!("{} transfers wait for a decision", waiting.len()))?;
    Ok(if waiting.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn write_list(
    pool: &PgPool,
    account: &AccountArgs,
    path: &Path,
    again: Option<&str>,
) -> Result<ExitCode> {
    let list = match again {
        Some(message_id) => export_again(pool, message_id, path).await?,
        None => export(pool, &account.account()?, path).await?,
    };
    match (&list, again) {
        (Some(list), _) => print(format_args!(
            "payment list {} with {} transfers is in {}",
            list.message_id,
            list.lines,
            path.display()
        ))?,
        (None, Some(message_id)) => anyhow::bail!("there is no payment list {message_id}"),
        (None, None) => print("there is nothing to pay out")?,
    }
    let without = list::without_account(pool).await?;
    for entry in &without {
        print(format_args!(
            "the bank has not said from which account transfer {entry} came: `ordersaga bank pay-to`"
        ))?;
    }
    Ok(if without.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
