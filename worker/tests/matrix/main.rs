//! The fault matrix: every activity of the contract table, at every call site in an order, with
//! every kind of fault, with and without a cancellation at every point, against a real Temporal
//! server and a real Postgres.
//!
//! The fault points are discovered: an order that ships and an order that unwinds are observed, and
//! each of their calls is a point. A call in the contract table that neither makes is an error, so
//! a new step is either covered or reported. A completed refund and one that is given up are
//! observed in the same way; their orders have ended, so they are not cancelled. Mails and invoices
//! are checked from the messages that the orders leave behind.
//!
//! ```text
//! matrix                              a slice: every fault at every point, and some of the cancels
//! matrix --whole                      every fault at every point with a cancel at every moment
//! matrix --orders 300 [--seed 42]     several faults to each of 300 real orders, drawn by seed
//! matrix --provider stripe            the calls to the payment provider, which is Stripe's counterpart
//! matrix --provider bank-transfer     the slice, with customers who pay by transfer
//! ```

#![allow(
    unreachable_pub,
    clippy::arithmetic_side_effects,
    clippy::default_trait_access,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test: it counts cells and prints its table, asks the database anything, and fails \
              on what it cannot prepare"
)]

mod cell;
mod deaths;
#[path = "../../../relay/tests/mail/server.rs"]
#[expect(dead_code, reason = "the relay's own tests have more of it go wrong")]
mod mail_server;
mod plan;
mod refund;
mod report;
mod run;
mod seeds;
mod sinks;
mod stripe;
#[path = "../support/mod.rs"]
mod support;
mod told;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use domain::ProviderName;
use run::Manner;
use runtime::schema::MIGRATIONS;
use sqlx::{Connection, PgConnection, PgPool};
use stripe::Counterpart;
use support::{Code, Shop, bank};
use uuid::Uuid;

