//! Applies the payment provider's events from the inbox, and polls its list of events as a second
//! source besides webhooks. A provider without events, such as the sandbox, needs neither.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use activities::inbox::{self, News, Outcome, Process, Processes, Taken};
use activities::payment::port::EventSource;
use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream;
use runtime::chain;
use sqlx::PgPool;
use temporalio_client::errors::WorkflowInteractionError;
use temporalio_client::{Client, WorkflowHandle, WorkflowSignalOptions};
use temporalio_common::HasWorkflowDefinition;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use workflows::order::{OrderSaga, PartyUpdate, signal_payload};
use workflows::refund::RefundSaga;

use crate::recover::{Workflow, workflow_called};

/// How often the inbox is checked for due events.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many events a worker leases at once. If it has not processed an event within two minutes,
/// another worker may lease it.
const BATCH: i64 = 32;

/// How many of them are processed concurrently.
const AT_ONCE: usize = 8;

/// Longer than any healthy answer of Temporal takes.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Applies events.
pub struct Inbox {
    /// The shop's database.
    pub pool: PgPool,
    /// The provider that the events come from.
    pub provider: Arc<dyn EventSource>,
    /// The processes to notify.
    pub processes: Arc<dyn Processes>,
    /// How often the provider's list of events is polled, by all workers together.
    pub poll_every: Duration,
}

impl Inbox {
    /// Applies events and polls the provider's list, until `stop`. Stopping drops an event in
    /// progress; another worker takes it once its lease has expired.
    pub async fn run(self, stop: CancellationToken) {
        let both = async { tokio::join!(self.apply(), self.poll()) };
        stop.run_until_cancelled(both).await;
    }

    /// Never ends.
    async fn apply(&self) {
        let mut due = interval(LOOK_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            while self.apply_due().await {}
        }
    }

    /// Applies one batch of due events. Returns whether there may be more.
    pub async fn apply_due(&self) -> bool {
        let taken = match inbox::take(&self.pool, BATCH).await {
            Ok(taken) => taken,
            Err(error) => {
                warn!(
                    error = chain(&error),
                    "events of the payment provider could not be read; retrying"
                );
                return false;
            }
        };
        let is_full = i64::try_from(taken.len()).is_ok_and(|taken| taken == BATCH);
        let apply = |event: Taken| async move { self.apply_one(&event).await };
        stream::iter(taken).for_each_concurrent(AT_ONCE, apply).await;
        is_full
    }

    async fn apply_one(&self, event: &Taken) {
        let (id, event_type) = (&event.event_id, &event.event_type);
        let handled = inbox::handle(&self.pool, &*self.provider, &*self.processes, event).await;
        match handled {
            Ok(Outcome::Applied) => info!(id, event_type, "an event of the provider is applied"),
            Ok(Outcome::Ignored) => {}
            Ok(Outcome::NotYet(why)) => {
                info!(id, event_type, why, "an event cannot be applied yet");
            }
            Err(error) => {
                let error = chain(&error);
                warn!(id, event_type, error, "the outcome of an event could not be recorded");
            }
        }
    }

    /// Never ends.
    async fn poll(&self) {
        let mut due = interval(self.poll_every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            match inbox::poll(&self.pool, &*self.provider, self.poll_every).await {
                Ok(None | Some(0)) => {}
                Ok(Some(new)) => info!(new, "events were listed that no webhook had brought"),
                Err(error) => {
                    warn!(
                        error = chain(&error),
                        "the provider's list of events could not be read; retrying"
                    );
                }
            }
        }
    }
}

/// Signals the workflows of orders and refunds in Temporal.
pub struct TemporalProcesses {
    /// The connection.
    pub client: Client,
}

type Order = <OrderSaga as HasWorkflowDefinition>::Run;
type Refund = <RefundSaga as HasWorkflowDefinition>::Run;

/// Why a workflow could not be signalled.
#[derive(Debug, thiserror::Error)]
enum NotReached {
    #[error("Temporal does not answer within {} s", CALL_TIMEOUT.as_secs())]
    NoAnswer,
    #[error("Temporal: {0}")]
    Temporal(String),
}

#[async_trait]
impl Processes for TemporalProcesses {
    async fn tell(
        &self,
        process: Process,
        news: &News,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let News { event_id, reference, status } = news;
        let (reference, status) = (reference.clone(), (*status).to_owned());
        let payload = signal_payload(&PartyUpdate { reference, status })?;
        // Temporal ignores a second signal with the same request id.
        let options = WorkflowSignalOptions::builder().request_id(event_id.clone()).build();
        let told = match process {
            Process::Order(order) => {
                let saga: WorkflowHandle<Client, Order> =
                    self.client.get_workflow_handle(order.workflow_id());
                let signal = saga.signal(OrderSaga::payment_update, payload, options);
                timeout(CALL_TIMEOUT, Box::pin(signal)).await
            }
            Process::Refund(refund) => {
                let saga: WorkflowHandle<Client, Refund> =
                    self.client.get_workflow_handle(refund.workflow_id());
                let signal = saga.signal(RefundSaga::payment_update, payload, options);
                timeout(CALL_TIMEOUT, Box::pin(signal)).await
            }
        };
        match told {
            // It has ended, or has not been launched and will ask by itself.
            Ok(Ok(()) | Err(WorkflowInteractionError::NotFound(_))) => Ok(()),
            Ok(Err(error)) => Err(NotReached::Temporal(error.to_string()).into()),
            Err(_elapsed) => Err(NotReached::NoAnswer.into()),
        }
    }

    async fn is_under_way(&self, process: Process) -> Result<bool, Box<dyn Error + Send + Sync>> {
        let id = match process {
            Process::Order(order) => order.workflow_id(),
            Process::Refund(refund) => refund.workflow_id(),
        };
        match timeout(CALL_TIMEOUT, Box::pin(workflow_called(&self.client, id))).await {
            Ok(Ok(workflow)) => Ok(workflow == Workflow::Running),
            Ok(Err(why)) => Err(NotReached::Temporal(why).into()),
            Err(_elapsed) => Err(NotReached::NoAnswer.into()),
        }
    }
}
