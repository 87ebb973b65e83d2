//! Launches orders anew whose workflow is lost, or knows more than the record.
//!
//! The order on record is the truth, and a step's key makes its repeat harmless. So an order that
//! has not ended and has no open workflow is put back among those that wait to be launched: its new
//! run repeats every step, meets what was done, and goes on from there. Where the record lacks
//! what an open workflow has done (Postgres was set back behind Temporal), that run is ended and
//! the order is launched anew: asking the parties again by the same keys tells the record what they
//! did. What has a workflow and no record at all cannot be settled here, and is named.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use domain::{OrderId, StepName};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use saga::StepState;
use sqlx::PgPool;
use temporalio_client::errors::{WorkflowInteractionError, WorkflowQueryError};
use temporalio_client::{
    Client, UntypedWorkflow, WorkflowDescribeOptions, WorkflowExecutionStatus, WorkflowListOptions,
    WorkflowQueryOptions, WorkflowTerminateOptions,
};
use uuid::Uuid;
use workflows::order::{OrderSaga, OrderView};

use crate::prove::of_every_process;

/// How many orders are looked at at once.
const AT_ONCE: usize = 16;

/// What became of an order that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// Its workflow was lost; it waits to be launched again.
    Relaunched(OrderId),
    /// Its workflow had done what the record lacks; that run was ended, and the order waits to be
    /// launched again.
    SetBack {
        /// The order.
        order: OrderId,
        /// What the record lacked.
        steps: Vec<StepName>,
    },
    /// It has a workflow and is not on record: nothing can be rebuilt from a reference.
    NotOnRecord(OrderId),
    /// It could not be looked at; run `recover` again.
    Unknown {
        /// The order.
        order: OrderId,
        /// Why.
        why: String,
    },
}

/// Why nothing could be recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The database.
    #[error("the database could not be read")]
    Database(#[from] sqlx::Error),
    /// Temporal.
    #[error("Temporal could not be read: {0}")]
    Temporal(String),
}

impl fmt::Display for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relaunched(order) => {
                write!(f, "{order}  launched again: its workflow was lost")
            }
            Self::SetBack { order, steps } => {
                let steps: Vec<_> = steps.iter().map(|step| step.name()).collect();
                write!(f, "{order}  launched again: its record lacked {}", steps.join(", "))
            }
            Self::NotOnRecord(order) => write!(
                f,
                "{order}  CANNOT BE SETTLED: it has a workflow and is not on record; look for its \
                 payment and parcel under this number at provider and carrier, and settle by hand"
            ),
            Self::Unknown { order, why } => {
                write!(f, "{order}  not looked at ({why}); run this again")
            }
        }
    }
}

/// Looks at every order that has not ended, and at every open workflow; answers what it found
/// amiss.
///
/// **Repeats.** A second run, also at the same time or beside live traffic, finds the orders
/// waiting for their launch and changes nothing.
pub async fn recover(pool: &PgPool, client: &Client) -> Result<Vec<Recovered>, RecoverError> {
    let open = sqlx::query_scalar!(
        r#"
        select order_id from orders.orders
        where status_data ->> 'status' = 'processing'
            and not exists (select from orders.launches where launches.order_id = orders.order_id)
        order by placed_at
        "#,
    )
    .fetch_all(pool)
    .await?;
    let mut found: Vec<_> = stream::iter(open)
        .map(|order| look_at(pool, client, OrderId::of(order)))
        .buffered(AT_ONCE)
        .try_filter_map(async |found| Ok(found))
        .try_collect()
        .await?;
    found.extend(not_on_record(pool, client).await?);
    Ok(found)
}

async fn look_at(
    pool: &PgPool,
    client: &Client,
    order: OrderId,
) -> Result<Option<Recovered>, RecoverError> {
    match is_running(client, order).await {
        Ok(false) => Ok(relaunch(pool, order).await?.then_some(Recovered::Relaunched(order))),
        Ok(true) => match behind(pool, client, order).await {
            Ok(steps) if steps.is_empty() => Ok(None),
            Ok(steps) => set_back(pool, client, order, steps).await.map(Some),
            Err(RecoverError::Temporal(why)) => Ok(Some(Recovered::Unknown { order, why })),
            Err(error) => Err(error),
        },
        Err(why) => Ok(Some(Recovered::Unknown { order, why })),
    }
}

