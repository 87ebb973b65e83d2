//! The floor of an order: its own workflow, with steps that do nothing, so that only Temporal and
//! the saga's code are measured.

#![expect(
    dead_code,
    unreachable_pub,
    reason = "the activity macro makes public constants of public methods, and nothing here uses them"
)]

use domain::{Authorisation, AuthorisationAnswer, Order, Shipment, StepKey};
use temporalio_client::{Client, WorkflowStartOptions};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use temporalio_sdk::runtime::RuntimeOptions;
use temporalio_sdk::{Runtime, Worker, WorkerOptions};
use workflows::order::{OrderSaga, search_attributes_at_start, static_summary};

use super::BenchError;
use super::worker::{Slots, slots, told};

/// The task queue of the floor.
const QUEUE: &str = "bench-floor";

/// A worker of this process. It has to run during the measurement, and shares the client that
/// starts the workflows, as `ordersaga all` does, so that they start eagerly here.
pub(super) fn worker(client: &Client) -> Result<Worker, BenchError> {
    let runtime = Runtime::from_current_tokio(RuntimeOptions::default()).map_err(told)?;
    // As many slots as the worker of `ordersaga all` has.
    let tuner = slots(Slots { workflow_tasks: 200, local_activities: 500, activities: 1 });
    let options = WorkerOptions::new(QUEUE)
        .tuner(tuner)
        .max_cached_workflows(2_000)
        .register_workflow::<OrderSaga>()
        .map_err(told)?
        .register_activities(NoWork)
        .build();
    Worker::new(&runtime, client.clone(), options).map_err(told)
}

/// The options with which the starter launches an order, but on the floor's queue.
pub(super) fn start_options(order: &Order, workflow_id: String) -> WorkflowStartOptions {
    let total = order.totals.total;
    WorkflowStartOptions::new(QUEUE, workflow_id)
        .task_timeout(saga::WORKFLOW_TASK_TIMEOUT)
        .enable_eager_workflow_start(true)
        .search_attributes(search_attributes_at_start(&order.customer_id, total))
        .static_summary(static_summary(total, order.ship_to.country))
        .build()
}

/// The steps of an order in which nothing fails, without their work.
#[derive(Clone, Copy, Debug)]
pub struct NoWork;

#[activities]
#[expect(clippy::unused_async, reason = "an activity is async, whatever it does")]
impl NoWork {
    #[activity(definition = workflows::order::ReserveStock)]
    pub async fn reserve_stock(_ctx: ActivityContext, _key: StepKey) -> Result<(), ActivityError> {
        Ok(())
    }

    #[activity(definition = workflows::order::AuthorisePayment)]
    pub async fn authorise_payment(
        _ctx: ActivityContext,
        key: StepKey,
    ) -> Result<AuthorisationAnswer, ActivityError> {
        let provider_reference = key.order_id.to_string();
        let authorisation = Authorisation { provider_reference, expires_at: None };
        Ok(AuthorisationAnswer::Authorised(authorisation))
    }

    #[activity(definition = workflows::order::CapturePayment)]
    pub async fn capture_payment(
        _ctx: ActivityContext,
        _key: StepKey,
    ) -> Result<(), ActivityError> {
        Ok(())
    }

    #[activity(definition = workflows::order::PostEntries)]
    pub async fn post_entries(_ctx: ActivityContext, _key: StepKey) -> Result<(), ActivityError> {
        Ok(())
    }

    #[activity(definition = workflows::order::ShipOrder)]
    pub async fn ship_order(
        _ctx: ActivityContext,
        key: StepKey,
    ) -> Result<Shipment, ActivityError> {
        Ok(Shipment { tracking: key.order_id.to_string() })
    }

    #[activity(definition = workflows::order::RecogniseRevenue)]
    pub async fn recognise_revenue(
        _ctx: ActivityContext,
        _key: StepKey,
    ) -> Result<(), ActivityError> {
        Ok(())
    }
}
