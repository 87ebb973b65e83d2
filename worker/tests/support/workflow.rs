//! Reads and controls an order's workflow in Temporal.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use temporalio_client::errors::WorkflowUpdateError;
use temporalio_client::tonic::IntoRequest as _;
use temporalio_client::{
    Client, WorkflowExecuteUpdateOptions, WorkflowFetchHistoryOptions, WorkflowHandle,
    WorkflowListOptions,
};
use temporalio_common::protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_common::protos::temporal::api::enums::v1::EventType;
use temporalio_common::protos::temporal::api::history::v1::History;
use temporalio_common::protos::temporal::api::update::v1::{UpdateRef, WaitPolicy};
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    PollWorkflowExecutionUpdateRequest, ResetWorkflowExecutionRequest,
};
use tokio::time::interval;
use uuid::Uuid;
use workflows::order::{CancelDecision, CancelRequest, OrderSaga};

use super::{Gate, OrderHandle};

/// Every event of the order's history.
pub async fn history(handle: &OrderHandle) -> History {
    History { events: handle.fetch_history(Default::default()).into_events().await.unwrap() }
}

/// Waits until the history has this many events of this type, using Temporal's long poll.
pub async fn until_in_history(handle: &OrderHandle, wanted: EventType, times: usize) {
    let options = WorkflowFetchHistoryOptions::builder().wait_new_event(true).build();
    let mut events = handle.fetch_history(options);
    let mut seen = 0_usize;
    while seen < times {
        let event = events.next().await.expect("another event before the workflow ends").unwrap();
        if event.event_type() == wanted {
            seen = seen.saturating_add(1);
        }
    }
}

/// Waits until Temporal lists this many workflows for a query. Its lists lag behind, and it limits
/// how often they are read.
pub async fn until_listed(client: &Client, query: &str, wanted: usize) {
    let mut looks = interval(Duration::from_millis(200));
    loop {
        looks.tick().await;
        let listed = client.list_workflows(query, WorkflowListOptions::default());
        let listed: Vec<_> = listed.try_collect().await.unwrap();
        if listed.len() == wanted {
            return;
        }
    }
}

/// The same run, or another run of the same workflow.
fn run(handle: &OrderHandle, run_id: Option<String>) -> WorkflowExecution {
    let workflow_id = handle.info().workflow_id.clone();
    WorkflowExecution { workflow_id, run_id: run_id.unwrap_or_default() }
}

/// Resets a run to the workflow task that this event ended, and returns the new run.
pub async fn reset(handle: &OrderHandle, event_id: i64) -> OrderHandle {
    let request = ResetWorkflowExecutionRequest {
        namespace: handle.info().namespace.clone(),
        workflow_execution: Some(run(handle, handle.info().run_id.clone())),
        reason: "a test".to_owned(),
        workflow_task_finish_event_id: event_id,
        request_id: Uuid::now_v7().to_string(),
        ..Default::default()
    };
    let mut service = handle.client().connection().workflow_service();
    let answer = service.reset_workflow_execution(request.into_request()).await.unwrap();
    let mut info = handle.info().clone();
    info.run_id = Some(answer.into_inner().run_id);
    WorkflowHandle::new(handle.client().clone(), info)
}

/// Requests a cancellation, and returns the shop's answer.
///
/// `is_known` opens once Temporal has the request, regardless of the answer.
pub async fn cancel(
    handle: &OrderHandle,
    reason: &str,
    is_known: &Gate,
) -> Result<CancelDecision, WorkflowUpdateError> {
    let update_id = Uuid::now_v7().to_string();
    let options = WorkflowExecuteUpdateOptions::builder().update_id(update_id.clone()).build();
    let request = CancelRequest { reason: reason.to_owned() };
    let answered = async {
        let answer = handle.execute_update(OrderSaga::cancel, request, options).await;
        is_known.let_go();
        answer
    };
    let admitted = async {
        while !is_known.is_open() && !is_admitted(handle, &update_id).await {
            tokio::task::yield_now().await;
        }
        is_known.let_go();
    };
    tokio::join!(answered, admitted).0
}

/// Whether Temporal has admitted an update.
async fn is_admitted(handle: &OrderHandle, update_id: &str) -> bool {
    let request = PollWorkflowExecutionUpdateRequest {
        namespace: handle.info().namespace.clone(),
        update_ref: Some(UpdateRef {
            workflow_execution: Some(run(handle, None)),
            update_id: update_id.to_owned(),
        }),
        wait_policy: Some(WaitPolicy::default()),
        ..Default::default()
    };
    let mut service = handle.client().connection().workflow_service();
    service.poll_workflow_execution_update(request.into_request()).await.is_ok()
}