/// Puts an order among those that wait to be launched, if it has not ended meanwhile.
async fn relaunch(pool: &PgPool, order: OrderId) -> Result<bool, sqlx::Error> {
    let inserted = sqlx::query!(
        "insert into orders.launches (order_id, placed_at, is_recovery)
         select order_id, placed_at, true from orders.orders
         where order_id = $1 and not orders.is_terminal(status)
         on conflict do nothing",
        order.uuid(),
    )
    .execute(pool)
    .await?;
    Ok(inserted.rows_affected() > 0)
}

async fn is_running(client: &Client, order: OrderId) -> Result<bool, String> {
    let workflow = client.get_workflow_handle::<UntypedWorkflow>(order.workflow_id());
    match workflow.describe(WorkflowDescribeOptions::default()).await {
        Ok(description) => Ok(description.status() == WorkflowExecutionStatus::Running),
        Err(WorkflowInteractionError::NotFound(_)) => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

/// The steps that the workflow believes done and the record knows nothing of.
///
/// The workflow is asked first: what it does in between is on record by then.
async fn behind(
    pool: &PgPool,
    client: &Client,
    order: OrderId,
) -> Result<Vec<StepName>, RecoverError> {
    let workflow = client
        .get_workflow_handle::<<OrderSaga as temporalio_common::HasWorkflowDefinition>::Run>(
            order.workflow_id(),
        );
    let view: OrderView =
        match workflow.query(OrderSaga::order, (), WorkflowQueryOptions::default()).await {
            Ok(view) => view,
            Err(WorkflowQueryError::NotFound(_)) => return Ok(Vec::new()),
            Err(error) => return Err(RecoverError::Temporal(error.to_string())),
        };
    let recorded =
        sqlx::query_scalar!("select step from orders.step_keys where order_id = $1", order.uuid(),)
            .fetch_all(pool)
            .await?;
    let recorded: BTreeSet<_> = recorded.into_iter().collect();
    let done = view.steps.into_iter().filter(|step| step.state == StepState::Done);
    let missing = done.filter(|step| !recorded.contains(&step.step));
    Ok(missing.filter_map(|step| step.step.parse().ok()).collect())
}

/// Ends the run that knows more than the record, and launches the order anew.
async fn set_back(
    pool: &PgPool,
    client: &Client,
    order: OrderId,
    steps: Vec<StepName>,
) -> Result<Recovered, RecoverError> {
    let workflow = client.get_workflow_handle::<UntypedWorkflow>(order.workflow_id());
    let options = WorkflowTerminateOptions::builder()
        .reason("recover: the record is behind this run; the order is launched anew".to_owned())
        .build();
    match workflow.terminate(options).await {
        Ok(()) | Err(WorkflowInteractionError::NotFound(_)) => {}
        Err(error) => {
            return Ok(Recovered::Unknown { order, why: error.to_string() });
        }
    }
    relaunch(pool, order).await?;
    Ok(Recovered::SetBack { order, steps })
}

/// Open workflows of orders that the database does not have.
async fn not_on_record(pool: &PgPool, client: &Client) -> Result<Vec<Recovered>, RecoverError> {
    let query = format!("{} AND ExecutionStatus='Running'", of_every_process());
    let running: BTreeMap<Uuid, OrderId> = client
        .list_workflows(query, WorkflowListOptions::default())
        .map_err(|error| RecoverError::Temporal(error.to_string()))
        .try_filter_map(async |workflow| {
            Ok(OrderId::of_workflow(workflow.id()).map(|order| (order.uuid(), order)))
        })
        .try_collect()
        .await?;
    let ids: Vec<_> = running.keys().copied().collect();
    let known =
        sqlx::query_scalar!("select order_id from orders.orders where order_id = any($1)", &ids,)
            .fetch_all(pool)
            .await?;
    let known: BTreeSet<_> = known.into_iter().collect();
    let unknown = running.into_iter().filter(|(id, _)| !known.contains(id));
    Ok(unknown.map(|(_, order)| Recovered::NotOnRecord(order)).collect())
}
