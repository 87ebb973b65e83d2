//! `ordersaga`: every program of Ordersaga, and its operators' commands.
//!
//! Exit codes: 0 for success; 1 when the answer is no (a history diverges, an invariant is broken,
//! the API refuses); 2 when the command could not be carried out.

mod api_client;
mod attention;
mod bank;
mod catalogue;
mod completions;
mod differences;
mod dispute;
mod endpoint;
mod export;
mod invoice;
mod mail;
mod migrate;
mod order;
mod output;
mod prove;
mod rebuild;
mod reconcile;
mod recover;
mod refund;
mod replay;
mod review;
mod screening;
mod serve;
mod sinks;
mod webhook;

use std::process::ExitCode;

use anyhow::Result;
use api_client::ApiError;
use clap::{CommandFactory as _, Parser, Subcommand};
use mimalloc::MiMalloc;
use output::Visible;
use runtime::chain;
use runtime::logging::{EVENTS_OF_NOTE, LogFormat, ONLY_ERRORS, start_logging};

/// Requests and steps make many short-lived allocations, for which the system's allocator is slow.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// A durable order engine: accepts a shop's orders, carries them out, and proves that its records
/// agree.
///
/// The connection to Temporal comes from the SDK's own settings: `TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`,
/// `TEMPORAL_API_KEY`, `TEMPORAL_TLS_…`, or a profile of its config file;
/// `ORDERSAGA_TEMPORAL_FRONTENDS` names a cluster's frontends one by one (`host:port,…`), each of
/// which is called while it answers. `RUST_LOG` says how much is logged.
#[derive(Debug, Parser)]
#[command(
    name = "ordersaga",
    version = env!("ORDERSAGA_VERSION"),
    about,
    arg_required_else_help = true
)]
struct Cli {
    /// The format of log lines, which go to standard error
    #[arg(long, env = "LOG_FORMAT", global = true, value_enum, default_value = "pretty")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

/// The log filter of commands that talk to the API: errors, and their own warnings.
const OWN_WARNINGS: &str = "error,ordersaga=warn";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API: accept orders and answer queries
    Api(Box<serve::ApiArgs>),
    /// Serve the task queues: run the orders' workflows and activities
    Worker(Box<worker::run::RunArgs>),
    /// Deliver events to brokers, webhooks, mails and invoices, and manage these sinks
    Relay(Box<sinks::RelayCommand>),
    /// Serve the API, the task queues and the relay in one process, with one connection to Temporal
    All(Box<serve::AllArgs>),
    /// Bring the database up to date
    Migrate(migrate::OwnerArgs),
    /// Load a supplier's list into the catalogue, the warehouse and the books
    LoadCatalogue(catalogue::LoadArgs),
    /// Replay recorded histories against today's workflows
    Replay(replay::ReplayArgs),
    /// Check every invariant on this shop's own data
    Prove(prove::ProveArgs),
    /// Compare each order's row with its events, and repair one
    Rebuild(rebuild::RebuildArgs),
    /// Compare the payment provider with the shop, payment by payment, and book payouts
    Reconcile(Box<reconcile::ReconcileArgs>),
    /// Write the books as an hledger journal or a beancount file, for other programs to check
    Export(export::ExportArgs),
    /// Import the bank's files, and write payment lists for it
    Bank(bank::BankArgs),
    /// Launch again the orders whose workflow is lost, or is ahead of the record
    Recover(recover::RecoverArgs),
    /// List, show, watch, cancel and resolve orders
    Order(order::OrderArgs),
    /// Refund completed orders
    Refund(refund::RefundArgs),
    /// List and show invoices and credit notes
    Invoice(invoice::InvoiceArgs),
    /// List what waits for a person, and decide about it
    Attention(attention::AttentionArgs),
    /// List, retry and preview mails to customers
    Mail(mail::MailArgs),
    /// List disputes (chargebacks)
    Dispute(dispute::DisputeArgs),
    /// List, retry and dismiss the payment provider's events
    Webhook(webhook::WebhookArgs),
    /// Manage webhook endpoints, and list their deliveries
    Endpoint(endpoint::EndpointArgs),
    /// List and settle differences between payment provider and shop
    Differences(differences::DifferencesArgs),
    /// List and decide the orders that screening has stopped
    Review(review::ReviewArgs),
    /// Manage screening's rules, and the block and allow lists
    Screening(screening::ScreeningArgs),
    /// Print shell completions
    Completions(completions::CompletionsArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { log_format, command } = Cli::parse();
    let filter = match &command {
        Command::Api(_)
        | Command::Worker(_)
        | Command::All(_)
        | Command::Migrate(_)
        | Command::LoadCatalogue(_) => EVENTS_OF_NOTE,
        Command::Relay(relay) => relay.log_filter(),
        // These commands print a result; library warnings would clutter it.
        Command::Replay(_)
        | Command::Prove(_)
        | Command::Rebuild(_)
        | Command::Reconcile(_)
        | Command::Export(_)
        | Command::Bank(_)
        | Command::Recover(_)
        | Command::Completions(_) => ONLY_ERRORS,
        Command::Order(_)
        | Command::Refund(_)
        | Command::Invoice(_)
        | Command::Attention(_)
        | Command::Mail(_)
        | Command::Dispute(_)
        | Command::Webhook(_)
        | Command::Endpoint(_)
        | Command::Differences(_)
        | Command::Review(_)
        | Command::Screening(_) => OWN_WARNINGS,
    };
    let done = match start_logging(log_format, filter) {
        Ok(()) => Box::pin(carry_out(command)).await,
        Err(error) => Err(error.into()),
    };
    done.unwrap_or_else(|error| {
        let is_refusal = error.downcast_ref::<ApiError>().is_some_and(ApiError::is_refusal);
        tracing::error!("{}", Visible(chain(error.as_ref())));
        if is_refusal { ExitCode::FAILURE } else { ExitCode::from(2) }
    })
}

async fn carry_out(command: Command) -> Result<ExitCode> {
    match command {
        Command::Api(args) => serve::api(*args).await.map(done),
        Command::Worker(args) => serve::worker(*args).await.map(done),
        Command::Relay(args) => Box::pin(sinks::run(*args)).await.map(done),
        Command::All(args) => serve::all(*args).await.map(done),
        Command::Migrate(args) => migrate::run(args).await.map(done),
        Command::LoadCatalogue(args) => catalogue::run(args).await.map(done),
        Command::Replay(args) => replay::run(&args),
        Command::Prove(args) => prove::run(args).await,
        Command::Rebuild(args) => rebuild::run(args).await,
        Command::Reconcile(args) => reconcile::run(*args).await,
        Command::Export(args) => export::run(args).await.map(done),
        Command::Bank(args) => bank::run(args).await,
        Command::Recover(args) => recover::run(args).await,
        Command::Order(args) => order::run(args).await.map(done),
        Command::Refund(args) => refund::run(args).await.map(done),
        Command::Invoice(args) => invoice::run(args).await.map(done),
        Command::Attention(args) => attention::run(args).await.map(done),
        Command::Mail(args) => mail::run(args).await,
        Command::Dispute(args) => dispute::run(args).await.map(done),
        Command::Webhook(args) => webhook::run(args).await.map(done),
        Command::Endpoint(args) => endpoint::run(args).await.map(done),
        Command::Differences(args) => differences::run(args).await.map(done),
        Command::Review(args) => review::run(args).await.map(done),
        Command::Screening(args) => screening::run(args).await.map(done),
        Command::Completions(args) => completions::run(&args, &mut Cli::command()).map(done),
    }
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_names_the_commit() {
        let version = Cli::command().render_version();
        let commit = version.split_once("(commit ").map(|(_, rest)| rest);
        let commit = commit.and_then(|rest| rest.split_once(',')).map(|(commit, _)| commit);
        let hex = commit.map(|commit| commit.trim_end_matches("-modified"));
        assert!(
            hex.is_some_and(|hex| hex == "unknown"
                || (hex.len() >= 12 && hex.chars().all(|letter| letter.is_ascii_hexdigit()))),
            "{version}"
        );
    }

    #[test]
    fn the_command_line_is_consistent_and_every_argument_is_explained() {
        fn look(command: &clap::Command, path: &str, silent: &mut Vec<String>) {
            let path = format!("{path} {}", command.get_name());
            if command.get_about().is_none() {
                silent.push(path.clone());
            }
            for argument in command.get_arguments() {
                if argument.get_help().is_none() {
                    silent.push(format!("{path} {argument}"));
                }
            }
            command.get_subcommands().for_each(|command| look(command, &path, silent));
        }
        Cli::command().debug_assert();
        let mut silent = Vec::new();
        look(&Cli::command(), "", &mut silent);
        assert_eq!(silent, Vec::<String>::new());
    }

    #[test]
    fn an_endpoints_url_is_not_taken_for_the_apis() {
        const API: &str = "http://api.example/";
        const URL: &str = "https://erp.example.org/events";
        let create = ["create", URL, "--key", "erp"];
        let change = ["change", "some-id", "--endpoint-url", URL];
        for endpoint in [create, change] {
            let line = ["ordersaga", "endpoint", "--url", API].into_iter().chain(endpoint);
            let Cli { command, .. } = Cli::parse_from(line);
            let command = format!("{command:?}");
            assert!(command.contains(API) && command.contains(URL), "{command}");
        }
    }
}
