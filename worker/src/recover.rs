//! Relaunches orders whose workflow is lost, or is ahead of the record.
//!
//! Steps are idempotent by their key. An order that is open on record and has no open workflow is
//! therefore queued for launch again: the new run repeats every step, finds what was already done,
//! and continues from there.
//!
//! If the record lacks what a workflow has done, Postgres was restored to a state behind Temporal.
//! An open run is then terminated and the order is relaunched: calling the parties again with the
//! same keys records what they did. If the workflow was unwinding, or had ended the order, that
//! ending is recorded first, so that nothing that was undone is done again. A refund without a
//! workflow is relaunched, too, and asks the provider for its state. What a workflow has done for
//! an order that is not on record at all cannot be settled here, and is reported.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use activities::ActivityFault;
use domain::refund::RefundId;
use domain::{Ending, OrderId, OrderStatus};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use saga::StepState;
use sqlx::PgPool;
use temporalio_client::errors::{
    WorkflowGetResultError, WorkflowInteractionError, WorkflowQueryError,
};
use temporalio_client::{
    Client, UntypedWorkflow, WorkflowDescribeOptions, WorkflowExecutionStatus as Status,
    WorkflowGetResultOptions, WorkflowHandle, WorkflowListOptions, WorkflowQueryOptions,
    WorkflowTerminateOptions,
};
use temporalio_common::HasWorkflowDefinition;
use workflows::order::{OrderOutcome, OrderSaga, OrderView, UnwindingNote};

use crate::prove::of_every_process;

/// How many orders are checked concurrently.
const AT_ONCE: usize = 16;

/// How often an order whose workflow does not answer is checked, and the interval.
const LOOKS: u32 = 3;
const BETWEEN_LOOKS: Duration = saga::WORKFLOW_TASK_TIMEOUT;

/// Recorded in place of a workflow run's id.
const RUN: &str = "recover";

/// The result for one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// Its workflow was lost; it waits to be launched again.
    Relaunched(OrderId),
    /// The record lacked what its workflow had done; it waits to be launched again.
    SetBack {
        /// The order.
        order: OrderId,
        /// What the record lacked: names of steps, and how the order ended or will end.
        lacked: Vec<String>,
    },
    /// The workflow of an order's refund was lost; it waits to be launched again.
    RefundRelaunched(RefundId),
    /// It has a workflow and is not on record: an order cannot be rebuilt from its id. Even if this
    /// workflow has done nothing, an earlier run that is lost may have charged the customer.
    NotOnRecord(OrderId),
    /// It could not be checked; run `recover` again.
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
    /// The database.
    #[error("the database could not be written")]
    Record(#[from] ActivityFault),
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
            Self::SetBack { order, lacked } => {
                write!(f, "{order}  launched again: its record lacked {}", lacked.join(", "))
            }
            Self::RefundRelaunched(RefundId { order_id, number }) => {
                write!(f, "{order_id}  refund {number} launched again: its workflow was lost")
            }
            Self::NotOnRecord(order) => write!(
                f,
                "{order}  CANNOT BE SETTLED: it has a workflow and is not on record; have its \
                 request repeated under its Idempotency-Key and run this again, or look for its \
                 payment and parcel under this number at provider and carrier, and settle by hand"
            ),
            Self::Unknown { order, why } => {
                write!(f, "{order}  not looked at ({why}); run this again while a worker serves")
            }
        }
    }
}

/// Checks every open order, and every workflow whose order is not on record; returns what was
/// wrong.
///
/// **Repeats.** A second run, even concurrently or beside live traffic, finds the orders waiting
/// for their launch and changes nothing.
pub async fn recover(pool: &PgPool, client: &Client) -> Result<Vec<Recovered>, RecoverError> {
    let open = sqlx::query!(
        r#"
        select order_id, is_recovery is not null as "waits!"
        from orders.orders left join orders.launches using (order_id)
        where status = 'processing' and is_recovery is distinct from true
        order by orders.placed_at
        "#,
    )
    .fetch_all(pool)
    .await?;
    let open = open.into_iter().map(|order| (OrderId::of(order.order_id), order.waits)).collect();
    let mut found = look_at_all(pool, client, open).await?;
    found.extend(refunds(pool, client).await?);
    found.extend(not_on_record(pool, client).await?.into_iter().map(Recovered::NotOnRecord));
    Ok(found)
}

