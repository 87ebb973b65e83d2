//! The worker of the empty workflow and the textbook saga: a separate process, like the real one,
//! with the same activities.

use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use activities::party::SANDBOXES;
use activities::payment::sandbox::SandboxProvider;
use activities::shipping::sandbox::SandboxCarrier;
use activities::stock::ArticleQueues;
use activities::{Activities, Settings};
use clap::Args;
use runtime::database::Database;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use temporalio_sdk::runtime::RuntimeOptions;
use temporalio_sdk::runtime::worker_tuner::{FixedSizeSlotSupplier, TunerHolder};
use temporalio_sdk::{Runtime, Worker, WorkerOptions};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use super::textbook::{EmptyWorkflow, QUEUE, TextbookSaga};
use super::{BenchError, connect};

/// Serves the benchmark's queue. Started by `shop bench`, and stops with it.
#[derive(Clone, Debug, Args)]
pub(crate) struct BenchWorker {
    /// The shop's database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

/// Starts it as a child process.
pub(super) fn started() -> Result<Child, BenchError> {
    let program = std::env::current_exe()?;
    // The child stops when its standard input is closed, so it never outlives the benchmark,
    // however that ends.
    let child = Command::new(program)
        .arg("bench-worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    Ok(child)
}

/// Serves until standard input is closed, with the real worker's default settings.
pub(crate) async fn serve(options: &BenchWorker) -> Result<(), BenchError> {
    let runtime = Runtime::from_current_tokio(RuntimeOptions::default()).map_err(told)?;
    let client = connect().await?;
    let database: PgConnectOptions = options.database_url.parse()?;
    let connections = |program| {
        let database = database.clone().application_name(program);
        Database::of(PgPoolOptions::new().max_connections(24).connect_lazy_with(database))
    };
    let activities = Activities {
        db: connections("ordersaga-bench"),
        articles: ArticleQueues::default(),
        provider: Arc::new(SandboxProvider::new(connections(SANDBOXES), 0)),
        carrier: Arc::new(SandboxCarrier::new(connections(SANDBOXES))),
        settings: Settings {
            reservation_ttl: Duration::from_hours(1),
            ask_again_for: Duration::from_mins(5),
        },
    };
    let tuner = slots(Slots { workflow_tasks: 500, local_activities: 1, activities: 200 });
    let options = WorkerOptions::new(QUEUE)
        .tuner(tuner)
        .max_cached_workflows(2_000)
        .register_workflow::<EmptyWorkflow>()
        .map_err(told)?
        .register_workflow::<TextbookSaga>()
        .map_err(told)?
        .register_activities(activities)
        .build();
    let mut worker = Worker::new(&runtime, client, options).map_err(told)?;
    tokio::select! {
        ended = worker.run() => ended.map_err(told),
        () = input_ended() => Ok(()),
    }
}

/// How many tasks of each kind a worker runs at once.
pub(super) struct Slots {
    pub(super) workflow_tasks: usize,
    pub(super) local_activities: usize,
    pub(super) activities: usize,
}

/// The tuner of a worker with so many slots.
pub(super) fn slots(Slots { workflow_tasks, local_activities, activities }: Slots) -> TunerHolder {
    TunerHolder::builder()
        .workflow_task_slot_supplier(FixedSizeSlotSupplier::new(workflow_tasks))
        .local_activity_task_slot_supplier(FixedSizeSlotSupplier::new(local_activities))
        .activity_task_slot_supplier(FixedSizeSlotSupplier::new(activities))
        .nexus_task_slot_supplier(FixedSizeSlotSupplier::new(1))
        .build()
}

/// Waits on a thread of its own: a runtime's shutdown would wait for its blocking read.
pub(super) async fn input_ended() {
    let (ended, heard) = oneshot::channel();
    thread::spawn(move || {
        let read = io::copy(&mut io::stdin(), &mut io::sink());
        // The receiver is gone only if the worker has stopped by itself.
        drop((read, ended.send(())));
    });
    // The sender is dropped only after sending.
    drop(heard.await);
}

pub(super) fn told(error: impl std::fmt::Display) -> BenchError {
    BenchError::Worker(error.to_string())
}
