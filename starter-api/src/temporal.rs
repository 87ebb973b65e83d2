//! The order engine, seen from the starter: every call bounded in time, every answer a business
//! answer or a [`Problem`].

mod problem;

use std::time::Duration;

use domain::{Order, OrderId};
use futures::StreamExt;
use runtime::temporal::BadSettings;
use temporalio_client::errors::{
    ClientConnectError, WorkflowInteractionError, WorkflowStartError, WorkflowUpdateError,
};
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::IntoRequest;
use temporalio_client::{
    Client, ClientOptions, ConnectionOptions, RetryOptions, WorkflowDescribeOptions,
    WorkflowExecuteUpdateOptions, WorkflowExecutionDescription, WorkflowFetchHistoryOptions,
    WorkflowHandle, WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowSignalOptions,
    WorkflowStartOptions,
};
use temporalio_common::data_converters::{SerializationContextData, WorkflowSerializationContext};
use temporalio_common::protos::temporal::api::enums::v1::WorkflowExecutionStatus as RawStatus;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    DescribeNamespaceRequest, ListWorkflowExecutionsRequest,
};
use temporalio_common::{HasWorkflowDefinition, MemoValues};
use tokio::time::timeout;
use workflows::{
    CancelAnswer, CancelRequest, NEEDS_ATTENTION, OrderSaga, OrderView, Queue, Resolution,
    signal_payload,
};

use crate::error::{OrProblem, Problem};

/// By which Temporal knows a starter.
const PROGRAM: &str = "ordersaga-starter";

/// Longer than any healthy answer takes, shorter than a caller's patience.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);

/// A cancel is answered by a worker, which may be busy with the order. After this long the wish
/// is kept for whichever worker comes.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(3);

/// The order engine, over a connection that may be shared with a worker in the same process.
#[derive(Clone, Debug)]
pub struct Temporal(runtime::temporal::Temporal);

/// What became of the wish to start an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Started {
    /// It is under way, and nothing can lose it any more.
    Now,
    /// An order of this id was started before.
    Before,
}

/// What became of the wish to cancel an order.
#[derive(Debug)]
pub(crate) enum Cancelled {
    /// The saga decided.
    Answered(CancelAnswer),
    /// No worker has answered. The wish is in the order's history, and whichever worker carries
    /// the order on decides about it first.
    Kept,
    /// The saga refused: the parcel is handed over, or the order ended as it was asked.
    Refused,
    /// No saga of this order is open.
    NotOpen,
}

#[derive(Debug, thiserror::Error)]
#[error("no answer within {} s", .0.as_secs())]
struct NoAnswer(Duration);

impl From<runtime::temporal::Temporal> for Temporal {
    fn from(connection: runtime::temporal::Temporal) -> Self {
        Self(connection)
    }
}

impl Temporal {
    /// A connection of the starter's own to the cluster that the SDK's settings name.
    pub fn from_env() -> Result<Self, BadSettings> {
        runtime::temporal::Temporal::from_env(PROGRAM).map(Self::alone)
    }

    /// A connection of the starter's own to a given cluster.
    #[must_use]
    pub fn at(connection: ConnectionOptions, client: ClientOptions) -> Self {
        Self::alone(runtime::temporal::Temporal::at(connection, client, PROGRAM))
    }

    fn alone(connection: runtime::temporal::Temporal) -> Self {
        // Two quick repeats ride out a lost connection; beyond that the caller is told.
        let retry = RetryOptions::builder()
            .initial_interval(Duration::from_millis(50))
            .max_retries(3)
            .max_elapsed_time(Some(CALL_TIMEOUT))
            .build();
        Self(connection.retrying(retry))
    }

    /// Starts the order's workflow: once this has answered, the order cannot be lost.
    ///
    /// **Repeats.** The workflow's id is made of the order's id, and a second start is refused,
    /// whether the first is under way or over.
    pub(crate) async fn start(&self, order: &Order) -> Result<Started, Problem> {
        const DOING: &str = "starting an order's workflow";
        let start = async {
            let client = self.client().await?;
            let options = start_options(order);
            Ok(client.start_workflow(OrderSaga::run, order.clone(), options).await)
        };
        let started = within(DOING, CALL_TIMEOUT, Box::pin(start)).await?;
        match started {
            Ok(_handle) => Ok(Started::Now),
            Err(WorkflowStartError::AlreadyStarted { .. }) => Ok(Started::Before),
            Err(WorkflowStartError::Rpc(status)) => Err(Problem::of_temporal(DOING, &status)),
            Err(error) => Err(Problem::internal(DOING, &error)),
        }
    }

