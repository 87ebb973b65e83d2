//! The four contenders: how to start one, and how to wait for its end.

use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use domain::{CustomerId, Order, OrderId, OrderStatus};
use temporalio_client::errors::WorkflowGetResultError;
use temporalio_client::tonic::IntoRequest;
use temporalio_client::{
    Client, UntypedWorkflow, WorkflowDescribeOptions, WorkflowGetResultOptions, WorkflowHandle,
    WorkflowStartOptions,
};
use temporalio_common::protos::temporal::api::workflowservice::v1::GetClusterInfoRequest;
use tokio::time::sleep;
use workflows::order::{OrderSaga, OrderStart};

use super::database::Database;
use super::floor;
use super::textbook::{EmptyWorkflow, QUEUE, TextbookSaga};
use crate::ordersaga::{ApiError, Ordersaga, PlaceOrder};

/// An order whose workflow has not started after this time is an error.
const LAUNCHED_WITHIN: Duration = Duration::from_secs(30);

/// The first pause before a workflow that has not started yet is looked up again. It doubles up to
/// the maximum, because each look costs the server time that is counted as the order's.
const PAUSE: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(64);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Contender {
    /// The minimal workflow.
    Empty,
    /// An order's workflow whose steps do nothing, started without HTTP.
    Floor,
    /// A real order: HTTP starter, worker, every step, with its status visible throughout.
    Order,
    /// The same steps as regular activities, priced beforehand and started without HTTP.
    Textbook,
}

impl Contender {
    /// All contenders, in the order of a round.
    pub(super) const ALL: [Self; 4] = [Self::Empty, Self::Floor, Self::Order, Self::Textbook];

    /// What it is called.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Floor => "floor",
            Self::Order => "order",
            Self::Textbook => "textbook",
        }
    }
}

