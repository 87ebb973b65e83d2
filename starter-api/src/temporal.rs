//! The starter's client of Temporal: every call has a timeout, and every result is a business
//! answer or a [`Problem`].

mod problem;

use std::time::{Duration, Instant};

use domain::refund::RefundId;
use domain::{CountryCode, CustomerId, Money, OrderId};
use metrics::{describe_histogram, histogram};
use runtime::temporal::BadSettings;
use temporalio_client::errors::{
    ClientConnectError, WorkflowInteractionError, WorkflowStartError, WorkflowUpdateError,
};
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::{Code, IntoRequest};
use temporalio_client::{
    Client, ClientOptions, ConnectionOptions, RetryOptions, WorkflowExecuteUpdateOptions,
    WorkflowHandle, WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowSignalOptions,
    WorkflowStartOptions,
};
use temporalio_common::HasWorkflowDefinition;
use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeNamespaceRequest;
use tokio::time::timeout;
use workflows::Queue;
use workflows::order::{
    CANCELLED_BEFORE, CancelDecision, CancelRequest, OrderSaga, OrderStart, PartyUpdate,
    PaymentReplaced, Resolution, Reviewed, search_attributes_at_start, signal_payload,
    static_summary,
};
use workflows::refund::{self, RefundSaga, RefundStart};

use crate::error::{OrProblem, Problem};

/// The client identity in Temporal.
const PROGRAM: &str = "ordersaga-starter";

/// Histogram of the duration of calls to Temporal, labelled by operation and whether it was
/// answered.
const CALL_SECONDS: &str = "ordersaga_temporal_call_seconds";

/// The operations.
const CALLS: [&str; 6] = ["launch", "cancel", "pay", "review", "resolve", "check"];

/// Longer than a healthy response takes, shorter than a caller's timeout.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);

/// A cancellation is answered by a worker, which may be busy with the order. After this time the
/// request is left as a signal for the next worker.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(3);

/// A client of Temporal, over a connection that may be shared with a worker in the same process.
#[derive(Clone, Debug)]
pub struct Temporal(runtime::temporal::Temporal);

/// The input of an order's workflow, and its search attributes.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// The workflow's input.
    pub(crate) start: OrderStart,
    /// The customer, as a search attribute.
    pub(crate) customer_id: CustomerId,
    /// The total, as a search attribute.
    pub(crate) total: Money,
    /// The destination country, for the summary.
    pub(crate) country: CountryCode,
    /// Whether the order's workflow was lost: then a closed workflow may have the same id.
    pub(crate) is_recovery: bool,
}

/// Why an order's workflow was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotLaunched {
    /// Temporal does not answer, or refuses to start any workflow.
    #[error("Temporal does not start workflows: {0}")]
    Unavailable(String),
    /// Temporal refuses this order.
    #[error("Temporal refused the order: {0}")]
    Refused(String),
}

/// The outcome of a request to cancel an order.
#[derive(Debug)]
pub(crate) enum Cancelled {
    /// The workflow decided.
    Answered(CancelDecision),
    /// No worker has answered. The request is in the workflow's history as a signal, and the next
    /// worker decides about it first.
    Kept,
    /// The workflow refused: the parcel is handed over, or the order ended at the same time.
    Refused,
    /// The order has no open workflow.
    NotOpen,
}

/// The outcome of an operator's decision.
#[derive(Debug)]
pub(crate) enum Taken {
    /// The workflow accepted it.
    Yes,
    /// The order does not wait for this decision, for this reason.
    Refused(String),
    /// The order has no open workflow.
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
    /// A separate connection to the cluster in the SDK's settings.
    pub fn from_env() -> Result<Self, BadSettings> {
        runtime::temporal::Temporal::from_env(PROGRAM).map(Self::alone)
    }

    /// A separate connection to the given cluster.
    #[must_use]
    pub fn at(connection: ConnectionOptions, client: ClientOptions) -> Self {
        Self::alone(runtime::temporal::Temporal::at(connection, client, PROGRAM))
    }