    /// The order that a workflow was started with, if there is such a workflow.
    ///
    /// Read from the history's first event: unlike a query, that needs no worker, so an order
    /// accepted while every worker was down can still be shown.
    pub(crate) async fn order_of(&self, order_id: OrderId) -> Result<Option<Order>, Problem> {
        const DOING: &str = "reading an order from its workflow";
        let first = async {
            let client = self.client().await?;
            let options = WorkflowFetchHistoryOptions::builder().skip_archival(true).build();
            let mut history = saga(client, order_id).fetch_history(options);
            Ok((history.next().await, &client.options().data_converter))
        };
        let (first, converter) = within(DOING, CALL_TIMEOUT, Box::pin(first)).await?;
        let event = match first {
            Some(Ok(event)) => event,
            None | Some(Err(WorkflowInteractionError::NotFound(_))) => return Ok(None),
            Some(Err(WorkflowInteractionError::Rpc(status))) => {
                return Err(Problem::of_temporal(DOING, &status));
            }
            Some(Err(error)) => return Err(Problem::internal(DOING, &error)),
        };
        let Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) = event.attributes
        else {
            return Ok(None);
        };
        let context = SerializationContextData::Workflow(WorkflowSerializationContext::new());
        let input = started.input.map(|input| input.payloads).unwrap_or_default();
        let order = converter.from_payloads::<Order>(&context, input).await;
        order.map(Some).map_err(|error| Problem::internal(DOING, &error))
    }

    /// Waits until the order is paid or refused, at most for `patience`. Nothing, when it is not
    /// decided by then, or when the workflow ended before it could say so.
    pub(crate) async fn placed(&self, order_id: OrderId, patience: Duration) -> Option<OrderView> {
        let answer = async {
            let client = self.client().await.ok()?;
            let options = WorkflowExecuteUpdateOptions::default();
            let saga = saga(client, order_id);
            saga.execute_update(OrderSaga::placed, (), options)
                .await
                .inspect_err(|error| tracing::debug!(%order_id, %error, "not waited for"))
                .ok()
        };
        timeout(patience, Box::pin(answer)).await.ok().flatten()
    }

    /// Calls the order off, if it is not too late. When no worker answers, the wish is left as a
    /// signal, which Temporal keeps until there is one.
    ///
    /// **Repeats.** A wish that is heard twice, as update and as signal, is one.
    pub(crate) async fn cancel(
        &self,
        order_id: OrderId,
        request: CancelRequest,
    ) -> Result<Cancelled, Problem> {
        const DOING: &str = "cancelling an order";
        let client = within(DOING, CALL_TIMEOUT, self.client()).await?;
        let options = WorkflowExecuteUpdateOptions::default();
        let saga = saga(client, order_id);
        let update = saga.execute_update(OrderSaga::cancel, request.clone(), options);
        match timeout(CANCEL_TIMEOUT, Box::pin(update)).await {
            Ok(Ok(answer)) => Ok(Cancelled::Answered(answer)),
            Ok(Err(WorkflowUpdateError::Failed(_))) => Ok(Cancelled::Refused),
            Ok(Err(WorkflowUpdateError::NotFound(_))) => Ok(Cancelled::NotOpen),
            // Nobody decided in time.
            Err(_) | Ok(Err(WorkflowUpdateError::Rpc(_))) => self.keep_wish(&saga, &request).await,
            Ok(Err(error)) => Err(Problem::internal(DOING, &error)),
        }
    }

    async fn keep_wish(
        &self,
        saga: &WorkflowHandle<Client, Saga>,
        request: &CancelRequest,
    ) -> Result<Cancelled, Problem> {
        const DOING: &str = "leaving a cancel for the next worker";
        let wish = signal_payload(request).map_err(|error| Problem::internal(DOING, &error))?;
        let signal = async {
            let options = WorkflowSignalOptions::default();
            Ok(saga.signal(OrderSaga::cancel_signal, wish, options).await)
        };
        match within(DOING, CALL_TIMEOUT, Box::pin(signal)).await? {
            Ok(()) => Ok(Cancelled::Kept),
            Err(WorkflowInteractionError::NotFound(_)) => Ok(Cancelled::NotOpen),
            Err(WorkflowInteractionError::Rpc(status)) => Err(Problem::of_temporal(DOING, &status)),
            Err(error) => Err(Problem::internal(DOING, &error)),
        }
    }

    /// The orders that wait for a person, at most so many.
    pub(crate) async fn needing_attention(&self, most: i32) -> Result<Vec<OrderId>, Problem> {
        const DOING: &str = "asking which orders wait for a person";
        let request = ListWorkflowExecutionsRequest {
            namespace: self.0.namespace().to_owned(),
            page_size: most,
            query: format!("{} = true and ExecutionStatus = 'Running'", NEEDS_ATTENTION.name()),
            ..Default::default()
        };
        let list = async {
            let mut client = self.client().await?.clone();
            Ok(client.list_workflow_executions(request.into_request()).await)
        };
        let found = within(DOING, CALL_TIMEOUT, Box::pin(list)).await?.or_problem(DOING)?;
        let executions = found.into_inner().executions.into_iter();
        let ids = executions.filter_map(|found| found.execution).map(|found| found.workflow_id);
        Ok(ids.filter_map(|id| id.strip_prefix("order-")?.parse().ok().map(OrderId::of)).collect())
    }

    /// Tells the order what a person has decided; whether it waits for a decision.
    pub(crate) async fn resolve(
        &self,
        order_id: OrderId,
        resolution: &Resolution,
    ) -> Result<bool, Problem> {
        const DOING: &str = "telling an order a decision";
        let payload =
            signal_payload(resolution).map_err(|error| Problem::internal(DOING, &error))?;
        let tell = async {
            let saga = saga(self.client().await?, order_id);
            let described = saga.describe(WorkflowDescribeOptions::default()).await;
            // What the workflow itself says, which is not behind as lists may be.
            let waits = described.map(|described| waits(&described));
            if let Ok(true) = waits {
                let options = WorkflowSignalOptions::default();
                return Ok(saga.signal(OrderSaga::resolve, payload, options).await.map(|()| true));
            }
            Ok(waits)
        };
        match within(DOING, CALL_TIMEOUT, Box::pin(tell)).await? {
            Ok(told) => Ok(told),
            Err(WorkflowInteractionError::NotFound(_)) => Ok(false),
            Err(WorkflowInteractionError::Rpc(status)) => Err(Problem::of_temporal(DOING, &status)),
            Err(error) => Err(Problem::internal(DOING, &error)),
        }
    }

    /// Whether Temporal answers and knows the namespace.
    pub(crate) async fn check(&self) -> Result<(), Problem> {
        const DOING: &str = "asking whether Temporal is ready";
        let namespace = self.0.namespace().to_owned();
        let request = DescribeNamespaceRequest { namespace, ..Default::default() };
        let describe = async {
            let mut client = self.client().await?.clone();
            Ok(client.describe_namespace(request.into_request()).await)
        };
        let answer = within(DOING, CALL_TIMEOUT, Box::pin(describe)).await?;
        answer.map(|_described| ()).or_problem(DOING)
    }

    async fn client(&self) -> Result<&Client, Problem> {
        const DOING: &str = "connecting to Temporal";
        self.0.client().await.map_err(|error| {
            if let ClientConnectError::SystemInfoCallError(status) = &error {
                return Problem::of_temporal(DOING, status);
            }
            let away = matches!(
                error,
                ClientConnectError::TonicTransportError(_)
                    | ClientConnectError::DnsResolutionError { .. }
            );
            let problem = if away { Problem::unavailable } else { Problem::internal };
            problem(DOING, &error)
        })
    }
}

