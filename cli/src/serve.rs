//! `ordersaga api`, `worker`, `relay` and `all`.

use anyhow::{Context as _, Result};
use relay::run::{RelayArgs, RelayProgramArgs};
use runtime::shutdown::on_signal;
use runtime::temporal::Temporal;
use starter_api::ServeArgs;
use tokio_util::sync::CancellationToken;
use worker::run::{RunArgs, Settings};
use worker::telemetry::Telemetry;

/// The API alone.
#[derive(Debug, clap::Args)]
pub(crate) struct ApiArgs {
    /// The shop's database, as the starter's role: postgres://user:password@host:port/name
    #[arg(
        long,
        env = "STARTER_DATABASE_URL",
        hide_env_values = true,
        required_unless_present = "database_url"
    )]
    starter_database_url: Option<String>,
    /// Used if `STARTER_DATABASE_URL` is not set
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    #[command(flatten)]
    serve: ServeArgs,
}

/// The API, the worker and the relay. Each has its own role in the database. Without a database URL
/// for the relay, the relay does not run, and messages stay in the outbox.
#[derive(Debug, clap::Args)]
pub(crate) struct AllArgs {
    /// The shop's database, as the starter's role: postgres://user:password@host:port/name
    #[arg(long, env = "STARTER_DATABASE_URL", hide_env_values = true)]
    starter_database_url: String,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    worker: RunArgs,
    #[command(flatten)]
    relay: RelayArgs,
}

const NO_SIGNALS: &str = "signals cannot be received, so nothing could be stopped in order";

pub(crate) async fn api(args: ApiArgs) -> Result<()> {
    let ApiArgs { starter_database_url, database_url, serve } = args;
    let url = starter_database_url.or(database_url).context("STARTER_DATABASE_URL is not set")?;
    let stop = on_signal().context(NO_SIGNALS)?;
    let temporal = starter_api::Temporal::from_env()?;
    starter_api::serve::run(&serve, &url, temporal, stop).await
}

pub(crate) async fn worker(args: RunArgs) -> Result<()> {
    let stop = on_signal().context(NO_SIGNALS)?;
    let temporal = Temporal::from_env("ordersaga-worker")?;
    let telemetry = Telemetry::start()?;
    let temporal = temporal.metered(telemetry.client_meter.clone());
    Ok(worker::run::run(args, &temporal, telemetry, stop).await?)
}

pub(crate) async fn relay(args: RelayProgramArgs) -> Result<()> {
    let stop = on_signal().context(NO_SIGNALS)?;
    Ok(relay::run::run_program(args, stop).await?)
}

pub(crate) async fn all(args: AllArgs) -> Result<()> {
    let AllArgs { starter_database_url, serve, mut worker, relay } = args;
    worker.settings.workflow_tasks.get_or_insert(Settings::EAGER_WORKFLOW_TASKS);
    // With eager start, Temporal begins an order in the process that starts it, even if this is not
    // the current release.
    anyhow::ensure!(
        worker.settings.release.is_none(),
        "`ordersaga all` begins orders by itself, whichever release is to take them: run `api` and \
         `worker` apart, or name no release"
    );
    let stop = on_signal().context(NO_SIGNALS)?;
    let temporal = Temporal::from_env("ordersaga-all")?;
    let telemetry = Telemetry::start()?;
    let temporal = temporal.metered(telemetry.client_meter.clone());
    let stop_worker = CancellationToken::new();
    let api = async {
        let (stop, temporal) = (stop.clone(), temporal.clone().into());
        let ended = starter_api::serve::run(&serve, &starter_database_url, temporal, stop).await;
        // Only after the API has stopped: a request under way may wait for the worker.
        stop_worker.cancel();
        ended
    };
    let worker = async {
        let ended = worker::run::run(worker, &temporal, telemetry, stop_worker.clone()).await;
        // If the worker fails, the API shuts down gracefully too, so that a supervisor restarts
        // both.
        stop.cancel();
        ended
    };
    let relay = async {
        if relay.database.relay_database_url.is_none() {
            tracing::info!("RELAY_DATABASE_URL is not set: messages stay in the outbox");
            return Ok(());
        }
        let ended = relay::run::run(relay, stop_worker.clone()).await;
        stop.cancel();
        ended
    };
    let (api, worker, relay) = tokio::join!(Box::pin(api), Box::pin(worker), Box::pin(relay));
    api?;
    worker?;
    Ok(relay?)
}