    fn alone(connection: runtime::temporal::Temporal) -> Self {
        // Two quick retries cover a lost connection; after that the caller gets an error.
        let retry = RetryOptions::builder()
            .initial_interval(Duration::from_millis(50))
            .max_retries(3)
            .max_elapsed_time(Some(CALL_TIMEOUT))
            .build();
        Self(connection.retrying(retry))
    }

    /// Starts the order's workflow, unless it was started before.
    ///
    /// **Repeats.** Idempotent: the workflow's id is derived from the order's id, and a second
    /// start is refused whether the first workflow is running or closed. In a recovery, only a
    /// running one prevents the start.
    pub(crate) async fn launch(&self, launch: &Launch) -> Result<(), NotLaunched> {
        timed("launch", Box::pin(self.launch_untimed(launch))).await
    }

    async fn launch_untimed(&self, launch: &Launch) -> Result<(), NotLaunched> {
        let start = async {
            let client = self.0.client().await;
            let client = client.map_err(|error| NotLaunched::Unavailable(error.to_string()))?;
            let options = start_options(launch);
            launched(client.start_workflow(OrderSaga::run, launch.start.clone(), options).await)
        };
        in_time(Box::pin(start)).await
    }

    /// Starts a refund's workflow, unless it was started before.
    ///
    /// **Repeats.** As for [`Temporal::launch`], by the refund's number.
    pub(crate) async fn launch_refund(
        &self,
        start: RefundStart,
        is_recovery: bool,
    ) -> Result<(), NotLaunched> {
        let launch = async {
            let client = self.0.client().await;
            let client = client.map_err(|error| NotLaunched::Unavailable(error.to_string()))?;
            let options = refund_options(start, is_recovery);
            launched(client.start_workflow(RefundSaga::run, start, options).await)
        };
        timed("launch", Box::pin(in_time(Box::pin(launch)))).await
    }

    /// Cancels the order, if it is not too late. If no worker answers, the request is left as a
    /// signal, which Temporal keeps until there is a worker.
    ///
    /// **Repeats.** Idempotent: a request that arrives both as an update and as a signal counts
    /// once. Repeated cancellations without a worker leave a single signal.
    pub(crate) async fn cancel(
        &self,
        order_id: OrderId,
        request: CancelRequest,
    ) -> Result<Cancelled, Problem> {
        timed("cancel", Box::pin(self.cancel_untimed(order_id, request))).await
    }

    async fn cancel_untimed(
        &self,
        order_id: OrderId,
        request: CancelRequest,
    ) -> Result<Cancelled, Problem> {
        const DOING: &str = "cancelling an order";
        let client = within(DOING, CALL_TIMEOUT, self.client()).await?;
        let options = WorkflowExecuteUpdateOptions::default();
        let saga = saga_of(client, order_id);
        let update = saga.execute_update(OrderSaga::cancel, request.clone(), options);
        match timeout(CANCEL_TIMEOUT, Box::pin(update)).await {
            Ok(Ok(answer)) => Ok(Cancelled::Answered(answer)),
            Ok(Err(WorkflowUpdateError::Failed(why))) if why.message.contains(CANCELLED_BEFORE) => {
                Ok(Cancelled::Answered(CancelDecision::AlreadyUnwinding))
            }
            Ok(Err(WorkflowUpdateError::Failed(_))) => Ok(Cancelled::Refused),
            Ok(Err(WorkflowUpdateError::NotFound(_))) => Ok(Cancelled::NotOpen),
            // No decision within the timeout.
            Err(_) | Ok(Err(WorkflowUpdateError::Rpc(_))) => {
                self.keep_request(&saga, &request).await
            }
            Ok(Err(error)) => Err(Problem::internal(DOING, &error)),
        }
    }