/// Why a measurement is invalid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Spoiled {
    /// An order could not be placed.
    #[error(transparent)]
    Placing(#[from] ApiError),
    /// Temporal returned an error, or a workflow failed.
    #[error("{doing}: {why}")]
    Temporal {
        /// The action.
        doing: String,
        /// Why it failed.
        why: String,
    },
    /// An order could not be recorded.
    #[error("an order could not be put on record")]
    Record(#[from] sqlx::Error),
    /// Postgres does not report which of its processes serve the sandboxes.
    #[error("the database does not list its connections")]
    Processes(#[source] sqlx::Error),
    /// An order was not shipped, so it did not cost what an order costs.
    #[error("order {workflow_id} was to be completed, and is {status}")]
    NotShipped {
        /// Its workflow.
        workflow_id: String,
        /// The status it has.
        status: &'static str,
    },
}

/// What the contenders share: the same server, the same orders.
pub(super) struct Arena {
    /// The shop's database as the starter's role, to record the textbook saga's orders.
    pub(super) starter_database: Database,
    pub(super) client: Client,
    pub(super) shop: Ordersaga,
    /// The requests, and the same orders as priced by the shop.
    pub(super) orders: Vec<(PlaceOrder, Order)>,
    /// Distinguishes this run's orders from another's.
    pub(super) run: String,
    pub(super) next: AtomicUsize,
}

/// The cost of one workflow on the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Footprint {
    /// Events in its history.
    pub(super) events: u64,
    /// State transitions written.
    pub(super) transitions: u64,
}

impl Arena {
    /// Starts one; returns its workflow's id once the server has stored it.
    pub(super) async fn start(&self, contender: Contender) -> Result<String, Spoiled> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let key = format!("bench-{}-{number}", self.run);
        let index = number.checked_rem(self.orders.len());
        let Some((request, order)) = index.and_then(|index| self.orders.get(index)) else {
            unreachable!("a remainder is an index of what it is taken of")
        };
        match contender {
            Contender::Order => {
                let placed = Box::pin(self.shop.place(&key, request)).await?;
                Ok(format!("order-{}", placed.answer.id))
            }
            Contender::Empty => {
                let options = WorkflowStartOptions::new(QUEUE, format!("empty-{key}")).build();
                let started = self.client.start_workflow(EmptyWorkflow::run, (), options);
                Box::pin(started).await.map_err(|error| trouble("starting a workflow", error))?;
                Ok(format!("empty-{key}"))
            }
            Contender::Floor => {
                let order = renamed(order, &key);
                let workflow_id = format!("floor-{}", order.order_id);
                let options = floor::start_options(&order, workflow_id.clone());
                let start = OrderStart::of(&order);
                let started = self.client.start_workflow(OrderSaga::run, start, options);
                Box::pin(started).await.map_err(|error| trouble("starting a workflow", error))?;
                Ok(workflow_id)
            }
            Contender::Textbook => {
                let order = renamed(order, &key);
                self.starter_database.put_on_record(&order).await?;
                let workflow_id = format!("textbook-{}", order.order_id);
                let options = WorkflowStartOptions::new(QUEUE, workflow_id.clone()).build();
                let start = OrderStart::of(&order);
                let started = self.client.start_workflow(TextbookSaga::run, start, options);
                Box::pin(started).await.map_err(|error| trouble("starting a workflow", error))?;
                Ok(workflow_id)
            }
        }
    }

    /// Waits for the end of one with the server's long poll, which costs the server the same for
    /// each contender.
    pub(super) async fn wait(
        &self,
        contender: Contender,
        workflow_id: &str,
    ) -> Result<(), Spoiled> {
        let failed = |error| trouble(format!("waiting for workflow {workflow_id}"), error);
        let options = WorkflowGetResultOptions::default();
        match contender {
            Contender::Empty | Contender::Textbook => {
                let workflow: WorkflowHandle<Client, UntypedWorkflow> =
                    self.client.get_workflow_handle(workflow_id);
                Box::pin(workflow.get_result(options)).await.map_err(failed)?;
                Ok(())
            }
            Contender::Floor | Contender::Order => {
                let workflow: WorkflowHandle<Client, OrderSaga> =
                    self.client.get_workflow_handle(workflow_id);
                let (placed, mut pause) = (Instant::now(), PAUSE);
                let outcome = loop {
                    match Box::pin(workflow.get_result(options.clone())).await {
                        // An order is recorded before its workflow is started.
                        Err(WorkflowGetResultError::NotFound(_))
                            if placed.elapsed() < LAUNCHED_WITHIN =>
                        {
                            sleep(pause).await;
                            pause = pause.saturating_mul(2).min(PAUSE_MAX);
                        }
                        ended => break ended.map_err(failed)?,
                    }
                };
                if outcome.status == OrderStatus::Completed {
                    return Ok(());
                }
                let (workflow_id, status) = (workflow_id.to_owned(), outcome.status.name());
                Err(Spoiled::NotShipped { workflow_id, status })
            }
        }
    }

    /// The server's name, version and persistence.
    pub(super) async fn server_described(&self) -> Result<String, Spoiled> {
        let request = GetClusterInfoRequest::default().into_request();
        let mut service = self.client.connection().workflow_service();
        let told = service.get_cluster_info(request).await;
        let told = told.map_err(|error| trouble("asking the server what it is", error))?;
        let told = told.into_inner();
        Ok(format!("Temporal {} on {}", told.server_version, told.persistence_store))
    }

    /// The cost of an ended workflow on the server.
    pub(super) async fn footprint(&self, workflow_id: &str) -> Result<Footprint, Spoiled> {
        let workflow: WorkflowHandle<Client, UntypedWorkflow> =
            self.client.get_workflow_handle(workflow_id);
        let told = Box::pin(workflow.describe(WorkflowDescribeOptions::default())).await;
        let told = told.map_err(|error| trouble("asking what a workflow took", error))?;
        let info = told.raw().workflow_execution_info.as_ref();
        let count = |counted: i64| u64::try_from(counted).unwrap_or_default();
        Ok(Footprint {
            events: info.map_or(0, |info| count(info.history_length)),
            transitions: info.map_or(0, |info| count(info.state_transition_count)),
        })
    }
}

fn trouble(doing: impl Into<String>, error: impl Display) -> Spoiled {
    Spoiled::Temporal { doing: doing.into(), why: error.to_string() }
}

/// The same order under another id, as if it had been placed now with this key.
fn renamed(order: &Order, key: &str) -> Order {
    let customer: &CustomerId = &order.customer_id;
    let order_id = OrderId::for_request(customer, key);
    Order { order_id, placed_at: SystemTime::now().into(), ..order.clone() }
}
