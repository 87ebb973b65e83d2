//! The starter's process: settings, log, connections, and an orderly end.

use std::fs::File;
use std::io::{self, IsTerminal, Write, stderr, stdout};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use clap::error::ErrorKind;
use mimalloc::MiMalloc;
use starter_api::{Config, LogFormat, State, Temporal};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A request is many short-lived pieces of memory, which the system's allocator is slow with.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The exit code for settings that cannot be used, as command lines have it.
const BAD_SETTINGS: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let config = match Config::try_parse() {
        Ok(config) => config,
        Err(help) if matches!(help.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return match help.print() {
                Ok(()) => ExitCode::SUCCESS,
                Err(_closed) => ExitCode::FAILURE,
            };
        }
        Err(error) => return refuse(&error.to_string()),
    };
    let database = match config.database() {
        Ok(database) => database,
        Err(error) => return refuse(&format!("error: {error}")),
    };
    let identity = match config.identity(&database) {
        Ok(identity) => identity,
        Err(error) => return refuse(&format!("error: {error:#}")),
    };
    let temporal = match Temporal::from_env() {
        Ok(temporal) => temporal,
        Err(error) => return refuse(&format!("error: Temporal's settings: {error}")),
    };
    if let Err(error) = log(config.log_format) {
        return refuse(&format!("error: the log cannot be written: {error}"));
    }
    match serve(&config, State::new(database, temporal, identity, config.limits())).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the starter stopped");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: &Config, state: State) -> Result<()> {
    let state = state.open_to_pages_of(&config.cors_origins);
    let listener = TcpListener::bind(config.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", config.listen))?;
    let address = listener.local_addr()?;
    tracing::info!(%address, "listening; the API's page is at /docs");

    let tidying = tokio::spawn(tidy_up(state.clone()));
    let (mut terminated, mut interrupted) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let asked_to_stop = async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        tracing::info!("stopping: requests under way are answered first");
    };
    starter_api::serve(listener, state, asked_to_stop).await;
    tidying.abort();
    Ok(())
}

async fn tidy_up(state: State) {
    let mut every = tokio::time::interval(Duration::from_secs(5));
    loop {
        every.tick().await;
        state.tidy_up();
    }
}

/// One line, because whoever reads it is looking for one thing to mend: without the usage that
/// follows the first paragraph.
fn refuse(error: &str) -> ExitCode {
    let lines = error.lines().map(str::trim).take_while(|line| !line.is_empty());
    match writeln!(stderr(), "{}", lines.collect::<Vec<_>>().join(" ")) {
        Ok(()) | Err(_) => ExitCode::from(BAD_SETTINGS),
    }
}

fn log(format: LogFormat) -> io::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Each line is one write already. The lock of `Stdout` would only make requests wait for
    // each other.
    let out = File::from(stdout().as_fd().try_clone_to_owned()?);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Arc::new(out));
    let log = log.with_ansi(stdout().is_terminal());
    match format {
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).init(),
        LogFormat::Pretty => log.init(),
    }
    Ok(())
}