    async fn keep_request(
        &self,
        saga: &WorkflowHandle<Client, Saga>,
        request: &CancelRequest,
    ) -> Result<Cancelled, Problem> {
        const DOING: &str = "leaving a cancel for the next worker";
        let payload = signal_payload(request).map_err(|error| Problem::internal(DOING, &error))?;
        let signal = async {
            Ok(saga.signal(OrderSaga::cancel_signal, payload, once("cancel".to_owned())).await)
        };
        match within(DOING, CALL_TIMEOUT, Box::pin(signal)).await? {
            Ok(()) => Ok(Cancelled::Kept),
            Err(WorkflowInteractionError::NotFound(_)) => Ok(Cancelled::NotOpen),
            Err(WorkflowInteractionError::Rpc(status)) => Err(Problem::of_temporal(DOING, &status)),
            Err(error) => Err(Problem::internal(DOING, &error)),
        }
    }

    /// Notifies the order's workflow that another payment method was recorded. If no worker
    /// answers, the notification is left as a signal, which Temporal keeps until there is a worker.
    ///
    /// **Repeats.** The workflow reads the database once more.
    ///
    /// **Errors.** Temporal does not answer. The workflow finds the method in the database all the
    /// same, at the latest when the time to pay is over.
    pub(crate) async fn pay(
        &self,
        order_id: OrderId,
        replaced: PaymentReplaced,
    ) -> Result<(), Problem> {
        timed("pay", Box::pin(self.pay_untimed(order_id, replaced))).await
    }

    async fn pay_untimed(
        &self,
        order_id: OrderId,
        replaced: PaymentReplaced,
    ) -> Result<(), Problem> {
        const DOING: &str = "telling an order of another payment";
        let client = within(DOING, CALL_TIMEOUT, self.client()).await?;
        let options = WorkflowExecuteUpdateOptions::default();
        let (saga, attempt) = (saga_of(client, order_id), replaced.attempt);
        let update = saga.execute_update(OrderSaga::pay, replaced, options);
        match timeout(CANCEL_TIMEOUT, Box::pin(update)).await {
            // Refused or not found: the workflow has found the method by itself, or has ended.
            Ok(Ok(()) | Err(WorkflowUpdateError::Failed(_) | WorkflowUpdateError::NotFound(_))) => {
                return Ok(());
            }
            // No answer within the timeout.
            Err(_) | Ok(Err(WorkflowUpdateError::Rpc(_))) => {}
            Ok(Err(error)) => return Err(Problem::internal(DOING, &error)),
        }
        let options = once(format!("pay-{attempt}"));
        let (reference, status) = ("payment method".to_owned(), "replaced".to_owned());
        let payload = signal_payload(&PartyUpdate { reference, status });
        let payload = payload.map_err(|error| Problem::internal(DOING, &error))?;
        let signal = async { Ok(saga.signal(OrderSaga::payment_update, payload, options).await) };
        match within(DOING, CALL_TIMEOUT, Box::pin(signal)).await? {
            Ok(()) | Err(WorkflowInteractionError::NotFound(_)) => Ok(()),
            Err(WorkflowInteractionError::Rpc(status)) => Err(Problem::of_temporal(DOING, &status)),
            Err(error) => Err(Problem::internal(DOING, &error)),
        }
    }

    /// Notifies the order's workflow that a review decision was recorded, as [`Temporal::pay`] does
    /// for a payment.
    ///
    /// **Repeats.** The workflow reads the database once more.
    ///
    /// **Errors.** Temporal does not answer. The workflow finds the decision all the same, at the
    /// review's deadline at the latest.
    pub(crate) async fn review(
        &self,
        order_id: OrderId,
        reviewed: Reviewed,
    ) -> Result<(), Problem> {
        timed("review", Box::pin(self.review_untimed(order_id, reviewed))).await
    }