/// Relaunches open refunds that neither wait for their launch nor have a workflow.
async fn refunds(pool: &PgPool, client: &Client) -> Result<Vec<Recovered>, RecoverError> {
    let mut found = Vec::new();
    for refund in open_refunds(pool).await? {
        match refund_workflow(client, refund).await {
            Ok(Workflow::Running) => {}
            Ok(Workflow::Missing | Workflow::Ended | Workflow::CutShort) => {
                if relaunch_refund(pool, refund).await? {
                    found.push(Recovered::RefundRelaunched(refund));
                }
            }
            Err(why) => found.push(Recovered::Unknown { order: refund.order_id, why }),
        }
    }
    Ok(found)
}

/// Open refunds that do not wait for their launch, the oldest first.
pub(crate) async fn open_refunds(pool: &PgPool) -> Result<Vec<RefundId>, sqlx::Error> {
    let open = sqlx::query!(
        r#"
        select asked.order_id, asked.number from payments.refund_requests as asked
        where state in ('requested', 'pending') and not exists (
            select from orders.refund_launches as launch
            where (launch.order_id, launch.number) = (asked.order_id, asked.number)
        )
        order by asked.requested_at
        "#,
    )
    .fetch_all(pool)
    .await?;
    let refunds = open.into_iter().map(|one| RefundId {
        order_id: OrderId::of(one.order_id),
        // The database numbers refunds from 1.
        number: u32::try_from(one.number).unwrap_or_default(),
    });
    Ok(refunds.collect())
}

/// The state of a refund's workflow in Temporal.
pub(crate) async fn refund_workflow(client: &Client, refund: RefundId) -> Result<Workflow, String> {
    workflow_called(client, refund.workflow_id()).await
}

/// Queues a refund for relaunch, unless it has ended meanwhile.
async fn relaunch_refund(pool: &PgPool, refund: RefundId) -> Result<bool, sqlx::Error> {
    let put = sqlx::query!(
        "insert into orders.refund_launches (order_id, number, is_recovery)
         select order_id, number, true from payments.refund_requests
         where order_id = $1 and number = $2 and state in ('requested', 'pending')
         on conflict do nothing",
        refund.order_id.uuid(),
        i32::try_from(refund.number).unwrap_or_default(),
    )
    .execute(pool)
    .await?;
    Ok(put.rows_affected() > 0)
}