/// The part of the matrix to run.
#[derive(Debug, Parser)]
struct Arguments {
    /// All cells, instead of a slice
    #[arg(long)]
    whole: bool,
    /// Only cells whose description contains this
    #[arg(long)]
    only: Option<String>,
    /// Stop at the first failing cell
    #[arg(long)]
    fail_fast: bool,
    /// Concurrent cells
    #[arg(long, default_value_t = 48)]
    at_once: usize,
    /// Seconds after which an order counts as stuck
    #[arg(long, default_value_t = 180)]
    give_up_after: u64,
    /// The payment provider. With Stripe, whose counterpart the launcher has to start, only calls
    /// to it are tested, with faults that it can simulate; with transfers, faults of the sandbox
    /// are skipped, and so are refunds, for which an operator exports a list
    #[arg(long, default_value = "sandbox", conflicts_with = "orders",
        value_parser = PossibleValuesParser::new(ProviderName::NAMES)
            .try_map(|name| name.parse::<ProviderName>()))]
    provider: ProviderName,
    /// Number of real orders with several faults each, instead of the matrix
    #[arg(long)]
    orders: Option<usize>,
    /// The seed for the faults of those orders; random by default
    #[arg(long)]
    seed: Option<u64>,
    /// Serve the queues for a parent matrix that waits for this process to die
    #[arg(long, hide = true)]
    serve: bool,
    /// Arguments of the test runner, which are ignored
    #[arg(hide = true)]
    filters: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let bank = (arguments.provider == ProviderName::BankTransfer).then(bank::account);
    if arguments.serve {
        deaths::serve_until_death(Code { bank, ..Code::default() }).await;
        return ExitCode::SUCCESS;
    }
    let begun = Instant::now();
    let stripe = match arguments.provider {
        ProviderName::Sandbox | ProviderName::BankTransfer => None,
        ProviderName::Stripe => {
            let Some(settings) = stripe::settings() else {
                println!(
                    "NOT RUN: nobody stands for Stripe; `make matrix PROVIDER=stripe` has them"
                );
                return ExitCode::FAILURE;
            };
            Some(settings)
        }
    };
    let code = Code { ask_again_for: Duration::from_mins(5), stripe, bank, ..Code::default() };
    let mut shop = Shop::open_with(code, database().await).await;
    let manner = Manner {
        at_once: arguments.at_once,
        give_up_after: Duration::from_secs(arguments.give_up_after),
        fail_fast: arguments.fail_fast,
    };
    let customers = shop
        .is_paid_by_transfer()
        .then(|| tokio::spawn(bank::pay_whatever_is_awaited(shop.db.clone(), shop.client.clone())));
    let passed = match arguments.orders {
        Some(orders) => seeds::run(&shop, orders, arguments.seed, manner).await,
        None => matrix(&mut shop, &arguments, manner).await,
    };
    if let Some(customers) = customers {
        customers.abort();
    }
    // After an early stop, attempts wait at their gates forever.
    if passed || !manner.fail_fast {
        shop.close().await;
    }
    println!("took {} s", begun.elapsed().as_secs());
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn matrix(shop: &mut Shop, arguments: &Arguments, manner: Manner) -> bool {
    let stripe = Counterpart::of(shop);
    let is_by_transfer = shop.is_paid_by_transfer();
    let wanted = |cell: &cell::Cell| {
        let is_asked_for =
            arguments.only.as_ref().is_none_or(|only| cell.to_string().contains(only));
        let can_be_played = stripe.is_none() || stripe::can_play(cell);
        is_asked_for && can_be_played && !(is_by_transfer && cell.is_of_the_sandbox_provider())
    };
    let points = run::points(shop, manner).await;
    let of_refunds =
        if is_by_transfer { BTreeSet::new() } else { refund::points(shop, manner).await };
    let undisturbed = [&points, &of_refunds].into_iter().flat_map(plan::undisturbed);
    let undisturbed: Vec<_> = undisturbed.filter(wanted).collect();
    let all = points.len() + of_refunds.len();
    println!("{all} fault points, {} cells without a cancel", undisturbed.len());
    let mut results = run::all(shop, undisturbed, manner).await;
    if !manner.is_over(&results) {
        let cancelled = plan::cancelled(&points, &results, arguments.whole);
        let cancelled: Vec<_> = cancelled.into_iter().filter(wanted).collect();
        println!("{} cells with a cancel", cancelled.len());
        results.extend(run::all(shop, cancelled, manner).await);
    }
    let of_sinks = if manner.is_over(&results) {
        Vec::new()
    } else {
        sinks::run(shop, arguments.only.as_deref(), manner).await
    };
    // A process that is killed uses the sandbox.
    if stripe.is_none() && !manner.is_over(&results) {
        let deaths = plan::deaths(&points, arguments.whole);
        let deaths: Vec<_> = deaths.into_iter().filter(wanted).collect();
        println!("{} cells whose worker dies", deaths.len());
        results.extend(deaths::run(shop, &points, &deaths, manner).await);
    }
    report::print(&results, &of_sinks);
    run::land(shop).await;
    let proven = report::prove(shop).await;
    let untold = told::complaints(shop).await;
    for complaint in &untold {
        println!("FAILED {complaint}");
    }
    if let Some(stripe) = &stripe {
        let refused = stripe.refused().await;
        for refusal in &refused {
            println!("REFUSED by stripe-mock: {refusal}");
        }
        if !refused.is_empty() {
            return false;
        }
    }
    let is_right = results.iter().all(|result| result.complaint.is_none())
        && of_sinks.iter().all(|result| result.complaint.is_none());
    let has_run = !(results.is_empty() && of_sinks.is_empty());
    proven && untold.is_empty() && has_run && is_right
}

/// The matrix's own database, on the tests' server.
async fn database() -> PgPool {
    let url = std::env::var("DATABASE_URL")
        .expect("DATABASE_URL names the Postgres that the tests use; `make matrix` sets it");
    let name = format!("matrix_{}", Uuid::now_v7().simple());
    let mut server = PgConnection::connect(&url).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("create database {name}")))
        .execute(&mut server)
        .await
        .unwrap();
    let options = url.parse::<sqlx::postgres::PgConnectOptions>().unwrap().database(&name);
    let db = PgPool::connect_with(options).await.unwrap();
    MIGRATIONS.run(&db).await.unwrap();
    db
}