/// Whether the order is open and waits for a decision.
fn waits(described: &WorkflowExecutionDescription) -> bool {
    let info = described.raw_description.workflow_execution_info.as_ref();
    let is_open = info.is_some_and(|info| info.status() == RawStatus::Running);
    is_open && described.search_attributes().get(&NEEDS_ATTENTION) == Some(true)
}

async fn within<T>(
    doing: &'static str,
    limit: Duration,
    call: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    match timeout(limit, call).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(Problem::unavailable(doing, &NoAnswer(limit))),
    }
}

/// The workflow by its definition: unlike its state, that can be named on any thread.
type Saga = <OrderSaga as HasWorkflowDefinition>::Run;

fn saga(client: &Client, order_id: OrderId) -> WorkflowHandle<Client, Saga> {
    client.get_workflow_handle(order_id.workflow_id())
}

fn start_options(order: &Order) -> WorkflowStartOptions {
    let mut memo = MemoValues::new();
    memo.insert(workflows::MEMO_REQUEST_HASH, order.request_hash.as_str().to_owned());
    WorkflowStartOptions::new(Queue::Orders.name(), order.order_id.workflow_id())
        .id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate)
        .id_conflict_policy(WorkflowIdConflictPolicy::Fail)
        .memo(memo)
        .task_timeout(workflows::WORKFLOW_TASK_TIMEOUT)
        // Takes effect where a worker of this process shares the connection.
        .enable_eager_workflow_start(true)
        .search_attributes(workflows::search_attributes_at_start(order))
        .static_summary(workflows::static_summary(order))
        .static_details(workflows::static_details(order))
        .build()
}