    async fn review_untimed(&self, order_id: OrderId, reviewed: Reviewed) -> Result<(), Problem> {
        const DOING: &str = "telling an order of a review";
        let client = within(DOING, CALL_TIMEOUT, self.client()).await?;
        let options = WorkflowExecuteUpdateOptions::default();
        let saga = saga_of(client, order_id);
        let update = saga.execute_update(OrderSaga::review, reviewed.clone(), options);
        match timeout(CANCEL_TIMEOUT, Box::pin(update)).await {
            // Refused or not found: the workflow has found the decision by itself, or has ended.
            Ok(Ok(()) | Err(WorkflowUpdateError::Failed(_) | WorkflowUpdateError::NotFound(_))) => {
                return Ok(());
            }
            // No answer within the timeout.
            Err(_) | Ok(Err(WorkflowUpdateError::Rpc(_))) => {}
            Ok(Err(error)) => return Err(Problem::internal(DOING, &error)),
        }
        let options = once(format!("review-{}", reviewed.attempt));
        let payload = signal_payload(&reviewed);
        let payload = payload.map_err(|error| Problem::internal(DOING, &error))?;
        let signal = async { Ok(saga.signal(OrderSaga::review_signal, payload, options).await) };
        match within(DOING, CALL_TIMEOUT, Box::pin(signal)).await? {
            Ok(()) | Err(WorkflowInteractionError::NotFound(_)) => Ok(()),
            Err(WorkflowInteractionError::Rpc(status)) => Err(Problem::of_temporal(DOING, &status)),
            Err(error) => Err(Problem::internal(DOING, &error)),
        }
    }

    /// Sends an operator's decision to the order's workflow.
    ///
    /// **Repeats.** Idempotent: the decision names the occurrence that it is about.
    ///
    /// **Errors.** No worker answers in time. The decision is not left as a signal, so whether it
    /// was accepted is unknown: the caller should read the order before deciding again. Deciding
    /// twice is harmless, because a decision names its occurrence.
    pub(crate) async fn resolve(
        &self,
        order_id: OrderId,
        resolution: Resolution,
    ) -> Result<Taken, Problem> {
        timed("resolve", Box::pin(self.resolve_untimed(order_id, resolution))).await
    }

    async fn resolve_untimed(
        &self,
        order_id: OrderId,
        resolution: Resolution,
    ) -> Result<Taken, Problem> {
        let tell = async {
            let options = WorkflowExecuteUpdateOptions::default();
            let saga = saga_of(self.client().await?, order_id);
            Ok(saga.execute_update(OrderSaga::resolve, resolution, options).await)
        };
        taken(within(DECIDING, CALL_TIMEOUT, Box::pin(tell)).await?)
    }

    /// Sends an operator's decision to a refund's workflow; as [`Temporal::resolve`].
    pub(crate) async fn resolve_refund(
        &self,
        refund: RefundId,
        resolution: Resolution,
    ) -> Result<Taken, Problem> {
        timed("resolve", Box::pin(self.resolve_refund_untimed(refund, resolution))).await
    }

    async fn resolve_refund_untimed(
        &self,
        refund: RefundId,
        resolution: Resolution,
    ) -> Result<Taken, Problem> {
        let tell = async {
            let options = WorkflowExecuteUpdateOptions::default();
            let saga: WorkflowHandle<Client, Refund> =
                self.client().await?.get_workflow_handle(refund.workflow_id());
            Ok(saga.execute_update(RefundSaga::resolve, resolution, options).await)
        };
        taken(within(DECIDING, CALL_TIMEOUT, Box::pin(tell)).await?)
    }

