//! The baselines for an order: the minimal workflow, and the textbook saga.

#![expect(unreachable_pub, reason = "the workflow macro makes public constants of public methods")]

use std::time::Duration;

use domain::{StepKey, StepName};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ActivityOptions, WorkflowContext, WorkflowResult};
use workflows::order::{
    AuthorisePayment, CapturePayment, OrderStart, PostEntries, RecogniseRevenue, ReserveStock,
    ShipOrder,
};

/// The task queue of both, separate from real orders.
pub(super) const QUEUE: &str = "bench";

/// Starts and ends: the server's minimal cost of a workflow.
#[workflow]
#[derive(Debug, Default)]
pub struct EmptyWorkflow;

#[workflow_methods]
impl EmptyWorkflow {
    /// Does nothing.
    #[expect(clippy::unused_async, reason = "a workflow is async, whatever it does")]
    #[run(name = "EmptyWorkflow")]
    pub async fn run(_ctx: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
        Ok(())
    }
}

/// The order's steps, with the same activities, each as a regular activity, in sequence.
///
/// It has no undo list, publishes no status and answers no query, so it does less than a real
/// order, but costs the server more.
#[workflow]
#[derive(Debug, Default)]
pub struct TextbookSaga;

#[workflow_methods]
impl TextbookSaga {
    /// Processes an order in which nothing fails; returns its tracking number.
    #[run(name = "TextbookSaga")]
    pub async fn run(ctx: &mut WorkflowContext<Self>, order: OrderStart) -> WorkflowResult<String> {
        let OrderStart { order_id, record_version: version, .. } = order;
        let key = |step| StepKey { order_id, step, version, attempt: 1 };
        ctx.execute_activity(ReserveStock, key(StepName::ReserveStock), options()).await?;
        let authorise = key(StepName::AuthorisePayment);
        ctx.execute_activity(AuthorisePayment, authorise, options()).await?;
        ctx.execute_activity(CapturePayment, key(StepName::CapturePayment), options()).await?;
        ctx.execute_activity(PostEntries, key(StepName::PostEntries), options()).await?;
        let parcel = ctx.execute_activity(ShipOrder, key(StepName::ShipOrder), options()).await?;
        let recognise = key(StepName::RecogniseRevenue);
        ctx.execute_activity(RecogniseRevenue, recognise, options()).await?;
        Ok(parcel.tracking)
    }
}

fn options() -> ActivityOptions {
    ActivityOptions::start_to_close_timeout(Duration::from_secs(30))
}
