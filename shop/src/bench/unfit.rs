//! Setups that are not measured, because the results would be meaningless.

use temporalio_client::{Client, NamespacedClient as _, WorkflowCountOptions};

use super::database::Database;
use super::{Bench, BenchError};
use crate::screen::say;

/// Why this setup is not measured.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    /// This is a debug build.
    #[error(
        "this is a debug build, and its figures would say nothing: build with --release, or say \
         --allow-debug"
    )]
    DebugBuild,
    /// The database's size is arbitrary.
    #[error(
        "there are {0} orders in this database already, and the figures would be those of a database \
         of this size: give it a fresh one, or say --allow-used"
    )]
    Used(i64),
    /// Other workflows load the server.
    #[error(
        "{open} workflows are open in Temporal's namespace {namespace} that are not this benchmark's, \
         and the server would work for them too: use a namespace of its own, or say --allow-used"
    )]
    Busy {
        /// Their number.
        open: u64,
        /// The namespace.
        namespace: String,
    },
    /// The server was not started by the launcher.
    #[error(
        "ORDERSAGA_PIDS names no Temporal server: it is somebody else's, and what an order takes of it \
         would not be seen; unset TEMPORAL_ADDRESS, or unset ORDERSAGA_PIDS to go without processor \
         times"
    )]
    ForeignTemporal,
    /// A process id belongs to another program.
    #[error(
        "process {pid} of ORDERSAGA_PIDS is no {program}: its processor time would be another's"
    )]
    Stranger {
        /// The program.
        program: &'static str,
        /// The id.
        pid: u32,
    },
}

/// Returns an error for a meaningless setup, unless it is explicitly allowed.
pub(super) async fn refuse(
    bench: &Bench,
    client: &Client,
    database: &Database,
) -> Result<(), BenchError> {
    if cfg!(debug_assertions) && !bench.allow_debug {
        return Err(Unfit::DebugBuild.into());
    }
    if let Some(programs) = &bench.pids {
        programs.are_ours()?;
    }
    let orders = database.orders().await?;
    let open =
        client.count_workflows("ExecutionStatus = 'Running'", WorkflowCountOptions::default());
    let open = open.await.map_err(|error| BenchError::Counting(error.to_string()))?.count();
    let open = u64::try_from(open).unwrap_or_default();
    match (orders, open) {
        (0, 0) => Ok(()),
        (orders, open) if bench.allow_used => Ok(say(format_args!(
            "NOTE: there are {orders} orders in this database and {open} open workflows already."
        ))?),
        (0, open) => Err(Unfit::Busy { open, namespace: client.namespace() }.into()),
        (orders, _) => Err(Unfit::Used(orders).into()),
    }
}