    /// Checks that Temporal answers and knows the namespace.
    pub(crate) async fn check(&self) -> Result<(), Problem> {
        const DOING: &str = "asking whether Temporal is ready";
        let namespace = self.0.namespace().to_owned();
        let request = DescribeNamespaceRequest { namespace, ..Default::default() };
        let describe = async {
            let mut client = self.client().await?.clone();
            Ok(client.describe_namespace(request.into_request()).await)
        };
        let asked = async {
            let answer = within(DOING, CALL_TIMEOUT, Box::pin(describe)).await?;
            answer.map(|_described| ()).or_problem(DOING)
        };
        timed("check", asked).await
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

/// Registers the series of every operation, so that the first failure shows as an increase.
pub(crate) fn describe_metrics() {
    describe_histogram!(CALL_SECONDS, "Time of the API's calls to Temporal, answered or not");
    for call in CALLS {
        for result in ["answered", "failed"] {
            drop(histogram!(CALL_SECONDS, "call" => call, "result" => result));
        }
    }
}

/// Awaits a call and records its duration. A refusal by the workflow counts as an answer.
async fn timed<T, E>(
    call: &'static str,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let asked = Instant::now();
    let answer = answer.await;
    let result = if answer.is_ok() { "answered" } else { "failed" };
    histogram!(CALL_SECONDS, "call" => call, "result" => result).record(asked.elapsed());
    answer
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

/// The outcome of starting a workflow; one that was started before counts as success.
fn launched<T>(started: Result<T, WorkflowStartError>) -> Result<(), NotLaunched> {
    match started {
        Ok(_) | Err(WorkflowStartError::AlreadyStarted { .. }) => Ok(()),
        Err(WorkflowStartError::Rpc(status))
            if !matches!(status.code(), Code::InvalidArgument | Code::OutOfRange) =>
        {
            Err(NotLaunched::Unavailable(status.to_string()))
        }
        Err(error) => Err(NotLaunched::Refused(error.to_string())),
    }
}

async fn in_time(start: impl Future<Output = Result<(), NotLaunched>>) -> Result<(), NotLaunched> {
    match timeout(CALL_TIMEOUT, start).await {
        Ok(started) => started,
        Err(_elapsed) => Err(NotLaunched::Unavailable(NoAnswer(CALL_TIMEOUT).to_string())),
    }
}

const DECIDING: &str = "telling an order a decision";

/// The outcome of a decision.
fn taken(told: Result<(), WorkflowUpdateError>) -> Result<Taken, Problem> {
    match told {
        Ok(()) => Ok(Taken::Yes),
        Err(WorkflowUpdateError::Failed(why)) => Ok(Taken::Refused(why.message)),
        Err(WorkflowUpdateError::NotFound(_)) => Ok(Taken::NotOpen),
        Err(WorkflowUpdateError::Rpc(status)) => Err(Problem::of_temporal(DECIDING, &status)),
        Err(error) => Err(Problem::internal(DECIDING, &error)),
    }
}

/// The workflow's definition, which unlike its state is `Send`.
type Saga = <OrderSaga as HasWorkflowDefinition>::Run;
type Refund = <RefundSaga as HasWorkflowDefinition>::Run;

fn saga_of(client: &Client, order_id: OrderId) -> WorkflowHandle<Client, Saga> {
    client.get_workflow_handle(order_id.workflow_id())
}

/// Options of a signal that a workflow run receives at most once: Temporal deduplicates by the
/// request id.
fn once(name: String) -> WorkflowSignalOptions {
    WorkflowSignalOptions::builder().request_id(name).build()
}

const fn reuse(is_recovery: bool) -> WorkflowIdReusePolicy {
    if is_recovery {
        WorkflowIdReusePolicy::AllowDuplicate
    } else {
        WorkflowIdReusePolicy::RejectDuplicate
    }
}

fn refund_options(start: RefundStart, is_recovery: bool) -> WorkflowStartOptions {
    WorkflowStartOptions::new(Queue::Orders.name(), start.refund.workflow_id())
        .id_reuse_policy(reuse(is_recovery))
        .id_conflict_policy(WorkflowIdConflictPolicy::Fail)
        .task_timeout(saga::WORKFLOW_TASK_TIMEOUT)
        .enable_eager_workflow_start(true)
        .search_attributes(refund::search_attributes_at_start())
        .build()
}

fn start_options(launch: &Launch) -> WorkflowStartOptions {
    WorkflowStartOptions::new(Queue::Orders.name(), launch.start.order_id.workflow_id())
        .id_reuse_policy(reuse(launch.is_recovery))
        .id_conflict_policy(WorkflowIdConflictPolicy::Fail)
        .task_timeout(saga::WORKFLOW_TASK_TIMEOUT)
        // Takes effect if a worker of this process shares the connection.
        .enable_eager_workflow_start(true)
        .search_attributes(search_attributes_at_start(&launch.customer_id, launch.total))
        .static_summary(static_summary(launch.total, launch.country))
        .build()
}
