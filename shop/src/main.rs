//! A shop that uses Ordersaga from outside: it places real orders over HTTP and verifies the
//! results (`demo`), under injected faults (`chaos`), measures their cost (`bench`), and the effect
//! of a million of them (`fill`, `size`).

mod bench;
mod chaos;
mod consumer;
mod demo;
mod fill;
mod latency;
mod ordersaga;
mod plan;
mod prove;
mod retail;
mod screen;
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
        Command::Chaos(chaos) => {
            Ok(verdict(Box::pin(chaos.run()).await.context("the chaos stopped")?))
        }
        Command::ChaosCluster(chaos) => {
            Ok(verdict(Box::pin(chaos.run()).await.context("the chaos stopped")?))
        }
        Command::ChaosRace(race) => {
            Ok(verdict(Box::pin(race.run()).await.context("the race stopped")?))
        }
        Command::ChaosLedger(ledger) => {
            Ok(verdict(Box::pin(ledger.run()).await.context("the attempts stopped")?))
        }
        Command::Soak(soak) => Ok(verdict(Box::pin(soak.run()).await.context("the soak stopped")?)),
        Command::Bench(bench) => {
            Box::pin(bench::run(&bench)).await.context("the benchmark stopped")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Fill(fill) => {
            fill::run(&fill).await.context("the database was not filled")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Size(size) => {
            Box::pin(size::run(&size)).await.context("the measurement stopped")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Relay(relay) => {
            relay.run().await.context("the relay stopped")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::BenchBare(bare) => {
            bench::serve_bare(&bare).await.context("the benchmark's bare handler stopped")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::BenchWorker(worker) => {
            Box::pin(bench::serve(&worker)).await.context("the benchmark's worker stopped")?;
            Ok(ExitCode::SUCCESS)
        }
    }
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
