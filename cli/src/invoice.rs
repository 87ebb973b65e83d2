//! `ordersaga invoice`.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::{Subcommand, ValueEnum};

use crate::api_client::{Api, ClientArgs};
use crate::order::show_table;
use crate::output::{Column, Format, print};

/// Invoices and credit notes.
#[derive(Debug, clap::Args)]
pub(crate) struct InvoiceArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List an order's invoice and credit notes
    List(ListArgs),
    /// Show an order's invoice, or another of its documents, as it was issued
    Show(ShowArgs),
}

/// Arguments of `invoice list`.
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// The order's id
    order_id: String,
}

/// Arguments of `invoice show`.
#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The order's id
    order_id: String,
    /// The number of another document of the order, as `invoice list` shows it
    #[arg(long)]
    number: Option<String>,
    /// The format
    #[arg(long, value_enum, default_value = "ubl")]
    format: DocumentFormat,
    /// A file to write it to, byte for byte; without it, it goes to standard output
    #[arg(long)]
    to: Option<PathBuf>,
}

/// A format of a document.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum DocumentFormat {
    /// UBL 2.1, conforming to EN 16931
    Ubl,
    /// UN/CEFACT CII, conforming to EN 16931
    Cii,
    /// For people
    Html,
    /// PDF/A-3 with the CII embedded: Factur-X, or ZUGFeRD
    Pdf,
}

const COLUMNS: [Column; 8] = [
    ("NUMBER", "/number"),
    ("KIND", "/kind"),
    ("ISSUED", "/issued_at"),
    ("REFUND", "/refund"),
    ("CORRECTS", "/corrects"),
    ("NET", "/net"),
    ("TAX", "/tax"),
    ("TOTAL", "/total"),
];

pub(crate) async fn run(args: InvoiceArgs) -> Result<()> {
    let InvoiceArgs { client, command } = args;
    let format = client.output;
    let api = Api::new(client)?;
    match command {
        Command::List(ListArgs { order_id }) => list(&api, &order_id, format).await,
        Command::Show(which) => show(&api, which).await,
    }
}

async fn list(api: &Api, order_id: &str, format: Format) -> Result<()> {
    let issued = api.get(&["v1", "orders", order_id, "invoices"], &[]).await?;
    match format {
        Format::Json => print(issued)?,
        Format::Table => show_table(issued.as_array().map_or(&[][..], Vec::as_slice), &COLUMNS)?,
    }
    Ok(())
}

async fn show(api: &Api, which: ShowArgs) -> Result<()> {
    let ShowArgs { order_id, number, format, to } = which;
    let form = match format {
        DocumentFormat::Ubl => "ubl",
        DocumentFormat::Cii => "cii",
        DocumentFormat::Html => "html",
        DocumentFormat::Pdf => "pdf",
    };
    let asked = [("format", Some(form.to_owned())), ("number", number)];
    let document = api.get_bytes(&["v1", "orders", &order_id, "invoice"], &asked).await?;
    match (to, format) {
        (Some(file), _) => fs::write(&file, document)
            .with_context(|| format!("{} cannot be written", file.display())),
        (None, DocumentFormat::Pdf) => {
            let mut output = io::stdout().lock();
            ensure!(!output.is_terminal(), "a PDF is no text: name a file with --to");
            Ok(output.write_all(&document)?)
        }
        (None, DocumentFormat::Ubl | DocumentFormat::Cii | DocumentFormat::Html) => {
            Ok(print(String::from_utf8_lossy(&document).trim_end())?)
        }
    }
}