/// Checks each order, and again those that could not be checked: a workflow does not answer while
/// another worker takes over its task.
async fn look_at_all(
    pool: &PgPool,
    client: &Client,
    mut left: Vec<(OrderId, bool)>,
) -> Result<Vec<Recovered>, RecoverError> {
    let mut all = Vec::new();
    for number in 1..=LOOKS {
        if number > 1 {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        let seen: Vec<_> = stream::iter(left)
            .map(async |(order, waits)| {
                let found = look_at(pool, client, order, waits).await?;
                Ok::<_, RecoverError>(((order, waits), found))
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        left = Vec::new();
        for (order, found) in seen {
            match found {
                Some(Recovered::Unknown { .. }) if number < LOOKS => left.push(order),
                found => all.extend(found),
            }
        }
        if left.is_empty() {
            break;
        }
    }
    Ok(all)
}

/// The state of a workflow in Temporal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workflow {
    Missing,
    Running,
    /// It completed or failed by itself.
    Ended,
    /// It was terminated, cancelled or timed out.
    CutShort,
}

/// Checks an open order; `waits` says whether it still waits for its launch.
async fn look_at(
    pool: &PgPool,
    client: &Client,
    order: OrderId,
    waits: bool,
) -> Result<Option<Recovered>, RecoverError> {
    let unknown = |why| Ok(Some(Recovered::Unknown { order, why }));
    let workflow = match workflow_of(client, order).await {
        Ok(workflow) => workflow,
        Err(why) => return unknown(why),
    };
    let behind = match workflow {
        // Nothing is lost: it will be launched.
        Workflow::Missing if waits => return Ok(None),
        Workflow::Missing | Workflow::CutShort => {
            return Ok(relaunch(pool, order).await?.then_some(Recovered::Relaunched(order)));
        }
        Workflow::Running => behind_running(pool, client, order).await,
        Workflow::Ended => behind_ended(client, order).await,
    };
    match behind {
        Ok(None) => Ok(None),
        Ok(Some(behind)) => set_back(pool, client, order, behind).await,
        Err(RecoverError::Temporal(why)) => unknown(why),
        Err(error) => Err(error),
    }
}

pub(crate) async fn workflow_of(client: &Client, order: OrderId) -> Result<Workflow, String> {
    workflow_called(client, order.workflow_id()).await
}

/// The state of the workflow with this id.
pub(crate) async fn workflow_called(client: &Client, id: String) -> Result<Workflow, String> {
    let workflow = client.get_workflow_handle::<UntypedWorkflow>(id);
    match workflow.describe(WorkflowDescribeOptions::default()).await {
        Ok(description) => {
            let status = description.status();
            Ok(if matches!(status, Status::Running | Status::Paused) {
                Workflow::Running
            } else if matches!(status, Status::Completed | Status::Failed) {
                Workflow::Ended
            } else {
                Workflow::CutShort
            })
        }
        Err(WorkflowInteractionError::NotFound(_)) => Ok(Workflow::Missing),
        Err(error) => Err(error.to_string()),
    }
}

type Run = <OrderSaga as HasWorkflowDefinition>::Run;

fn saga_of(client: &Client, order: OrderId) -> WorkflowHandle<Client, Run> {
    client.get_workflow_handle(order.workflow_id())
}

/// Queues an order for relaunch, unless it has ended meanwhile.
async fn relaunch(pool: &PgPool, order: OrderId) -> Result<bool, sqlx::Error> {
    let put = sqlx::query!(
        "insert into orders.launches (order_id, placed_at, is_recovery)
         select order_id, placed_at, true from orders.orders
         where order_id = $1 and not orders.is_terminal(status)
         -- A record that was set back may have it wait for its first launch.
         on conflict (order_id) do update set is_recovery = true where not launches.is_recovery",
        order.uuid(),
    )
    .execute(pool)
    .await?;
    Ok(put.rows_affected() > 0)
}

/// What a workflow has done and the record lacks.
#[derive(Debug)]
pub(crate) struct Behind {
    pub(crate) lacked: Vec<String>,
    /// How the workflow ends the order, unless it completes it.
    ending: Option<Ending>,
}

/// What an open workflow has done and the record lacks.
///
/// The workflow is queried first: what it does in between is on record by the time that is read.
pub(crate) async fn behind_running(
    pool: &PgPool,
    client: &Client,
    order: OrderId,
) -> Result<Option<Behind>, RecoverError> {
    let view = match view_of(client, order).await {
        Ok(Some(view)) => view,
        Ok(None) => return Ok(None),
        Err(error) => return Err(RecoverError::Temporal(error.to_string())),
    };
    let recorded = sqlx::query!(
        r#"
        select step, undone_at is not null as "is_undone!" from orders.step_keys
        where order_id = $1 and (outcome is not null or undone_at is not null)
        "#,
        order.uuid(),
    )
    .fetch_all(pool)
    .await?;
    let recorded: BTreeMap<_, _> =
        recorded.into_iter().map(|row| (row.step, row.is_undone)).collect();
    let asked = sqlx::query_scalar!(
        "select attentions from orders.orders where order_id = $1",
        order.uuid(),
    )
    .fetch_optional(pool)
    .await?;
    let is_lacking = |state, step: &String| match state {
        StepState::Done | StepState::Accepted => !recorded.contains_key(step),
        StepState::Undone => recorded.get(step) != Some(&true),
        StepState::Running
        | StepState::Waiting
        | StepState::Refused
        | StepState::Unknown
        | StepState::Broken
        | StepState::Skipped => false,
    };
    let steps = view.steps.into_iter().filter(|one| is_lacking(one.state, &one.step));
    let mut lacked: Vec<_> = steps.map(|one| one.step).collect();
    if let Some(waiting) = view.waiting_for
        && waiting.step.parse::<domain::StepName>().is_ok()
        && asked.is_some_and(|asked| i64::from(asked) < i64::from(waiting.occurrence))
    {
        lacked.push(format!("the question about {}", waiting.step));
    }
    Ok((!lacked.is_empty()).then_some(Behind { lacked, ending: view.ending }))
}

async fn view_of(client: &Client, order: OrderId) -> Result<Option<OrderView>, WorkflowQueryError> {
    let options = WorkflowQueryOptions::default();
    match saga_of(client, order).query(OrderSaga::order, (), options).await {
        Ok(view) => Ok(Some(view)),
        Err(WorkflowQueryError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How an ended workflow has ended the order, which the record lacks.
async fn behind_ended(client: &Client, order: OrderId) -> Result<Option<Behind>, RecoverError> {
    let result = saga_of(client, order).get_result(WorkflowGetResultOptions::default()).await;
    let (name, ending) = match result {
        Ok(OrderOutcome { status, .. }) => (status.name(), ending_of(status)),
        // The run knows how it ended the order, unless it failed because the order has no record.
        Err(WorkflowGetResultError::Failed(_)) => {
            let view = view_of(client, order).await;
            let view = view.map_err(|error| RecoverError::Temporal(error.to_string()))?;
            ("failed", view.and_then(|view| view.ending))
        }
        Err(error) => return Err(RecoverError::Temporal(error.to_string())),
    };
    Ok(Some(Behind { lacked: vec![format!("its end ({name})")], ending }))
}

fn ending_of(status: OrderStatus) -> Option<Ending> {
    match status {
        OrderStatus::Processing | OrderStatus::Completed => None,
        OrderStatus::Cancelled { reason } => Some(Ending::Cancelled { reason }),
        OrderStatus::Rejected { rejection } => Some(Ending::Rejected { rejection }),
        OrderStatus::Failed { incident } => Some(Ending::Failed { incident }),
    }
}

/// Terminates the run that is ahead of the record, and relaunches the order. Returns `None` if the
/// order has ended on record meanwhile, as happens beside live traffic.
async fn set_back(
    pool: &PgPool,
    client: &Client,
    order: OrderId,
    Behind { lacked, ending }: Behind,
) -> Result<Option<Recovered>, RecoverError> {
    let options = WorkflowTerminateOptions::builder()
        .reason("recover: the record is behind this run; the order is launched anew".to_owned())
        .build();
    match saga_of(client, order).terminate(options).await {
        Ok(()) | Err(WorkflowInteractionError::NotFound(_)) => {}
        Err(error) => return Ok(Some(Recovered::Unknown { order, why: error.to_string() })),
    }
    note_set_back(pool, order).await?;
    if let Some(ending) = ending {
        let note = UnwindingNote { order_id: order, ending };
        match activities::orders::note_unwinding(pool, &note, RUN).await {
            Ok(_) => {}
            Err(ActivityFault::NotOpen { .. }) => return Ok(None),
            Err(fault) => return Err(fault.into()),
        }
    }
    Ok(relaunch(pool, order).await?.then_some(Recovered::SetBack { order, lacked }))
}

/// Records that this order's record may lack calls that its lost run made to a party, so that undos
/// ask the party.
async fn note_set_back(pool: &PgPool, order: OrderId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into orders.set_back (order_id) values ($1) on conflict do nothing",
        order.uuid(),
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Orders that have a workflow and are not in the database.
async fn not_on_record(pool: &PgPool, client: &Client) -> Result<Vec<OrderId>, RecoverError> {
    let orders: BTreeSet<_> = client
        .list_workflows(of_every_process(), WorkflowListOptions::default())
        .map_err(|error| RecoverError::Temporal(error.to_string()))
        .try_filter_map(async |workflow| Ok(OrderId::of_workflow(workflow.id()).map(OrderId::uuid)))
        .try_collect()
        .await?;
    let orders: Vec<_> = orders.into_iter().collect();
    let unknown = sqlx::query_scalar!(
        r#"
        select order_id as "order_id!" from unnest($1::uuid[]) as workflow (order_id)
        where not exists (
            select from orders.orders where orders.order_id = workflow.order_id
        )
        order by order_id
        "#,
        &orders,
    )
    .fetch_all(pool)
    .await?;
    Ok(unknown.into_iter().map(OrderId::of).collect())
}
