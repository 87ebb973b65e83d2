//! A shop that uses Ordersaga from outside: it places real orders over HTTP and verifies the
//! results (`demo`), under injected faults (`chaos`), measures their cost (`bench`), and the effect
//! of a million of them (`fill`, `size`).

#![cfg_attr(
    not(feature = "trials"),
    allow(dead_code, reason = "the trials use parts that the demo does not need")
)]

#[cfg(feature = "trials")]
mod bench;
#[cfg(feature = "trials")]
mod chaos;
mod consumer;
mod demo;
#[cfg(feature = "trials")]
mod fill;
mod latency;
mod ordersaga;
mod plan;
mod prove;
mod retail;
mod screen;
#[cfg(feature = "trials")]
mod size;
mod stripe;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    version = env!("ORDERSAGA_VERSION"),
    about = "A shop that uses Ordersaga: real orders, to watch and to measure"
)]
struct Shop {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Demo),
    #[cfg(feature = "trials")]
    #[command(flatten)]
    Trial(Trial),
}

/// What breaks or measures a running system.
#[cfg(feature = "trials")]
#[derive(Subcommand)]
enum Trial {
    Bench(bench::Bench),
    Chaos(chaos::Chaos),
    ChaosCluster(chaos::ClusterChaos),
    ChaosRace(chaos::Race),
    ChaosLedger(chaos::Ledger),
    Soak(chaos::Soak),
    Fill(fill::Fill),
    Size(size::Size),
    #[command(hide = true)]
    Relay(chaos::Relay),
    #[command(hide = true)]
    BenchWorker(bench::BenchWorker),
    #[command(hide = true)]
    BenchBare(bench::BenchBare),
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    match Shop::parse().command {
        Command::Demo(demo) => {
            Ok(verdict(Box::pin(demo::run(&demo)).await.context("the demo stopped")?))
        }
        #[cfg(feature = "trials")]
        Command::Trial(trial) => run(trial).await,
    }
}

#[cfg(feature = "trials")]
async fn run(trial: Trial) -> anyhow::Result<ExitCode> {
    let all_well = match trial {
        Trial::Chaos(chaos) => Box::pin(chaos.run()).await.context("the chaos stopped")?,
        Trial::ChaosCluster(chaos) => Box::pin(chaos.run()).await.context("the chaos stopped")?,
        Trial::ChaosRace(race) => Box::pin(race.run()).await.context("the race stopped")?,
        Trial::ChaosLedger(ledger) => {
            Box::pin(ledger.run()).await.context("the attempts stopped")?
        }
        Trial::Soak(soak) => Box::pin(soak.run()).await.context("the soak stopped")?,
        Trial::Bench(bench) => {
            Box::pin(bench::run(&bench)).await.context("the benchmark stopped")?;
            true
        }
        Trial::Fill(fill) => {
            fill::run(&fill).await.context("the database was not filled")?;
            true
        }
        Trial::Size(size) => {
            Box::pin(size::run(&size)).await.context("the measurement stopped")?;
            true
        }
        Trial::Relay(relay) => {
            relay.run().await.context("the relay stopped")?;
            true
        }
        Trial::BenchBare(bare) => {
            bench::serve_bare(&bare).await.context("the benchmark's bare handler stopped")?;
            true
        }
        Trial::BenchWorker(worker) => {
            Box::pin(bench::serve(&worker)).await.context("the benchmark's worker stopped")?;
            true
        }
    };
    Ok(verdict(all_well))
}

fn verdict(all_well: bool) -> ExitCode {
    if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn no_two_arguments_of_a_command_have_one_name() {
        Shop::command().debug_assert();
    }
}
